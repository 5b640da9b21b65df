package devbroker

import (
	"slices"
	"time"
)

// faults are the faults to inject. A fault ends with the last message or request that it applies to.
type faults struct {
	onPlace  []*placeFault
	onSend   []*sendFault
	lostEnds int
	silent   map[int16]int // request code: answers to be lost
}

// placeFault applies to messages that are about to become visible in a topic.
type placeFault struct {
	topic string
	left  int
	apply func(m *message, last bool)
	flush func() // delivers what is held back; nil when nothing ever is
}

type sendFault struct {
	topic string
	left  int
	code  int16
}

// take uses one up, if there is one.
func take(n *int) bool {
	if *n <= 0 {
		return false
	}
	*n--
	return true
}

// Drop loses the next n messages of topic after they were acknowledged to their sender.
func (b *Broker) Drop(topic string, n int) {
	b.onPlace(topic, n, func(*message, bool) {})
}

// Duplicate delivers each of the next n messages of topic twice.
func (b *Broker) Duplicate(topic string, n int) {
	b.onPlace(topic, n, func(m *message, _ bool) {
		twin := m.again()
		b.append(m)
		b.append(twin)
	})
}

// Delay delivers each of the next n messages of topic later by d.
func (b *Broker) Delay(topic string, n int, d time.Duration) {
	b.onPlace(topic, n, func(m *message, _ bool) {
		b.postpone(time.Now().Add(d), func() { b.append(m) })
	})
}

// Reorder holds back the next n messages of topic and delivers them in reverse order when the n-th has come, or at
// [Broker.Heal].
func (b *Broker) Reorder(topic string, n int) {
	var held []*message
	flush := func() {
		for _, m := range slices.Backward(held) {
			b.append(m)
		}
	}
	b.inject(&placeFault{topic: topic, left: n, flush: flush, apply: func(m *message, last bool) {
		if held = append(held, m); last {
			flush()
		}
	}})
}

func (b *Broker) onPlace(topic string, n int, apply func(m *message, last bool)) {
	b.inject(&placeFault{topic: topic, left: n, apply: apply})
}

func (b *Broker) inject(f *placeFault) {
	if f.left <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults.onPlace = append(b.faults.onPlace, f)
}

// RefuseSends answers the next n sends to topic with code and stores nothing: 1 system error, 2 busy, 14 not available.
func (b *Broker) RefuseSends(topic string, n int, code int16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults.onSend = append(b.faults.onSend, &sendFault{topic, n, code})
}

// LoseAnswers does what the next n requests with this code ask (10 send, 36 send back) but never answers them.
func (b *Broker) LoseAnswers(code int16, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.faults.silent == nil {
		b.faults.silent = make(map[int16]int)
	}
	b.faults.silent[code] += n
}

// LoseEnds ignores the next n ends of transactions, first and checked ones alike: only a later check can find out.
func (b *Broker) LoseEnds(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults.lostEnds += n
}

// Disconnect cuts all connections. Clients may connect again at once.
func (b *Broker) Disconnect() {
	b.lifecycle.Lock()
	defer b.lifecycle.Unlock()
	if b.net != nil {
		b.net.cut(false)
	}
}

// Heal takes back all faults that are not used up, and delivers what Reorder holds.
func (b *Broker) Heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults.onPlace {
		if f.flush != nil {
			f.flush()
		}
	}
	b.faults = faults{}
}

// place makes a message visible, or does to it what was asked for.
func (b *Broker) place(m *message) {
	i := slices.IndexFunc(b.faults.onPlace, func(f *placeFault) bool { return f.topic == m.topic })
	if i < 0 {
		b.append(m)
		return
	}
	f := b.faults.onPlace[i]
	if f.left--; f.left == 0 {
		b.faults.onPlace = slices.Delete(b.faults.onPlace, i, i+1)
	}
	f.apply(m, f.left == 0)
}

// refuses reports the code with which a send to topic is to be refused.
func (f *faults) refuses(topic string) error {
	for _, s := range f.onSend {
		if s.topic == topic && take(&s.left) {
			return refuse(s.code, "the development broker refuses this request")
		}
	}
	return nil
}

// swallows reports whether the answer to a request with this code is to be lost.
func (b *Broker) swallows(code int16) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.faults.silent[code] <= 0 {
		return false
	}
	b.faults.silent[code]--
	return true
}

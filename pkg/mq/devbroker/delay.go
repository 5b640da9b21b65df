package devbroker

import (
	"container/heap"
	"maps"
	"strconv"
	"sync"
	"time"
)

// maxDelay is the farthest a message can be sent into the future.
const maxDelay = 72 * time.Hour

// delayLevel is the time of level 1, 2 and so on; levels above the last are the last.
func delayLevel(level int64) time.Duration {
	levels := [...]time.Duration{
		time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 3 * time.Minute,
		4 * time.Minute, 5 * time.Minute, 6 * time.Minute, 7 * time.Minute, 8 * time.Minute, 9 * time.Minute,
		10 * time.Minute, 20 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
	}
	return levels[min(level, int64(len(levels)))-1]
}

// dueAt is when a message is to be delivered. A level wins over a time.
func dueAt(m *message, now time.Time) (time.Time, error) {
	if level, err := strconv.ParseInt(m.props["DELAY"], 10, 64); err == nil && level > 0 {
		return now.Add(delayLevel(level)), nil
	}
	for _, p := range []struct {
		name string
		base int64 // ms
		unit int64 // ms
	}{{"TIMER_DELIVER_MS", 0, 1}, {"TIMER_DELAY_MS", now.UnixMilli(), 1}, {"TIMER_DELAY_SEC", now.UnixMilli(), 1000}} {
		text, ok := m.props[p.name]
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || (n > maxDelay.Milliseconds() && p.base != 0) || n*p.unit+p.base > now.Add(maxDelay).UnixMilli() {
			return now, refuse(messageIllegal, "timer message illegal, %s=%s; up to %s ahead is possible", p.name, text, maxDelay)
		}
		return time.UnixMilli(n*p.unit + p.base), nil
	}
	return now, nil
}

// withoutDelay returns the properties without the ones that delay a message: it would be delayed again at its next hop.
func withoutDelay(props map[string]string) map[string]string {
	rest := maps.Clone(props)
	for _, name := range []string{"DELAY", "TIMER_DELIVER_MS", "TIMER_DELAY_MS", "TIMER_DELAY_SEC"} {
		delete(rest, name)
	}
	return rest
}

// deliver puts m into its queue, now or when it is due. The faults on demand apply then.
func (b *Broker) deliver(m *message) error {
	now := time.Now()
	due, err := dueAt(m, now)
	if err != nil {
		return err
	}
	m.props = withoutDelay(m.props)
	if !due.After(now) {
		b.place(m)
		return nil
	}
	b.postpone(due, func() { b.place(m.again()) })
	return nil
}

// agenda is what the clock has to do, the soonest first.
type agenda []task

type task struct {
	at  time.Time
	seq int64 // tasks of one time keep their order
	do  func()
}

func (a agenda) Len() int { return len(a) }

func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].seq < a[j].seq
}

func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push implements heap.Interface.
func (a *agenda) Push(x any) { *a = append(*a, x.(task)) }

// Pop implements heap.Interface.
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// postpone has the clock call do at a time, under the broker's mutex.
func (b *Broker) postpone(at time.Time, do func()) {
	heap.Push(&b.later, task{at, b.position(), do})
	b.clock.nudge()
}

// runDue does what is due and returns how long there is nothing to do.
func (b *Broker) runDue(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.later) > 0 {
		if wait := b.later[0].at.Sub(now); wait > 0 {
			return wait
		}
		heap.Pop(&b.later).(task).do()
	}
	return time.Hour
}

// clock is the goroutine that does what no request asks for.
type clock struct {
	b     *Broker
	kick  chan struct{}
	quit  chan struct{}
	once  sync.Once
	ended sync.WaitGroup
}

func newClock(b *Broker) *clock {
	return &clock{b: b, kick: make(chan struct{}, 1), quit: make(chan struct{})}
}

func (c *clock) start() { c.ended.Go(c.run) }

func (c *clock) stop() {
	c.once.Do(func() { close(c.quit) })
	c.ended.Wait()
}

// nudge says that the agenda has changed.
func (c *clock) nudge() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *clock) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	check := time.NewTicker(c.b.o.CheckInterval)
	defer check.Stop()
	for {
		select {
		case <-c.quit:
			return
		case <-check.C:
			c.b.askAll(time.Now())
			continue
		case <-c.kick:
		case <-timer.C:
		}
		timer.Reset(c.b.runDue(time.Now()))
	}
}

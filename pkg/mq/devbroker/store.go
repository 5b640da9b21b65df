package devbroker

import "time"

// topic is a named set of queues.
type topic struct {
	name   string
	queues []*queue // readers see all
	write  int      // writers the first of them
}

// queue holds messages in the order of their arrival.
type queue struct {
	first    int64 // offset of messages[0]; the ones before are gone
	messages []*message
	waiting  []chan struct{} // pulls that are held open
}

// cursor names a consumer group's place in a queue.
type cursor struct {
	group, topic string
	queue        int32
}

func (q *queue) end() int64 { return q.first + int64(len(q.messages)) }

// wake lets the held pulls look again.
func (q *queue) wake() {
	for _, w := range q.waiting {
		close(w)
	}
	q.waiting = nil
}

// wait returns a channel that is closed at the next message.
func (q *queue) wait() chan struct{} {
	w := make(chan struct{})
	q.waiting = append(q.waiting, w)
	return w
}

// leave undoes wait for a pull that has given up.
func (q *queue) leave(w chan struct{}) {
	for i, other := range q.waiting {
		if other == w {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			return
		}
	}
}

func (t *topic) resize(n int) {
	for len(t.queues) < n {
		t.queues = append(t.queues, &queue{})
	}
	t.write = n
}

// ensureTopic returns the topic and creates it with n queues when it is missing.
func (b *Broker) ensureTopic(name string, n int) *topic {
	t := b.topics[name]
	if t == nil {
		t = &topic{name: name}
		t.resize(n)
		b.topics[name] = t
	}
	return t
}

// queueOf returns a queue or a refusal that says which part of the name is wrong.
func (b *Broker) queueOf(name string, id int32) (*queue, error) {
	t := b.topics[name]
	if t == nil {
		return nil, refuse(noTopic, "topic[%s] not exist", name)
	}
	if id < 0 || int(id) >= len(t.queues) {
		return nil, refuse(systemError, "queue %d of topic %s: it has %d", id, name, len(t.queues))
	}
	return t.queues[id], nil
}

// position gives out a commit-log offset. None is given twice.
func (b *Broker) position() int64 {
	b.last++
	return b.last
}

// append puts m at the end of its queue, under a new commit-log offset unless it has one. It belongs to the store from
// then on and is not changed any more. A message whose topic was deleted meanwhile is lost with it.
func (b *Broker) append(m *message) {
	q, err := b.queueOf(m.topic, m.queue)
	if err != nil {
		b.log.Warn("message lost with its topic", "topic", m.topic, "key", m.props["KEYS"])
		return
	}
	if m.pos == 0 {
		m.pos = b.position()
	}
	m.offset, m.stored = q.end(), time.Now()
	m.encodeProps()
	q.messages = append(q.messages, m)
	b.byPos[m.pos] = m
	b.trim(m.topic, q)
	q.wake()
}

// trim removes the oldest messages of a queue, many at a time because the rest moves.
func (b *Broker) trim(name string, q *queue) {
	if len(q.messages) <= b.o.Retain+b.o.Retain/10 {
		return
	}
	old := q.messages[:len(q.messages)-b.o.Retain]
	for _, m := range old {
		delete(b.byPos, m.pos)
	}
	q.first += int64(len(old))
	q.messages = append([]*message(nil), q.messages[len(old):]...)
	b.log.Warn("oldest messages removed", "topic", name, "messages", len(old))
}

package devbroker

import (
	"sort"
	"strconv"
)

func offsetReply(n int64) reply {
	return reply{fields: map[string]string{"offset": strconv.FormatInt(n, 10)}}
}

func readCursor(in *fields) cursor {
	return cursor{in.text("consumerGroup"), in.text("topic"), in.small("queueId", -1)}
}

// queryOffset tells a group where it stopped. A group that is new to a queue starts at 0 while message 0 is there, as
// with RocketMQ, and otherwise where its own settings say.
func (b *Broker) queryOffset(in *fields) (reply, error) {
	at := readCursor(in)
	if in.err != nil {
		return reply{}, in.err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n, ok := b.offset[at]; ok {
		return offsetReply(n), nil
	}
	if q, err := b.queueOf(at.topic, at.queue); err == nil && q.first == 0 {
		return offsetReply(0), nil
	}
	return reply{}, refuse(noOffset, "Not found, maybe this group consumer boot first")
}

// updateOffset stores how far a group is. It may go back: that is how a group is reset.
func (b *Broker) updateOffset(in *fields) (reply, error) {
	at, n := readCursor(in), in.number("commitOffset")
	if in.err != nil {
		return reply{}, in.err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.queueOf(at.topic, at.queue); err != nil {
		return reply{}, err
	}
	b.offset[at] = n
	return reply{}, nil
}

// queueOffset answers with a queue's first offset, the one after its last, or the first stored at or after a time.
func (b *Broker) queueOffset(code int16, in *fields) (reply, error) {
	name, id, at := in.text("topic"), in.small("queueId", -1), in.numberOr("timestamp", 0)
	if in.err != nil {
		return reply{}, in.err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	q, err := b.queueOf(name, id)
	if err != nil {
		return reply{}, err
	}
	switch code {
	case reqMinOffset:
		return offsetReply(q.first), nil
	case reqSearchOffset:
		i := sort.Search(len(q.messages), func(i int) bool { return q.messages[i].stored.UnixMilli() >= at })
		return offsetReply(q.first + int64(i)), nil
	default:
		return offsetReply(q.end()), nil
	}
}

// earliestTime answers with the time at which a queue's first message was stored, in milliseconds, -1 without a
// message.
func (b *Broker) earliestTime(in *fields) (reply, error) {
	name, id := in.text("topic"), in.small("queueId", -1)
	if in.err != nil {
		return reply{}, in.err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	q, err := b.queueOf(name, id)
	if err != nil {
		return reply{}, err
	}
	at := int64(-1)
	if len(q.messages) > 0 {
		at = q.messages[0].stored.UnixMilli()
	}
	return reply{fields: map[string]string{"timestamp": strconv.FormatInt(at, 10)}}, nil
}

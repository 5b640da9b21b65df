package devbroker

import (
	"strconv"
	"time"
)

const (
	maxPull      = 1024
	maxPullBytes = 256 << 10
	maxHold      = time.Minute
)

// Bits of a pull's sysFlag.
const (
	pullCommits = 1 // commitOffset counts
	pullWaits   = 2
)

type pullRequest struct {
	at       cursor
	from     int64
	count    int
	sysFlag  int32
	commit   int64
	hold     time.Duration
	language string // of the filter
}

func parsePull(f frame) (pullRequest, error) {
	in := &fields{of: f.Fields}
	p := pullRequest{
		at:       cursor{in.text("consumerGroup"), in.text("topic"), in.small("queueId", -1)},
		from:     in.number("queueOffset"),
		count:    int(max(1, min(in.numberOr("maxMsgNums", 32), maxPull))),
		sysFlag:  in.small("sysFlag", 0),
		commit:   in.numberOr("commitOffset", 0),
		language: in.text("expressionType"),
	}
	hold := max(0, min(in.numberOr("suspendTimeoutMillis", 0), maxHold.Milliseconds()))
	p.hold = time.Duration(hold) * time.Millisecond
	return p, in.err
}

// pull answers with messages, or holds the request open until one comes.
func (b *Broker) pull(c *conn, f frame) {
	p, err := parsePull(f)
	if err == nil && p.language == "SQL92" {
		err = refuse(badSubscription, "filters are tags only")
	}
	if err != nil {
		b.finish(c, f, reply{}, err)
		return
	}
	r, wake, err := b.tryPull(p, p.sysFlag&pullWaits != 0)
	if wake == nil {
		b.finish(c, f, r, err)
		return
	}
	c.held.Go(func() { b.hold(c, f, p, wake) })
}

// hold waits for a message, for the request's time, or for the end of the connection.
func (b *Broker) hold(c *conn, f frame, p pullRequest, wake chan struct{}) {
	timer := time.NewTimer(p.hold)
	defer timer.Stop()
	for {
		wait := true
		select {
		case <-wake:
		case <-timer.C:
			b.leave(p, wake)
			wait = false
		case <-c.done:
			b.leave(p, wake)
			return
		}
		r, again, err := b.tryPull(p, wait)
		if again == nil {
			b.finish(c, f, r, err)
			return
		}
		wake = again
	}
}

func (b *Broker) leave(p pullRequest, wake chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if q, err := b.queueOf(p.at.topic, p.at.queue); err == nil {
		q.leave(wake)
	}
}

// tryPull answers, or returns a channel to wait for when there is nothing new and wait is set. All answers tell where
// to go on: without that the client library starts at 0 again.
func (b *Broker) tryPull(p pullRequest, wait bool) (reply, chan struct{}, error) {
	found, r, wake, err := b.look(p, wait)
	for _, m := range found { // not under the lock: stored messages do not change
		r.body = m.encode(r.body)
	}
	return r, wake, err
}

func (b *Broker) look(p pullRequest, wait bool) ([]*message, reply, chan struct{}, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q, err := b.queueOf(p.at.topic, p.at.queue)
	if err != nil {
		return nil, reply{}, nil, err
	}
	if p.sysFlag&pullCommits != 0 && p.commit >= 0 {
		b.offset[p.at] = p.commit
	}
	code, next := int16(success), p.from
	var found []*message
	switch {
	case p.from < q.first:
		code, next = offsetMoved, q.first
	case p.from > q.end():
		code, next = offsetMoved, q.end()
	case p.from == q.end() && wait:
		return nil, reply{}, q.wait(), nil
	case p.from == q.end():
		code = nothingNew
	default:
		found = q.some(p.from, p.count)
		next += int64(len(found))
	}
	return found, reply{code: code, fields: map[string]string{
		"nextBeginOffset": strconv.FormatInt(next, 10), "minOffset": strconv.FormatInt(q.first, 10),
		"maxOffset": strconv.FormatInt(q.end(), 10), "suggestWhichBrokerId": masterID,
	}}, nil, nil
}

// some returns up to count messages, and stops when they are large; one it returns in any case.
func (q *queue) some(from int64, count int) []*message {
	messages := q.messages[from-q.first:]
	size := 0
	for i, m := range messages {
		if size += len(m.body) + len(m.encoded); i == count || i > 0 && size > maxPullBytes {
			return append([]*message(nil), messages[:i]...)
		}
	}
	return append([]*message(nil), messages...)
}

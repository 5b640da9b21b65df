package recovery

import (
	"strings"
	"time"

	"holdfast/pkg/mq"
)

const (
	// keepScans is how many scans of the broker an answer is kept in which it is not asked for. With two replicas a half
	// message that is still open is asked of this one in one of three scans with 7 of 8 chances. An answer that was
	// dropped too early is read again.
	keepScans = 3

	// keepTime bounds the life of an answer when there are no more scans: other replicas have given it.
	keepTime = 2 * time.Minute

	// undecidedPerMemory is how many more half messages are counted than are remembered.
	undecidedPerMemory = 8
)

// scans numbers the broker's scans of its half messages. In each it asks about every undecided one, in order; between
// two it waits for its interval. So a question that comes after half an interval of silence begins a new scan, however
// long the scan before it took.
type scans struct {
	interval time.Duration
	last     time.Time // of the last question
	number   int
}

func (s *scans) question(now time.Time) (scan int) {
	if now.Sub(s.last) > s.interval/2 {
		s.number++
	}
	s.last = now
	return s.number
}

// silent reports that the broker has nothing left to ask about.
func (s *scans) silent(now time.Time) bool { return now.Sub(s.last) > 2*s.interval }

// half is a half message that the broker asked about.
type half struct {
	id, key string
	body    []byte // nil once it has been read
	state   mq.TxState
	scan    int // in which it was asked about, or read
	at      time.Time
}

// halfMemory holds the half messages that wait to be read and the answers that wait to be given. It is not safe for
// concurrent use.
//
// An answer is given once and then forgotten, which makes room. If the end of the transaction is lost on its way, the
// broker repeats the question, and the answer is read from the rows once more. When the memory is full, a new half
// message is not admitted until a later scan. Dropping an answer to admit it would settle nothing, because the broker
// asks in the same order in each scan: each answer would be dropped just before its question.
type halfMemory struct {
	limit  int
	halves map[string]*half
	queue  []*half // to be read, in the order of the questions
}

// ask returns the state of the half message and forgets it, or unknown. admitted: it is to be read now.
func (m *halfMemory) ask(msg mq.Message, scan int, now time.Time) (state mq.TxState, admitted bool) {
	h := m.halves[msg.ID]
	switch {
	case h == nil && len(m.halves) < m.limit:
		// Cloned: the identifier and the key are parts of the message's whole properties.
		h = &half{id: strings.Clone(msg.ID), key: strings.Clone(msg.Key), body: msg.Body, scan: scan, at: now}
		m.halves[h.id] = h
		m.queue = append(m.queue, h)
		return mq.TxUnknown, true
	case h != nil && h.state != mq.TxUnknown:
		delete(m.halves, msg.ID)
		return h.state, false
	}
	return mq.TxUnknown, false
}

// next takes up to n half messages off the queue, but for the first only as many as have size bytes together: a message
// may name hundreds of orders.
func (m *halfMemory) next(n, size int) []*half {
	n = min(n, len(m.queue))
	for i, h := range m.queue[:n] {
		if size -= len(h.body); size < 0 {
			n = max(i, 1)
			break
		}
	}
	batch := m.queue[:n:n]
	m.queue = m.queue[n:]
	if len(m.queue) == 0 {
		m.queue = nil // else the slice would keep what it held
	}
	return batch
}

// remember keeps the answers of a batch and forgets the rest of it.
func (m *halfMemory) remember(batch []*half, answers map[string]mq.TxState, scan int, now time.Time) {
	for _, h := range batch {
		state, ok := answers[h.id]
		if !ok {
			delete(m.halves, h.id)
			continue
		}
		h.body, h.state, h.scan, h.at = nil, state, scan, now
	}
}

// sweep forgets answers that are not asked for any more: another replica gave them.
func (m *halfMemory) sweep(scan int, now time.Time) {
	for id, h := range m.halves {
		if h.state != mq.TxUnknown && (scan-h.scan > keepScans || now.Sub(h.at) > keepTime) {
			delete(m.halves, id)
		}
	}
}

// undecided counts the half messages that could not be answered. It is not safe for concurrent use.
type undecided struct {
	limit int // what is beyond is not counted
	seen  map[string]sighting
}

// sighting is the last question about a half message that was answered with unknown.
type sighting struct {
	scan int
	sent time.Time
}

func (u *undecided) note(m mq.Message, state mq.TxState, scan int) {
	if state != mq.TxUnknown {
		delete(u.seen, m.ID)
		return
	}
	if _, ok := u.seen[m.ID]; ok {
		u.seen[m.ID] = sighting{scan, m.SentAt}
	} else if len(u.seen) < u.limit {
		u.seen[strings.Clone(m.ID)] = sighting{scan, m.SentAt}
	}
}

func (u *undecided) count(scan int, now time.Time) (n int, oldest time.Duration) {
	for _, s := range u.seen {
		if scan-s.scan <= 1 {
			n++
			oldest = max(oldest, now.Sub(s.sent))
		}
	}
	return n, oldest
}

func (u *undecided) sweep(scan int) {
	for id, s := range u.seen {
		if scan-s.scan > 1 {
			delete(u.seen, id)
		}
	}
}

func (u *undecided) clear() { clear(u.seen) }

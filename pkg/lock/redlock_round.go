package lock

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// answer is one node's answer to one command.
type answer struct {
	yes   bool
	left  time.Duration // of the key in the way of a take, negative when it never expires
	owner string        // of that key
	code  int64         // of a delete
}

// round is one command to all nodes of a claim and what they have answered in time.
type round struct {
	quorum   int
	patience int

	mu       sync.Mutex
	started  time.Time     // when the first command was sent
	answers  []*answer     // by node; nil: none
	answered chan struct{} // closed when a quorum has answered
	agreed   chan struct{} // closed when a quorum gave the same answer
}

// How many times as long as a quorum of answers needed the silent nodes may take when that quorum does not agree and
// they would decide.
const (
	cleanUpPatience = 1   // no caller waits for the decision
	takePatience    = 10  // a node that is not hung answers in time, and a hung one is better retried
	fullPatience    = 1e6 // as long as the command has: the answer matters
)

func newRound(nodes, quorum, patience int) *round {
	return &round{
		quorum: quorum, patience: patience, answers: make([]*answer, nodes),
		answered: make(chan struct{}), agreed: make(chan struct{}),
	}
}

func (r *round) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started.IsZero() {
		r.started = time.Now()
	}
}

func (r *round) record(node int, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[node] = &a
	answered, agreed := 0, 0
	for _, other := range r.answers {
		if other != nil {
			answered++
		}
		if other != nil && other.yes == a.yes {
			agreed++
		}
	}
	if answered == r.quorum {
		close(r.answered)
	}
	if agreed == r.quorum {
		close(r.agreed)
	}
}

// count counts the answers to a delete.
func (r *round) count() (freed, gone int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.answers {
		switch {
		case a == nil:
		case a.yes:
			freed++
		default:
			gone++
		}
	}
	return freed, gone
}

// splitJitter is within which time claims that split the votes retry; it should be several round trips long.
const splitJitter = 10 * time.Millisecond

// held says why a take failed: because others hold the keys on too many nodes. It is nil when too few nodes answered to
// say so, and when a quorum was had but too late.
//
// Claims that split the votes among them retry after a random pause: the first to retry finds all nodes free. A wake-up
// must not cut the pause short, as each of them would wake the others by giving its votes back.
func (r *round) held() *heldError {
	r.mu.Lock()
	defer r.mu.Unlock()
	yes, silent := 0, 0
	var lefts []time.Duration
	votes := make(map[string]int)
	for _, a := range r.answers {
		switch {
		case a == nil:
			silent++
		case a.yes:
			yes++
		default:
			lefts = append(lefts, a.left)
			votes[a.owner]++
		}
	}
	missing := r.quorum - yes
	if missing <= 0 || len(lefts) < missing {
		return nil
	}
	slices.SortFunc(lefts, func(a, b time.Duration) int {
		if (a < 0) != (b < 0) {
			return cmp.Compare(b, a) // what never expires comes last
		}
		return cmp.Compare(a, b)
	})
	most := 0
	for _, n := range votes {
		most = max(most, n)
	}
	held := &heldError{left: lefts[missing-1]}
	if most+silent < r.quorum {
		held.pause = time.Millisecond + rand.N(splitJitter)
	}
	return held
}

// grace is how long after a quorum the others may take to answer, at least: it should be longer than a healthy node
// takes.
const grace = 5 * time.Millisecond

// await waits for the end of one node's command and reports whether it came in time: when a quorum agrees the others
// get as long again.
func (r *round) await(ctx context.Context, ended <-chan struct{}) bool {
	agreed, answered := r.agreed, r.answered
	var late <-chan time.Time
	for {
		select {
		case <-ended:
			return true
		case <-ctx.Done():
			return false
		case <-late:
			return false
		case <-answered:
			answered, late = nil, time.After(time.Duration(r.patience)*r.grace())
		case <-agreed:
			agreed, answered, late = nil, nil, time.After(r.grace())
		}
	}
}

func (r *round) grace() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(grace, time.Since(r.started))
}

package leasecheck

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"holdfast/pkg/lock"
	"holdfast/pkg/lock/lockmetrics"
)

// What a Worker and an Observer note in a journal, besides the outcomes of operations. A loss is "lost: " and its
// cause.
const (
	NoteAcquired    = "acquired"
	NoteUnavailable = "no answer to an acquisition"
	NoteGaveUp      = "gave up waiting"
	NoteRenewed     = "renewed"
	NoteRaised      = "counter raised"
	NoteRecovered   = "recovered" // an accepted deduction of a client that had met with trouble
	NoteLost        = "lost: "
)

// Observer notes losses and renewals.
type Observer struct{ Journal *Journal }

var _ lock.Observer = Observer{}

// Waited implements lock.Observer.
func (Observer) Waited([]string, time.Duration, error) {}

// Renewed implements lock.Observer.
func (o Observer) Renewed(_ []string, err error) {
	if err == nil {
		o.Journal.Note(NoteRenewed)
	}
}

// Lost implements lock.Observer.
func (o Observer) Lost(_ []string, cause error) { o.Journal.Note(NoteLost + lockmetrics.Cause(cause)) }

// Released implements lock.Observer.
func (Observer) Released([]string, time.Duration, error) {}

// Worker deducts again and again, as a client does that wants its work done: it waits for the lease, raises a counter
// that Redis has lost, and goes on after every failure. Now and then it takes long, and now and then it does not look
// at its lease's context while it does, as one whose process was stopped cannot.
type Worker struct {
	Name    string // makes its operations' IDs unique
	Locker  Locker
	Stock   Stock
	Journal *Journal
	Guards  Guards
	Keys    []string
	Linger  time.Duration // how long it takes at most when it takes long
	Rand    *rand.Rand

	n        int  // deductions so far
	troubled bool // something went wrong since the last accepted one
}

// acquireTimeout is how long a worker queues and works before it retries.
const acquireTimeout = 10 * time.Second

// Run works until ctx is done, which cuts the deduction under way.
func (w *Worker) Run(ctx context.Context) {
	for ctx.Err() == nil {
		w.once(ctx)
	}
}

func (w *Worker) once(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	lease, err := w.Locker.Acquire(ctx, w.choose()...)
	if err != nil {
		w.notHeld(err)
		return
	}
	w.Journal.Note(NoteAcquired)
	defer func() { _ = lease.Release(ctx) }() // one that fails leaves the key to its TTL
	err = w.deduct(ctx, lease)
	var refused *RefusedError
	switch {
	case err == nil && w.troubled:
		w.troubled = false
		w.Journal.Note(NoteRecovered)
	case errors.As(err, &refused) && errors.Is(err, lock.ErrStale):
		w.troubled = true
		if w.Locker.Raise(ctx, refused.Key, refused.Fence) == nil {
			w.Journal.Note(NoteRaised)
		}
	case err != nil && !errors.Is(err, ErrSoldOut):
		w.troubled = true
	}
}

func (w *Worker) notHeld(err error) {
	w.troubled = true
	if errors.Is(err, lock.ErrUnavailable) {
		w.Journal.Note(NoteUnavailable)
		return
	}
	w.Journal.Note(NoteGaveUp)
}

// choose takes one key, or, one time in four, two.
func (w *Worker) choose() []string {
	keys := slices.Clone(w.Keys)
	w.Rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	n := 1
	if w.Rand.IntN(4) == 0 {
		n = min(2, len(keys))
	}
	return slices.Sorted(slices.Values(keys[:n]))
}

// deduct runs one deduction and writes down what came of it, for each key.
func (w *Worker) deduct(ctx context.Context, lease *lock.Lease) error {
	w.n++
	d := Deduction{ID: fmt.Sprintf("%s-%d", w.Name, w.n), Quantity: 1 + w.Rand.Int64N(3)}
	for _, key := range w.Keys {
		if lease.Token(key) > 0 {
			d.Keys = append(d.Keys, key)
		}
	}
	guards, at := w.pace(ctx, lease)
	return Record(w.Journal, lease, d, func() (map[string]int64, error) {
		return guards.Deduct(ctx, w.Stock, lease, d, at)
	})
}

// Record writes the deduction's beginning, does it, and writes its end.
func Record(j *Journal, lease *lock.Lease, d Deduction, do func() (map[string]int64, error)) error {
	ops := make([]Op, len(d.Keys))
	for i, key := range d.Keys {
		ops[i] = Op{ID: d.ID, Key: key, Token: lease.Token(key), Quantity: d.Quantity, Call: Now()}
		j.Begin(ops[i])
	}
	left, err := do()
	for _, op := range ops {
		op.Outcome, op.Left, op.Return = outcome(op.Key, err), left[op.Key], Now()
		j.End(op)
	}
	return err
}

// outcome is what a deduction's error says about one of its keys: one row's refusal leaves the others as they were.
func outcome(key string, err error) Outcome {
	var refused *RefusedError
	switch {
	case err == nil:
		return Accepted
	case errors.Is(err, ErrUnknown):
		return Unknown
	case !errors.As(err, &refused) || refused.Key != key:
		return Nothing
	case errors.Is(err, lock.ErrStale):
		return Stale
	default:
		return SoldOut
	}
}

// pace decides whether this deduction takes long, at which point, and whether its holder notices the end of its lease.
func (w *Worker) pace(ctx context.Context, lease *lock.Lease) (Guards, func(Point)) {
	guards := w.Guards
	if w.Linger == 0 || w.Rand.IntN(16) > 0 {
		return guards, func(Point) {}
	}
	long, where := time.Duration(w.Rand.Int64N(int64(w.Linger))), Points()[w.Rand.IntN(len(Points()))]
	until := lease.Context() //nolint:contextcheck // It is derived from the context of the acquisition.
	if w.Rand.IntN(3) == 0 {
		guards.Deaf, until = true, ctx
	}
	return guards, func(p Point) {
		if p != where {
			return
		}
		timer := time.NewTimer(long)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-until.Done():
		}
	}
}

package locktest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/pkg/lock"
)

// exclusion lets many contend for one key, in several processes: never two inside, and everybody gets through.
func exclusion(t *testing.T, b Backend) {
	const lockers, workers, rounds = 3, 3, 10
	key := newKey()
	var inside atomic.Int64
	var drawn []int64 // guarded by the lock under test; the race detector would tell
	var all sync.WaitGroup
	for range lockers {
		l := open(t, b)
		for range workers {
			all.Go(func() {
				for range rounds {
					lease, err := l.Acquire(within(t), key)
					if err != nil {
						t.Errorf("acquire: %v", err)
						return
					}
					if n := inside.Add(1); n != 1 {
						t.Errorf("%d holders", n)
					}
					drawn = append(drawn, lease.Token(key))
					time.Sleep(time.Millisecond)
					inside.Add(-1)
					if err := lease.Release(t.Context()); err != nil {
						t.Errorf("release: %v", err)
					}
				}
			})
		}
	}
	all.Wait()
	if want := lockers * workers * rounds; len(drawn) != want {
		t.Fatalf("%d leases, want %d", len(drawn), want)
	}
	for i := 1; b.Can.Tokens && i < len(drawn); i++ {
		if drawn[i] <= drawn[i-1] {
			t.Fatalf("token %d follows %d", drawn[i], drawn[i-1])
		}
	}
}

// starvation: one process waits for a key that others never stop taking, and gets it each time; where there are tickets
// after few of the others.
func starvation(t *testing.T, b Backend) {
	const rounds = 5
	key := newKey()
	victim := open(t, b)
	var granted atomic.Int64
	var done atomic.Bool
	var crowd sync.WaitGroup
	for range 2 {
		l := open(t, b)
		for range 3 {
			crowd.Go(func() {
				for !done.Load() {
					lease, err := l.Acquire(within(t), key)
					if err != nil {
						t.Errorf("acquire: %v", err)
						return
					}
					granted.Add(1)
					time.Sleep(time.Millisecond)
					if err := lease.Release(t.Context()); err != nil {
						t.Errorf("release: %v", err)
					}
				}
			})
		}
	}
	defer crowd.Wait()
	defer done.Store(true)
	eventually(t, "the crowd is there", func() bool { return granted.Load() > 0 })
	var overtaken []int64
	for range rounds {
		asked := granted.Load()
		lease := acquire(t, victim, key)
		overtaken = append(overtaken, granted.Load()-asked)
		release(t, lease)
	}
	t.Logf("leases that went to others while one waited, of six competitors in two processes: %v", overtaken)
	// Three until it has a ticket, one to each other process with a lower one, one between two tickets, and as many again
	// for each time that a busy machine lets others pass while the waiter is on its way to its next attempt.
	const most = 40
	if worst := slices.Max(overtaken); b.Can.Tickets && worst > most {
		t.Errorf("%d leases went to others while one waited, want at most %d", worst, most)
	}
}

// tryHeld: Try does not wait, and the waiters of its own process do not stand in its way.
func tryHeld(t *testing.T, b Backend) {
	key, other := newKey(), newKey()
	first, second := open(t, b, long()...), open(t, b, long()...)
	lease := acquire(t, first, key)
	wantHeld(t, second, key)
	wantHeld(t, second, other, key)
	wantFree(t, second, other)
	got := acquiring(t, second, key)
	wantHeld(t, second, key)
	release(t, lease)
	release(t, await(t, got))
	wantFree(t, first, key)
}

// handover: Acquire waits while the key is held and gets it soon after the release, though neither the poll nor the TTL
// is near.
func handover(t *testing.T, b Backend) {
	key := newKey()
	holder, waiter := open(t, b, long()...), open(t, b, long()...)
	for range 10 {
		lease := acquire(t, holder, key)
		var released atomic.Bool
		got := make(chan *lock.Lease)
		go func() {
			defer close(got)
			next, err := waiter.Acquire(within(t), key)
			if err != nil {
				t.Errorf("acquire: %v", err)
				return
			}
			if !released.Load() {
				t.Error("acquired while the key was held")
			}
			got <- next
		}()
		time.Sleep(20 * time.Millisecond) // so that the waiter waits, most times; it must hold either way
		released.Store(true)
		release(t, lease)
		release(t, await(t, got))
	}
}

// contextEndsWait: the caller's error comes when its context ends, and no key is left behind.
func contextEndsWait(t *testing.T, b Backend) {
	key := newKey()
	holder, waiter := open(t, b, long()...), open(t, b, long()...)
	lease := acquire(t, holder, key)
	for range 2 { // the second stands in the queue behind the first
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := waiter.Acquire(ctx, key); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("acquire = %v, want its context's error", err)
		}
	}
	cause, cancel := context.WithCancel(t.Context())
	go func() {
		time.Sleep(20 * time.Millisecond)
		cancel()
	}()
	if _, err := waiter.Acquire(cause, key); !errors.Is(err, context.Canceled) {
		t.Errorf("acquire = %v, want context.Canceled", err)
	}
	release(t, lease)
	wantFree(t, waiter, key)
	wantFree(t, holder, key)
}

// contextEndedBefore: with a dead context nothing is taken.
func contextEndedBefore(t *testing.T, b Backend) {
	key := newKey()
	l := open(t, b, long()...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Acquire(ctx, key); !errors.Is(err, context.Canceled) {
		t.Errorf("acquire = %v, want context.Canceled", err)
	}
	if _, err := l.Try(ctx, key); !errors.Is(err, context.Canceled) {
		t.Errorf("try = %v, want context.Canceled", err)
	}
	wantFree(t, open(t, b, long()...), key)
}

// closeEndsWaits: all waiters return with ErrClosed, in the queue as well as at its head, and no later caller gets a
// key.
func closeEndsWaits(t *testing.T, b Backend) {
	key := newKey()
	holder, waiter := open(t, b, long()...), open(t, b, long()...)
	lease := acquire(t, holder, key)
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() {
			_, err := waiter.Acquire(within(t), key)
			errs <- err
		}()
	}
	time.Sleep(20 * time.Millisecond) // some wait by now, some may come later; all must return
	if err := waiter.Close(); err != nil {
		t.Error(err)
	}
	for range cap(errs) {
		if err := <-errs; !errors.Is(err, lock.ErrClosed) {
			t.Errorf("acquire = %v, want ErrClosed", err)
		}
	}
	if _, err := waiter.Try(within(t), newKey()); !errors.Is(err, lock.ErrClosed) {
		t.Errorf("try = %v, want ErrClosed", err)
	}
	release(t, lease)
	wantFree(t, holder, key)
}

// leaseOutlivesClose: what is held stays held and can be released.
func leaseOutlivesClose(t *testing.T, b Backend) {
	key := newKey()
	first, second := open(t, b, long()...), open(t, b, long()...)
	lease := acquire(t, first, key)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := lease.Context().Err(); err != nil {
		t.Errorf("the lease ended with its Locker: %v", err)
	}
	wantHeld(t, second, key)
	release(t, lease)
	wantFree(t, second, key)
}

// manyKeys: a waiter for ten keys gets them, though two other processes never stop taking each of them alone. Without
// tickets it is not asked for.
func manyKeys(t *testing.T, b Backend) {
	if !b.Can.Tickets {
		t.Skip("the backend has no tickets")
	}
	const lockers, keys, rounds = 2, 10, 20
	const hold, bar = 20 * time.Millisecond, 3 * time.Second
	all := make([]string, keys)
	for i := range all {
		all[i] = newKey()
	}
	victim := open(t, b)
	var granted [keys]atomic.Int64
	var done atomic.Bool
	var rivals sync.WaitGroup
	for range lockers {
		l := open(t, b)
		for i, key := range all {
			rivals.Go(func() {
				for !done.Load() {
					lease, err := l.Acquire(within(t), key)
					if err != nil {
						t.Errorf("acquire: %v", err)
						return
					}
					granted[i].Add(1)
					time.Sleep(hold)
					if err := lease.Release(t.Context()); err != nil {
						t.Errorf("release: %v", err)
					}
				}
			})
		}
	}
	defer rivals.Wait()
	defer done.Store(true)
	for i := range granted {
		eventually(t, "each key has rivals", func() bool { return granted[i].Load() > 0 })
	}
	var waits []time.Duration
	failed := 0
	for range rounds {
		ctx, cancel := context.WithTimeout(t.Context(), bar)
		asked := time.Now()
		lease, err := victim.Acquire(ctx, all...)
		waits = append(waits, time.Since(asked).Round(time.Millisecond))
		if err != nil {
			failed++
		} else {
			release(t, lease)
		}
		cancel()
		if failed == 3 {
			break
		}
	}
	t.Logf("waits for %d keys: %v", keys, waits)
	if failed > 0 {
		t.Errorf("%d of %d acquisitions of %d keys got nothing within %v", failed, len(waits), keys, bar)
	}
}

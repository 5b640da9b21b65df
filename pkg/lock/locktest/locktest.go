// Package locktest is the conformance suite of pkg/lock: what every Locker must do, whatever its backend. It
// uses the public interface only, so that it also fits a Locker of your own.
package locktest

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"holdfast/pkg/lock"
)

// Locker is a lock.Locker that can be closed, which all of pkg/lock are.
type Locker interface {
	lock.Locker
	Close() error
}

// Backend is what the suite runs on.
type Backend struct {
	// New returns another Locker with its own connections, as another process would have. All of them share their keys;
	// the suite chooses keys that no other case uses. The suite closes it; what is beneath it is closed by a clean-up of
	// tb.
	New func(tb testing.TB, opts ...lock.Option) Locker

	// Lose takes the key away behind its holder's back, as a flush, a failover or an administrator would.
	Lose func(tb testing.TB, key string)

	// NewCut returns a Locker as New does and a function that cuts it off: from then on nothing that it sends arrives, nor
	// that it has gone. The network heals when the test ends.
	NewCut func(tb testing.TB, opts ...lock.Option) (l Locker, cut func())

	Can Capabilities
}

// Capabilities are what backends differ in. The suite demands what is declared and checks that what is not declared is
// really absent, as the documentation says so.
type Capabilities struct {
	// Tokens: each lease has a greater fencing token than all before, the same for all its keys. Else the token is 0.
	Tokens bool
	// Tickets: a waiter that is refused often gets all its keys in its turn, whatever others do; free keys are kept for
	// it.
	Tickets bool
}

// patience bounds what must happen in the end. It is long, because a loaded machine is slow, and costs nothing where
// things go well.
const patience = 60 * time.Second

// Run runs all cases in parallel, each on a Backend of its own that open returns.
func Run(t *testing.T, open func(tb testing.TB) Backend) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(t *testing.T, b Backend)
	}{
		{"Exclusion", exclusion},
		{"Starvation", starvation},
		{"ManyKeys", manyKeys},
		{"TryHeld", tryHeld},
		{"Handover", handover},
		{"ContextEndsWait", contextEndsWait},
		{"ContextEndedBefore", contextEndedBefore},
		{"AllOrNone", allOrNone},
		{"OppositeOrders", oppositeOrders},
		{"SameKeyTwice", sameKeyTwice},
		{"NotReentrant", notReentrant},
		{"ReleaseTwice", releaseTwice},
		{"ReleaseAfterCancel", releaseAfterCancel},
		{"OnlyOwnerReleases", onlyOwnerReleases},
		{"LostKey", lostKey},
		{"LostOneOfTwo", lostOneOfTwo},
		{"Renewal", renewal},
		{"DeadHolder", deadHolder},
		{"CutOff", cutOff},
		{"MaxHold", maxHold},
		{"Tokens", tokens},
		{"CloseEndsWaits", closeEndsWaits},
		{"LeaseOutlivesClose", leaseOutlivesClose},
		{"BadKeys", badKeys},
		{"OddKeys", oddKeys},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, open(t))
		})
	}
}

// long makes keys outlive every case, so that what happens did not happen because a key expired, and rules the poll
// out.
func long() []lock.Option {
	return []lock.Option{lock.WithTTL(3 * patience), lock.WithPoll(time.Hour)}
}

// newKey returns a key that no other case uses.
func newKey() string { return "locktest-" + rand.Text() }

// open returns a Locker that the suite closes.
func open(t *testing.T, b Backend, opts ...lock.Option) Locker {
	t.Helper()
	return closing(t, b.New(t, opts...))
}

func closing(t *testing.T, l Locker) Locker {
	t.Helper()
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Errorf("close twice: %v", err)
		}
	})
	return l
}

// within returns a context for what must happen in the end.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func acquire(t *testing.T, l Locker, keys ...string) *lock.Lease {
	t.Helper()
	lease, err := l.Acquire(within(t), keys...)
	if err != nil {
		t.Fatalf("acquire: %v", err)
	}
	return lease
}

// acquiring starts an Acquire of its own; the channel yields the lease, or nothing when it failed.
func acquiring(t *testing.T, l Locker, keys ...string) <-chan *lock.Lease {
	t.Helper()
	got := make(chan *lock.Lease, 1)
	ctx := within(t)
	go func() {
		defer close(got)
		lease, err := l.Acquire(ctx, keys...)
		if err != nil {
			t.Errorf("acquire: %v", err)
			return
		}
		got <- lease
	}()
	return got
}

func await(t *testing.T, got <-chan *lock.Lease) *lock.Lease {
	t.Helper()
	lease, ok := <-got
	if !ok {
		t.FailNow()
	}
	return lease
}

func release(t *testing.T, lease *lock.Lease) {
	t.Helper()
	if err := lease.Release(t.Context()); err != nil {
		t.Errorf("release: %v", err)
	}
}

// wantHeld checks that no other caller gets the keys now.
func wantHeld(t *testing.T, l Locker, keys ...string) {
	t.Helper()
	lease, err := l.Try(within(t), keys...)
	if err == nil {
		release(t, lease)
		t.Fatal("try succeeded on a key that is held")
	}
	if !errors.Is(err, lock.ErrHeld) {
		t.Fatalf("try = %v, want ErrHeld", err)
	}
}

// wantFree checks that the keys can be had without waiting for a TTL.
func wantFree(t *testing.T, l Locker, keys ...string) {
	t.Helper()
	eventually(t, "the keys are free", func() bool {
		lease, err := l.Try(within(t), keys...)
		if err != nil {
			return false
		}
		release(t, lease)
		return true
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not after %v: %s", patience, what)
		}
	}
}

func lostWith(t *testing.T, lease *lock.Lease, want error) {
	t.Helper()
	select {
	case <-lease.Context().Done():
	case <-time.After(patience):
		t.Fatal("the lease's context did not end")
	}
	if got := context.Cause(lease.Context()); !errors.Is(got, want) {
		t.Errorf("cause = %v, want %v", got, want)
	}
}

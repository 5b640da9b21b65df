package leasecheck_test

import (
	"bytes"
	"testing"
	"time"

	"holdfast/internal/dev/leasecheck"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
)

// TestHolderStopped stops a process that holds the lease, at each point of its deduction, until its key has expired and
// another process has taken its turn; then it goes on where it stood. A deaf one writes on although its lease has
// ended, as one does that was stopped after its last look at the context.
func TestHolderStopped(t *testing.T) {
	t.Parallel()
	for _, point := range leasecheck.Points() {
		for _, deaf := range []bool{false, true} {
			name := string(point)
			if deaf {
				name += ", deaf"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				stopHolder(t, point, deaf)
			})
		}
	}
}

func stopHolder(t *testing.T, point leasecheck.Point, deaf bool) {
	t.Helper()
	const ttl = time.Second
	b := leasecheck.NewBench(t, leasecheck.Real(), stacktest.Redis(t))
	b.Put(10, "k")
	holder := leasecheck.StartHolder(t, leasecheck.Orders{
		Name: "holder", Redis: b.Addr, DSN: b.DSN, Prefix: b.Prefix, TTL: ttl, MaxHold: time.Minute, Keys: []string{"k"},
		StopAt: point, Deaf: deaf,
	})
	leasecheck.Eventually(t, "the holder is there", func() bool { return history(t, holder).Events[string(point)] > 0 })
	if err := holder.Freeze(); err != nil {
		t.Fatal(err)
	}
	leasecheck.Eventually(t, "the holder stands still", func() bool { return holder.Stopped(t.Context()) })

	var text bytes.Buffer
	// It waits for the key to expire.
	other := b.Hold("other", b.Locker(lock.WithTTL(time.Minute)), "k", "", leasecheck.NewJournal(&text))
	leasecheck.Eventually(t, "the other has had its turn, or waits for the holder's row", func() bool { return other.Ended() || b.RowAwaited() })
	if err := holder.GoOn(); err != nil {
		t.Fatal(err)
	}
	if err := holder.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := other.Wait(); err != nil {
		t.Errorf("the other: %v", err)
	}
	if err := holder.Wait(leasecheck.Within(t)); err != nil {
		t.Fatal(err)
	}
	h := history(t, holder)
	outcome := h.Ops[0].Outcome
	t.Logf("the holder's deduction: %s; its losses: %v", outcome, h.Events)
	claimed := point != leasecheck.BeforeClaim // then its row lock keeps the other waiting
	switch {
	case deaf && !claimed && outcome != leasecheck.Stale:
		t.Errorf("the late holder's deduction is %s, want stale", outcome)
	case deaf && claimed && outcome != leasecheck.Accepted:
		t.Errorf("the deduction of the holder who had claimed the row is %s, want accepted", outcome)
	}
	others, err := leasecheck.Read(&text)
	if err != nil {
		t.Fatal(err)
	}
	h.Ops = append(h.Ops, others.Ops...)
	if err := b.Verify(h, "k", 10); err != nil {
		t.Error(err)
	}
}

func history(t *testing.T, h *leasecheck.Holder) leasecheck.History {
	t.Helper()
	got, err := h.History()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

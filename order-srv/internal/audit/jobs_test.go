package audit_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
)

// hold makes pages of reservations wait, and returns what ends the waiting.
func (w *world) hold() (release func()) {
	w.inventory.mu.Lock()
	defer w.inventory.mu.Unlock()
	w.inventory.gate, w.inventory.waiting = make(chan struct{}), make(chan struct{}, 1)
	return sync.OnceFunc(func() { close(w.inventory.gate) })
}

// TestJobs_hangUp: a caller that gives up learns how to get the report later, and the audit goes on.
func TestJobs_hangUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.history(1, time.Hour)
	release := w.hold()
	defer release()
	job, err := w.jobs.Request(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		<-w.inventory.waiting
		hangUp()
	}()
	if _, err := w.jobs.Wait(ctx, job.ID); !errors.Is(err, orderapi.ErrAuditRunning) {
		t.Errorf("the wait ended with %v, want %v", err, orderapi.ErrAuditRunning)
	}
	if job, err = w.jobs.Get(t.Context(), job.ID); err != nil || job.State != store.AuditRunning || job.StartedAt == nil {
		t.Errorf("the audit: %+v, error %v", job, err)
	}
	release()
	if r, err := w.jobs.Wait(t.Context(), job.ID); err != nil || r.Orders["PAID"] != 1 {
		t.Errorf("report %+v, error %v", r, err)
	}
}

// TestJobs_oneAtATime: requests to two replicas while an audit runs share the next one, which begins after them.
func TestJobs_oneAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.history(1, time.Hour)
	release := w.hold()
	defer release()
	other, _ := w.replica()
	first, err := w.jobs.Request(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	<-w.inventory.waiting
	second, err := w.jobs.Request(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	third, err := other.Request(t.Context(), true)
	if err != nil || third.ID != second.ID || second.ID == first.ID || !third.Full || third.State != store.AuditQueued {
		t.Fatalf("while %s runs: %+v and %+v, error %v", first.ID, second, third, err)
	}
	w.history(1, time.Hour) // before the second audit, and after the first has read its orders
	release()
	if r, err := w.jobs.Wait(t.Context(), first.ID); err != nil || r.Orders["PAID"] != 1 {
		t.Errorf("the first audit: %+v, error %v", r, err)
	}
	if r, err := other.Wait(t.Context(), second.ID); err != nil || r.Orders["PAID"] != 2 {
		t.Errorf("the second audit: %+v, error %v", r, err)
	}
}

// TestJobs_stopped: another replica goes on with the audit of one that is stopped, after what that one has rolled up.
func TestJobs_stopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.history(1, time.Hour)
	release := w.hold()
	defer release()
	job, err := w.jobs.Request(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	<-w.inventory.waiting
	w.stop()
	release()
	other, _ := w.replica()
	if r, err := other.Wait(t.Context(), job.ID); err != nil || r.Orders["PAID"] != 1 {
		t.Errorf("report %+v, error %v", r, err)
	}
}

// TestJobs_killed: a replica that dies keeps its lease, and the audit goes on when the lease has run out. The dead one
// can record nothing any more.
func TestJobs_killed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.history(1, time.Hour)
	w.stop()
	const dead = "dead"
	job, err := w.jobs.Request(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	a, ok, err := w.store.ClaimAudit(t.Context(), dead, 500*time.Millisecond)
	if err != nil || !ok || a.ID != job.ID {
		t.Fatalf("claimed %+v, %v, error %v", a, ok, err)
	}
	if _, ok, err := w.store.ClaimAudit(t.Context(), "early", time.Minute); err != nil || ok {
		t.Fatalf("claimed under another's lease: %v, error %v", ok, err)
	}
	other, _ := w.replica()
	if r, err := other.Wait(t.Context(), job.ID); err != nil || r.Orders["PAID"] != 1 {
		t.Errorf("report %+v, error %v", r, err)
	}
	for name, write := range map[string]func() error{
		"renew": func() error { return w.store.RenewAudit(t.Context(), dead, time.Minute, a) },
		"roll up": func() error {
			return w.store.SetRollUp(t.Context(), dead, store.RollUp{Cutoff: "X", Totals: "{}"}, false)
		},
		"end": func() error { return w.store.EndAudit(t.Context(), dead, a) },
	} {
		if err := write(); !errors.Is(err, store.ErrAuditLost) {
			t.Errorf("%s without a lease: %v, want %v", name, err, store.ErrAuditLost)
		}
	}
}

// TestJobs_kept: the newest audits are kept, and the others leave.
func TestJobs_kept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var first string
	for range 25 {
		job, err := w.jobs.Request(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = job.ID
		}
		if _, err := w.jobs.Wait(t.Context(), job.ID); err != nil {
			t.Fatal(err)
		}
	}
	var kept int
	if err := w.db.Raw("SELECT COUNT(*) FROM audits").Row().Scan(&kept); err != nil || kept != 21 {
		t.Errorf("%d audits are kept, error %v, want 21", kept, err)
	}
	if _, err := w.jobs.Get(t.Context(), first); !errors.Is(err, orderapi.ErrUnknownAudit) {
		t.Errorf("the first audit: %v", err)
	}
	testkit.Eventually(t, time.Second, "no lease is left", func() error {
		_, ok, err := w.store.ClaimAudit(t.Context(), "x", time.Second)
		if ok {
			return errors.New("an audit was left")
		}
		return err
	})
}

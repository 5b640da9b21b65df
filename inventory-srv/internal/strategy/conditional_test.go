package strategy_test

import (
	"strings"
	"testing"

	"gorm.io/gorm"
)

// TestConditional_ReleaseInBetween: an order for two finds one, and before it has looked why, a release brings the
// second. A refusal would now be a lie, so it is granted; and until it has written, it keeps the row locked.
func TestConditional_ReleaseInBetween(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 2)
	one, two := w.one.set(t), w.two.set(t)
	ctx := soon(t)
	if _, err := two.Reserve(ctx, order("BACK", "conditional", line("A", 1))); err != nil {
		t.Fatal(err)
	}
	refused := stallAfterRefusal(t, w.one)
	writing := &stall{at: beforeWrite, reached: make(chan struct{}), resume: make(chan struct{})}
	result := goReserve(ctx, one, order("BOTH", "conditional", line("A", 2)))
	refused.await(t, result)
	if err := two.Release(ctx, "BACK"); err != nil {
		t.Fatal(err)
	}
	if err := w.one.db.Callback().Raw().Before("gorm:raw").Register("test:stall", writing.hook); err != nil {
		t.Fatal(err)
	}
	close(refused.resume)
	writing.await(t, result)
	late := goReserve(ctx, two, order("LATE", "conditional", line("A", 1)))
	var lateErr error
	done := false
	eventually(t, "the late one's turn", func() bool {
		select {
		case lateErr = <-late:
			done = true
		default:
		}
		return done || w.waiting(t)
	})
	close(writing.resume)
	if err := <-result; err != nil {
		t.Errorf("two are there, and the order for two got %v", err)
	}
	if !done {
		lateErr = <-late
	}
	if lateErr == nil {
		t.Error("somebody else got a unit between the locked look and the write")
	}
	w.wantLedger(t, "A", 0, 2, 0)
}

// stallAfterRefusal stops an instance after a guarded UPDATE of stock that changed no row.
func stallAfterRefusal(t *testing.T, i instance) *stall {
	t.Helper()
	s := &stall{at: "a refused UPDATE", reached: make(chan struct{}), resume: make(chan struct{})}
	err := i.db.Callback().Raw().After("gorm:raw").Register("test:refusal", func(tx *gorm.DB) {
		if strings.HasPrefix(tx.Statement.SQL.String(), beforeWrite) && tx.RowsAffected == 0 {
			s.stop()
		}
	})
	if err != nil {
		t.Fatalf("hook into the statements: %v", err)
	}
	return s
}

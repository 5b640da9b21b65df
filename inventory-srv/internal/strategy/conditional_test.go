package strategy_test

import (
	"strings"
	"testing"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/replicatest"
)

// TestConditional_ReleaseInBetween: an order for two finds one, and before it has looked why, a release brings the
// second. A refusal would now be a lie, so it is granted; and until it has written, it keeps the row locked.
func TestConditional_ReleaseInBetween(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Has(t, "A", 2)
	one, two := w.One.Set(t), w.Two.Set(t)
	ctx := replicatest.Soon(t)
	if _, err := two.Reserve(ctx, replicatest.Order("BACK", "conditional", replicatest.Line("A", 1))); err != nil {
		t.Fatal(err)
	}
	refused := stallAfterRefusal(t, w.One)
	writing := &replicatest.Stall{At: replicatest.BeforeWrite, Reached: make(chan struct{}), Resume: make(chan struct{})}
	result := replicatest.GoReserve(ctx, one, replicatest.Order("BOTH", "conditional", replicatest.Line("A", 2)))
	refused.Await(t, result)
	if err := two.Release(ctx, "BACK"); err != nil {
		t.Fatal(err)
	}
	if err := w.One.DB.Callback().Raw().Before("gorm:raw").Register("test:stall", writing.Hook); err != nil {
		t.Fatal(err)
	}
	close(refused.Resume)
	writing.Await(t, result)
	late := replicatest.GoReserve(ctx, two, replicatest.Order("LATE", "conditional", replicatest.Line("A", 1)))
	var lateErr error
	done := false
	replicatest.Eventually(t, "the late one's turn", func() bool {
		select {
		case lateErr = <-late:
			done = true
		default:
		}
		return done || w.Waiting(t)
	})
	close(writing.Resume)
	if err := <-result; err != nil {
		t.Errorf("two are there, and the order for two got %v", err)
	}
	if !done {
		lateErr = <-late
	}
	if lateErr == nil {
		t.Error("somebody else got a unit between the locked look and the write")
	}
	w.WantLedger(t, "A", 0, 2, 0)
}

// stallAfterRefusal stops an instance after a guarded UPDATE of stock that changed no row.
func stallAfterRefusal(t *testing.T, i replicatest.Instance) *replicatest.Stall {
	t.Helper()
	s := &replicatest.Stall{At: "a refused UPDATE", Reached: make(chan struct{}), Resume: make(chan struct{})}
	err := i.DB.Callback().Raw().After("gorm:raw").Register("test:refusal", func(tx *gorm.DB) {
		if strings.HasPrefix(tx.Statement.SQL.String(), replicatest.BeforeWrite) && tx.RowsAffected == 0 {
			s.Stop()
		}
	})
	if err != nil {
		t.Fatalf("hook into the statements: %v", err)
	}
	return s
}

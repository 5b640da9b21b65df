package redisstock_test

import (
	"errors"
	"log/slog"
	"testing"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/sql"
)

// TestCounters_Settle remembers an answer of the epoch before, of this one and of the next: MySQL has followed the
// first entry of this one. Only what cannot come any more is lost.
func TestCounters_Settle(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t, sql.Inventory())
	c := redisstock.NewCounters(redisstock.Config{DB: db, Store: store.New(db, strategy.Layouts()), Log: slog.New(slog.DiscardHandler)})
	ctx := t.Context()
	if _, err := c.ClaimWriting(ctx, 1); err != nil {
		t.Fatal(err)
	}
	err := errors.Join(
		c.BeginEpoch(ctx, 1, 1, nil), c.BeginEpoch(ctx, 1, 2, &redisstock.Loss{Reason: "test"}), c.OpenEpoch(ctx, 1, 2, "5-0"),
		c.Receive(1, "BEFORE", "4-9", "A 2 100;B 1 100"), c.Receive(2, "NOW", "5-1", "A 1 100"), c.Receive(3, "NEXT", "5-0", "A 1 100"),
		c.Settle(ctx), c.Settle(ctx))
	if err != nil {
		t.Fatal(err)
	}
	if n := c.Remembers(); n != 2 {
		t.Errorf("it remembers %d operations, want 2", n)
	}
	losses, err := c.Losses(ctx)
	if err != nil || len(losses) != 1 || losses[0].Epoch != 1 || losses[0].Operations != 1 || losses[0].Units != 3 {
		t.Errorf("losses %+v, error %v", losses, err)
	}
}

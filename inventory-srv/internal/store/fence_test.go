package store_test

import (
	"testing"

	"holdfast/inventory-srv/internal/redisstock"
)

// TestNewestFence: it is the newest of the stock rows and of the writer that follows the stream.
func TestNewestFence(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	want := func(fence int64) {
		t.Helper()
		if got, err := s.Ledger().NewestFence(t.Context()); got != fence || err != nil {
			t.Errorf("newest fence of the ledger %d, error %v, want %d", got, err, fence)
		}
	}
	want(0)
	mustStock(t, s, 20)
	if err := db.Exec("UPDATE stock SET fence = 7 WHERE sku = 'MUG'").Error; err != nil {
		t.Fatal(err)
	}
	want(7)
	if _, err := redisstock.NewProjection(db, s.Ledger()).ClaimWriting(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	want(9)
}

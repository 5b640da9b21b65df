package store_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
)

// insertStale inserts n PENDING orders that are a minute old.
func insertStale(t *testing.T, db *gorm.DB, n int) []string {
	t.Helper()
	orderNos, values, args := make([]string, n), make([]string, n), []any{}
	for i := range n {
		orderNos[i] = ulid.Make().String()
		values[i] = "(?, ?, 'ann', ?, 'h', 'PENDING', 'test', '', UTC_TIMESTAMP(6) - INTERVAL 1 MINUTE, UTC_TIMESTAMP(6))"
		args = append(args, orderNos[i], orderNos[i], "key-"+orderNos[i])
	}
	must(t, db.Exec(`INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_hash, status, flow, strategy, created_at, updated_at)
		VALUES `+strings.Join(values, ", "), args...).Error)
	return orderNos
}

func count(t *testing.T, db *gorm.DB, query string, args ...any) (n int) {
	t.Helper()
	must(t, db.Raw(query, args...).Row().Scan(&n))
	return n
}

// TestStore_Abandon_batches abandons more orders than one transaction takes, by two replicas at the same time: each
// order is abandoned once, with one healing and one message.
func TestStore_Abandon_batches(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	const n = 1100
	orderNos := insertStale(t, db, n)
	var total atomic.Int64
	var replicas sync.WaitGroup
	for range 2 {
		replicas.Go(func() {
			won, err := s.Abandon(t.Context(), orderNos, 30*time.Second, true, store.Sweeper)
			if err != nil {
				t.Error(err)
			}
			total.Add(int64(won))
		})
	}
	replicas.Wait()
	// A replica skips what the other one has locked at that moment: one call more finds nothing left.
	if won, err := s.Abandon(t.Context(), orderNos, 30*time.Second, true, store.Sweeper); err != nil || won != 0 {
		t.Errorf("a third call abandoned %d, error %v; want 0", won, err)
	}
	if total.Load() != n {
		t.Errorf("abandoned %d, want %d", total.Load(), n)
	}
	for query, want := range map[string]int{
		"SELECT COUNT(*) FROM orders WHERE status = 'ABANDONED' AND idempotency_key IS NULL AND freed_key = CONCAT('key-', order_no)": n,
		"SELECT COUNT(*) FROM healings WHERE healer = 'sweeper' AND deed = 'abandoned'":                                               n,
		"SELECT COUNT(*) FROM outbox WHERE event_id = CONCAT(shard_key, ':release-abandoned')":                                        n,
	} {
		if got := count(t, db, query); got != want {
			t.Errorf("%s: %d, want %d", query, got, want)
		}
	}
}

// TestStore_Abandon_freesKey: a retry with the key of an abandoned order places a new order.
func TestStore_Abandon_freesKey(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	abandoned := insert(t, s, newOrder())
	age(t, db, abandoned.OrderNo, time.Minute)
	if n, err := s.Abandon(t.Context(), []string{abandoned.OrderNo}, 30*time.Second, false, store.CheckBack); err != nil || n != 1 {
		t.Fatalf("abandoned %d, error %v", n, err)
	}
	retry := newOrder()
	retry.IdempotencyKey = abandoned.IdempotencyKey
	if known, inserted, err := ordertest.Insert(t.Context(), s, retry); err != nil || !inserted {
		t.Errorf("the retry was not inserted: found %s in status %s, error %v", known.OrderNo, known.Status, err)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM orders WHERE order_no = ? AND freed_key = ?", abandoned.OrderNo, abandoned.IdempotencyKey); n != 1 {
		t.Error("the abandoned order does not name the key that it freed")
	}
}

// TestStore_Abandon_skipsLocked: an order that a transaction is ending at this moment does not hold up the others.
func TestStore_Abandon_skipsLocked(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	orderNos := insertStale(t, db, 3)
	tx := db.Begin()
	defer tx.Rollback()
	must(t, tx.Exec("UPDATE orders SET reason = 'x' WHERE order_no = ?", orderNos[1]).Error)
	n, err := s.Abandon(t.Context(), orderNos, 30*time.Second, false, store.CheckBack)
	if err != nil || n != 2 {
		t.Errorf("abandoned %d, error %v; want 2", n, err)
	}
	must(t, tx.Rollback().Error)
	if got := get(t, s, orderNos[1]).Status; got != order.Pending {
		t.Errorf("the locked order is %s", got)
	}
}

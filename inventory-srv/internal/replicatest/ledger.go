package replicatest

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// Faults checks the ledger identity and returns what is wrong.
func (w *World) Faults(t *testing.T) []string {
	t.Helper()
	w.Settle(t)
	return append(w.One.ledger().Faults(t), w.redisFaults(t)...)
}

// redisFaults compares the counters in Redis with MySQL's, which has followed. Units that MySQL has allocated and not
// yet reported to Redis are reported with the next order, so the units that were taken are what has to agree.
func (w *World) redisFaults(t *testing.T) (faults []string) {
	t.Helper()
	if !w.One.InRedis {
		return nil
	}
	rows, err := w.One.Redis.RedisRows(Soon(t))
	if err != nil {
		t.Fatalf("read MySQL's counters: %v", err)
	}
	p, err := w.One.Redis.Position(Soon(t))
	if err != nil {
		t.Fatalf("read the position: %v", err)
	}
	for _, r := range rows {
		var inRedis struct {
			Available int64 `redis:"a"`
			Allocated int64 `redis:"laid"`
		}
		if err := w.Redis.HGetAll(Soon(t), fmt.Sprintf("%s%d:stock:%s", w.Counters, p.Epoch, r.SKU)).Scan(&inRedis); err != nil {
			t.Fatalf("read the counter of %s: %v", r.SKU, err)
		}
		if inRedis.Allocated-inRedis.Available != r.Allocated-r.Available || inRedis.Allocated > r.Allocated {
			faults = append(faults, fmt.Sprintf("%s: Redis has %d of %d, MySQL %d of %d", r.SKU, inRedis.Available, inRedis.Allocated, r.Available, r.Allocated))
		}
	}
	return faults
}

// Entry returns one SKU's side of the ledger.
func (w *World) Entry(t *testing.T, sku string) store.Entry {
	t.Helper()
	w.Settle(t)
	return w.One.ledger().Entry(t, sku)
}

// WantLedger fails unless the identity holds and sku has these counters.
func (w *World) WantLedger(t *testing.T, sku string, available, reserved, sold int64) {
	t.Helper()
	if faults := w.Faults(t); faults != nil {
		t.Errorf("the ledger is broken: %s", strings.Join(faults, "; "))
	}
	e := w.Entry(t, sku)
	if e.Available != available || e.Reserved != reserved || e.Sold != sold {
		t.Errorf("%s: available %d, reserved %d, sold %d; want %d, %d, %d", sku, e.Available, e.Reserved, e.Sold, available, reserved, sold)
	}
}

// State returns the status of one reservation, "" when none exists.
func (w *World) State(t *testing.T, orderNo string) stock.Status {
	t.Helper()
	w.Settle(t)
	return w.One.ledger().Status(t, orderNo)
}

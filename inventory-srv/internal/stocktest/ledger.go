package stocktest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/fault"
)

// Patience is how long a test waits for what must happen. Tests fill the machine; a deadline that expires would measure
// the machine.
const Patience = 60 * time.Second

// Ledger reads the ledger of one inventory for the checks of a test. A failed read ends the test.
type Ledger struct {
	Store *store.Store
	DB    *gorm.DB // the pool of Store
}

// strayed are the buckets whose reserved units differ from the allocations of their open orders.
const strayed = `SELECT CONCAT(b.sku, ' bucket ', b.bucket, ': reserved ', b.reserved, ', allocations ', COALESCE(SUM(a.quantity), 0))
	FROM stock_buckets b LEFT JOIN reservation_allocations a ON a.sku = b.sku AND a.bucket = b.bucket
	GROUP BY b.sku, b.bucket, b.reserved HAVING b.reserved <> COALESCE(SUM(a.quantity), 0)
	UNION ALL SELECT CONCAT(a.sku, ' bucket ', a.bucket, ': there is none, but ', a.order_no, ' is allocated to it')
	FROM reservation_allocations a WHERE NOT EXISTS (SELECT 1 FROM stock_buckets b WHERE b.sku = a.sku AND b.bucket = a.bucket)`

// Faults checks the ledger identity of every SKU, the counters against the lines, and the buckets against their
// allocations. It returns a text for each violation.
func (l Ledger) Faults(tb testing.TB) (faults []string) {
	tb.Helper()
	for _, e := range l.entries(tb) {
		if e.Inbound != e.Available+e.Reserved+e.Sold || e.Available < 0 {
			faults = append(faults, fmt.Sprintf("%s: inbound %d, available %d + reserved %d + sold %d", e.SKU, e.Inbound, e.Available, e.Reserved, e.Sold))
		}
		if e.Reserved != e.LinesReserved || e.Sold != e.LinesConfirmed {
			faults = append(faults, fmt.Sprintf("%s: reserved %d, lines %d; sold %d, lines %d", e.SKU, e.Reserved, e.LinesReserved, e.Sold, e.LinesConfirmed))
		}
	}
	ctx, cancel := soon(tb)
	defer cancel()
	var buckets []string
	if err := l.DB.WithContext(ctx).Raw(strayed).Scan(&buckets).Error; err != nil {
		tb.Fatalf("compare the allocations: %v", err)
	}
	return append(faults, buckets...)
}

// Entry returns the counters and lines of one SKU.
func (l Ledger) Entry(tb testing.TB, sku string) store.Entry {
	tb.Helper()
	for _, e := range l.entries(tb) {
		if e.SKU == sku {
			return e
		}
	}
	tb.Fatalf("no ledger entry for %s", sku)
	return store.Entry{}
}

func (l Ledger) entries(tb testing.TB) []store.Entry {
	tb.Helper()
	ctx, cancel := soon(tb)
	defer cancel()
	audit, err := l.Store.Audit(ctx)
	if err != nil {
		tb.Fatalf("audit: %v", err)
	}
	return audit.Entries
}

// Status returns the status of a reservation. It is empty if none exists.
func (l Ledger) Status(tb testing.TB, orderNo string) stock.Status {
	tb.Helper()
	states, err := l.Store.States(tb.Context(), []string{orderNo})
	if err != nil {
		tb.Fatalf("states: %v", err)
	}
	return states[orderNo]
}

// Buy reserves, and retries while the answer is stock.ErrContended, as a client does.
func Buy(ctx context.Context, s stock.Reserver, r stock.Request) (stock.Receipt, error) {
	for {
		receipt, err := s.Reserve(ctx, r)
		if !errors.Is(err, stock.ErrContended) || ctx.Err() != nil {
			return receipt, err
		}
	}
}

// ShortLines returns the lines for which an order was refused.
func ShortLines(err error) []stock.ShortLine {
	short, _ := fault.From(err).Details["short"].([]stock.ShortLine)
	return short
}

func soon(tb testing.TB) (context.Context, context.CancelFunc) {
	tb.Helper()
	return context.WithTimeout(tb.Context(), Patience)
}

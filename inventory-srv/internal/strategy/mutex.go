package strategy

import (
	"context"
	"sync"

	"holdfast/inventory-srv/internal/stock"
)

// Mutex is Naive with a sync.Mutex of the process around it.
//
// Idea:        one order at a time in this process.
// Statements:  those of Naive, between Lock and Unlock, COMMIT included.
// Goes wrong:  the second replica has a mutex of its own, and both are naive again. After an unlock before COMMIT the
// next order reads old stock. Confirm and release outside the mutex are overwritten by a reserve that read before them,
// and so is a delivery (store.Receive), which does not take the mutex.
// Cost:        orders for all SKUs wait for one another, and a waiting order cannot give up. The service sells one
// order at a time.
// Choose it:   never for stock in a database; a mutex guards memory. It refuses a SKU that is not marked for the lab.
//
// Transcript of mutex, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	START TRANSACTION
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2', 'reserved', '<hash>', 'mutex')
//	    ON DUPLICATE KEY UPDATE order_no = order_no
//	SELECT sku, layout, lab, available, reserved, version
//	    FROM stock FORCE INDEX (PRIMARY)
//	    WHERE sku IN ('CAP','MUG') ORDER BY sku
//	UPDATE stock
//	    SET available = 998, reserved = 2, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'CAP'
//	UPDATE stock
//	    SET available = 996, reserved = 4, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'MUG'
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2', 'CAP', 1, 250), ('ORDER-2', 'MUG', 2, 250)
//	COMMIT
type Mutex struct {
	rows rowStock   // with mutex
	mu   sync.Mutex // the Set makes one Mutex for the process
}

const mutexName = "mutex"

var _ stock.Reserver = (*Mutex)(nil)

func newMutex(d Deps) stock.Reserver {
	return &Mutex{rows: rowStock{ledger: d.Ledger, mutex: true}}
}

// Reserve implements stock.Reserver. stock.ErrLabOnly for a SKU that is not marked for the lab.
func (s *Mutex) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock() // the ledger has committed or rolled back by then
	return s.rows.ledger.Reserve(ctx, r, deductUnguarded)
}

// Confirm implements stock.Reserver.
func (s *Mutex) Confirm(ctx context.Context, orderNo string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows.Confirm(ctx, orderNo)
}

// Release implements stock.Reserver.
func (s *Mutex) Release(ctx context.Context, orderNo string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows.Release(ctx, orderNo)
}

package strategy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// Optimistic reads without a lock and writes only if the row has not changed since.
//
// Idea:        conflicts are rare, so detect them at the write instead of locking at the read.
// Statements:  SELECT sku, available, version …; UPDATE … SET available = ?, version = version + 1 WHERE sku = ? AND
// version = ?.
// Goes wrong:  a write that does not increment the version is overwritten without notice. A retry inside the
// transaction keeps the first line's row lock while it waits for the second, and under REPEATABLE READ reads the same
// old version each time. Retries without bound or pause collide again.
// Cost:        nothing without conflicts. On a hot SKU most work is rolled back, and an order that loses too often gets
// "contended".
// Choose it:   many SKUs, few buyers each, and a read and a write that may be far apart, as in a form that a person
// fills in.
//
// Transcript of optimistic, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	START TRANSACTION
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2', 'reserved', '<hash>', 'optimistic')
//	    ON DUPLICATE KEY UPDATE order_no = order_no
//	SELECT sku, layout, lab, available, reserved, version
//	    FROM stock FORCE INDEX (PRIMARY)
//	    WHERE sku IN ('CAP','MUG') ORDER BY sku
//	UPDATE stock
//	    SET available = 998, reserved = 2, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'CAP' AND version = 2
//	UPDATE stock
//	    SET available = 996, reserved = 4, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'MUG' AND version = 2
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2', 'CAP', 1, 250), ('ORDER-2', 'MUG', 2, 250)
//	COMMIT
type Optimistic struct {
	rowStock // Confirm and Release, common to the row layout
}

var _ stock.Reserver = (*Optimistic)(nil)

func newOptimistic(d Deps) stock.Reserver {
	return &Optimistic{rowStock{ledger: d.Ledger}}
}

// The bounds of the retries. With the pauses they take about half a second; then the caller decides whether to retry.
const (
	optimisticTries    = 12
	optimisticPause    = 2 * time.Millisecond // doubles with each try
	optimisticMaxPause = 60 * time.Millisecond
)

// errChanged is a row that another transaction wrote between our read and our write.
var errChanged = errors.New("the row has changed since it was read")

// Reserve implements stock.Reserver. The retries are outside the transaction: each begins a new one, which reads what
// the winner wrote, and no lock is held during a pause.
func (s *Optimistic) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	for try := range optimisticTries {
		receipt, err := s.ledger.Reserve(ctx, r, deductIfUnchanged)
		if !errors.Is(err, errChanged) {
			return receipt, err
		}
		if err := pauseAfter(ctx, try); err != nil {
			return stock.Receipt{}, stock.ErrContended.Wrap(err)
		}
	}
	return stock.Receipt{}, stock.ErrContended.WithText("%d other orders were faster, retry", optimisticTries)
}

func deductIfUnchanged(tx *gorm.DB, lines []stock.Line) error {
	rows, err := readRows(tx, lines, "")
	if err != nil {
		return err
	}
	if err := rows.take(lines); err != nil {
		return err
	}
	for _, r := range rows {
		res := tx.Exec(`UPDATE stock SET available = ?, reserved = ?, version = version + 1, updated_at = UTC_TIMESTAMP(6)
			WHERE sku = ? AND version = ?`, r.Available, r.Reserved, r.SKU, r.Version)
		if res.Error != nil {
			return fmt.Errorf("write the stock of %s: %w", r.SKU, res.Error)
		}
		if res.RowsAffected == 0 {
			return fmt.Errorf("write the stock of %s: %w", r.SKU, errChanged)
		}
	}
	return nil
}

// pauseAfter waits a random time, so that orders that collided do not retry at the same time.
func pauseAfter(ctx context.Context, try int) error {
	timer := time.NewTimer(rand.N(min(optimisticPause<<try, optimisticMaxPause)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

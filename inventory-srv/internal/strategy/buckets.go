package strategy

import (
	"context"
	"fmt"
	"math/rand/v2"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// Buckets takes an order's units whole from one of the K rows over which a hot SKU's counter is spread.
//
// Idea:        K rows can be locked by K orders at once.
// Statements:  UPDATE stock_buckets … WHERE sku = ? AND bucket = ? AND available >= ?, a line each, in SKU order, with
// a bucket at random; INSERT of the allocations. On a miss ROLLBACK, then SELECT … FOR UPDATE of the stock rows and of
// all buckets, in order; one UPDATE for each SKU that serves the order and distributes the rest evenly.
// Goes wrong:  "not in this bucket" answered as "sold out" leaves units unsold at the end; trying other buckets while
// holding the first one deadlocks; a release into another bucket fills one and starves the rest.
// Cost:        the end of a sale is slower than with one row: every order that misses locks all of them. A sum is K
// rows.
// Choose it:   one row's throughput is not enough, and orders must not wait for a batch of others or for another
// system.
//
// Transcript of buckets, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	START TRANSACTION
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2', 'reserved', '<hash>', 'buckets')
//	    ON DUPLICATE KEY UPDATE order_no = order_no
//	UPDATE stock_buckets
//	    SET available = available - 1, reserved = reserved + 1, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'CAP' AND bucket = <bucket> AND available >= 1
//	UPDATE stock_buckets
//	    SET available = available - 2, reserved = reserved + 2, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'MUG' AND bucket = <bucket> AND available >= 2
//	INSERT INTO reservation_allocations (sku, order_no, bucket, quantity)
//	    VALUES ('CAP','ORDER-2',<bucket>,1),('MUG','ORDER-2',<bucket>,2)
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2', 'CAP', 1, 250), ('ORDER-2', 'MUG', 2, 250)
//	COMMIT
type Buckets struct {
	ledger *store.Ledger
	known  bucketNumbers
}

var _ stock.Reserver = (*Buckets)(nil)

func newBuckets(d Deps) stock.Reserver {
	return &Buckets{ledger: d.Ledger, known: bucketNumbers{of: map[string][]int64{}}}
}

// Reserve implements stock.Reserver.
func (s *Buckets) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return takeOrLock(ctx, s.ledger, r,
		func(tx *gorm.DB, lines []stock.Line) error { return s.takeWhole(tx, r.OrderNo, lines) },
		func(tx *gorm.DB, lines []stock.Line) error { return s.takeAfterRedistribution(tx, r.OrderNo, lines) })
}

// takeWhole takes each line from one bucket, or returns errMiss.
func (s *Buckets) takeWhole(tx *gorm.DB, orderNo string, lines []stock.Line) error {
	chosen := make([]int64, len(lines))
	for i, l := range lines {
		numbers, err := s.known.read(tx, l.SKU)
		if err != nil {
			return err
		}
		if len(numbers) == 0 {
			return errMiss
		}
		chosen[i] = numbers[rand.IntN(len(numbers))]
		res := tx.Exec(`UPDATE stock_buckets SET available = available - ?, reserved = reserved + ?, version = version + 1, updated_at = UTC_TIMESTAMP(6)
			WHERE sku = ? AND bucket = ? AND available >= ?`, l.Quantity, l.Quantity, l.SKU, chosen[i], l.Quantity)
		if res.Error != nil {
			return fmt.Errorf("take %d units of %s from a bucket: %w", l.Quantity, l.SKU, res.Error)
		}
		if res.RowsAffected == 0 {
			return errMiss
		}
	}
	return layout.Allocate(tx, orderNo, lines, chosen)
}

// takeAfterRedistribution locks all stock of the order's SKUs, decides, and distributes the rest evenly over the
// buckets, with the unallocated stock. All buckets are locked, so that the order's units can all go to one of them.
func (s *Buckets) takeAfterRedistribution(tx *gorm.DB, orderNo string, lines []stock.Line) error {
	rows, err := lockStockRows(tx, stock.LayoutBuckets, lines)
	if err != nil {
		return err
	}
	sets, err := lockBuckets(tx, lines)
	if err != nil {
		return err
	}
	var short []stock.ShortLine
	for i, l := range lines {
		if free := rows[i].Available + sets[i].available; free < l.Quantity {
			short = append(short, stock.ShortLine{SKU: l.SKU, Requested: l.Quantity, Available: free, Lab: rows[i].Lab})
		}
	}
	if short != nil {
		return stock.OutOfStock(short)
	}
	chosen := make([]int64, len(lines))
	for i, l := range lines {
		numbers := sets[i].numbers
		if len(numbers) == 0 {
			return fmt.Errorf("%s has the layout %s and no bucket: %w", l.SKU, stock.LayoutBuckets, errCounters)
		}
		s.known.set(l.SKU, numbers)
		chosen[i] = numbers[rand.IntN(len(numbers))]
		if err := redistribute(tx, l, rows[i].Available, sets[i], chosen[i]); err != nil {
			return err
		}
	}
	return layout.Allocate(tx, orderNo, lines, chosen)
}

// Confirm implements stock.Reserver.
func (s *Buckets) Confirm(ctx context.Context, orderNo string) error {
	return untilFound(ctx, func() error {
		return s.ledger.Confirm(ctx, orderNo, func(tx *gorm.DB, by string, lines []stock.Line) error {
			if err := checkLayout(stock.LayoutBuckets, by); err != nil {
				return err
			}
			return endInBuckets(tx, orderNo, lines, sellOnRow, "sold")
		})
	})
}

// Release implements stock.Reserver. The units go back to the bucket that they came from.
func (s *Buckets) Release(ctx context.Context, orderNo string) error {
	return untilFound(ctx, func() error {
		return s.ledger.Release(ctx, orderNo, func(tx *gorm.DB, by string, lines []stock.Line) error {
			if err := checkLayout(stock.LayoutBuckets, by); err != nil {
				return err
			}
			return endInBuckets(tx, orderNo, lines, giveBackOnRow, "available")
		})
	})
}

// endInBuckets moves an order's reserved units to another counter: in the buckets of its allocations, and on the stock
// row for lines without one. Rows are locked before buckets.
func endInBuckets(tx *gorm.DB, orderNo string, lines []stock.Line, onRow, to string) error {
	allocated, err := layout.Allocations(tx, orderNo, lines)
	if err != nil {
		return err
	}
	for _, l := range lines {
		if _, ok := allocated[l.SKU]; !ok {
			if err := move(tx, []stock.Line{l}, onRow); err != nil {
				return err
			}
		}
	}
	for _, l := range lines {
		bucket, ok := allocated[l.SKU]
		if !ok {
			continue
		}
		res := tx.Exec("UPDATE stock_buckets SET reserved = reserved - ?, "+to+" = "+to+` + ?, version = version + 1, updated_at = UTC_TIMESTAMP(6)
			WHERE sku = ? AND bucket = ? AND reserved >= ?`, l.Quantity, l.Quantity, l.SKU, bucket, l.Quantity)
		if res.Error != nil {
			return fmt.Errorf("end %d units of %s in bucket %d: %w", l.Quantity, l.SKU, bucket, res.Error)
		}
		if res.RowsAffected == 0 {
			return errMoved.With("sku", l.SKU) // the bucket is gone, with its allocations: no number is given twice
		}
	}
	return layout.Deallocate(tx, orderNo, lines)
}

package strategy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// Buckets takes an order's units whole from one of the K rows over which a hot SKU's counter is spread.
//
// Idea:        K rows can be locked by K orders at once.
// Statements:  UPDATE stock_buckets … WHERE sku = ? AND bucket = ? AND available >= ?, a line each, in SKU order, with a bucket
// at random; INSERT of the allocations. On a miss ROLLBACK, then SELECT … FOR UPDATE of the stock rows and of all buckets, in
// order; one UPDATE for each SKU that serves the order and deals out the rest evenly.
// Goes wrong:  "not in this bucket" told as "sold out" leaves units unsold at the end; looking on while holding the first
// bucket deadlocks; a release that does not know its bucket fills one and starves the rest.
// Cost:        the end of a sale is slower than with one row: every order that misses locks all of them. A sum is K rows.
// Choose it:   one row's throughput is not enough, and orders must not wait for a batch of others or for another system.
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
	return takeOrGate(ctx, s.ledger, r,
		func(tx *gorm.DB, lines []stock.Line) error { return s.takeWhole(tx, r.OrderNo, lines) },
		func(tx *gorm.DB, lines []stock.Line) error { return s.takeAfterDealing(tx, r.OrderNo, lines) })
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
	return store.Allocate(tx, orderNo, lines, chosen)
}

// takeAfterDealing locks everything that the order's SKUs have, decides, and deals the rest out evenly over the buckets,
// with what has arrived in the store room: a bucket that starved has units again. As all is locked, it does not matter from
// which bucket the order's units come: they become one bucket's, whole.
func (s *Buckets) takeAfterDealing(tx *gorm.DB, orderNo string, lines []stock.Line) error {
	rows, err := gate(tx, stock.LayoutBuckets, lines)
	if err != nil {
		return err
	}
	shelves, err := lockBuckets(tx, lines)
	if err != nil {
		return err
	}
	var short []stock.ShortLine
	for i, l := range lines {
		if free := rows[i].Available + shelves[i].available; free < l.Quantity {
			short = append(short, stock.ShortLine{SKU: l.SKU, Requested: l.Quantity, Available: free})
		}
	}
	if short != nil {
		return stock.OutOfStock(short)
	}
	chosen := make([]int64, len(lines))
	for i, l := range lines {
		numbers := shelves[i].numbers
		if len(numbers) == 0 {
			return fmt.Errorf("%s has the layout %s and no bucket: %w", l.SKU, stock.LayoutBuckets, errCounters)
		}
		s.known.set(l.SKU, numbers)
		chosen[i] = numbers[rand.IntN(len(numbers))]
		if err := deal(tx, l, rows[i].Available, shelves[i], chosen[i]); err != nil {
			return err
		}
	}
	return store.Allocate(tx, orderNo, lines, chosen)
}

// shelf is all buckets of a SKU.
type shelf struct {
	numbers   []int64 // one after the other without a gap
	available int64
}

// lockBuckets locks all buckets of the lines' SKUs, in order, and returns them line by line.
func lockBuckets(tx *gorm.DB, lines []stock.Line) ([]shelf, error) {
	var found []struct {
		SKU       string
		Bucket    int64
		Available int64
	}
	err := tx.Raw("SELECT sku, bucket, available FROM stock_buckets FORCE INDEX (PRIMARY) WHERE sku IN ? ORDER BY sku, bucket FOR UPDATE",
		stock.Request{Lines: lines}.SKUs()).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("lock the buckets: %w", err)
	}
	shelves := make([]shelf, len(lines))
	for i, l := range lines {
		for len(found) > 0 && found[0].SKU == l.SKU {
			shelves[i].numbers = append(shelves[i].numbers, found[0].Bucket)
			shelves[i].available += found[0].Available
			found = found[1:]
		}
	}
	return shelves, nil
}

// deal reserves the line's units in the chosen bucket and spreads what is left evenly over all, the store room's units too.
func deal(tx *gorm.DB, l stock.Line, stored int64, s shelf, chosen int64) error {
	left, k, first := stored+s.available-l.Quantity, int64(len(s.numbers)), s.numbers[0]
	res := tx.Exec(`UPDATE stock_buckets SET available = ? + IF(bucket < ?, 1, 0), reserved = reserved + IF(bucket = ?, ?, 0),
		version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?`, left/k, first+left%k, chosen, l.Quantity, l.SKU)
	if res.Error != nil {
		return fmt.Errorf("deal out %d units of %s: %w", left, l.SKU, res.Error)
	}
	if res.RowsAffected != k {
		return fmt.Errorf("deal out %d units of %s: %w", left, l.SKU, errCounters)
	}
	if stored == 0 {
		return nil
	}
	err := tx.Exec("UPDATE stock SET available = 0, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?", l.SKU).Error
	if err != nil {
		return fmt.Errorf("empty the store room of %s: %w", l.SKU, err)
	}
	return nil
}

// Confirm implements stock.Reserver.
func (s *Buckets) Confirm(ctx context.Context, orderNo string) error {
	return untilFound(ctx, func() error {
		return s.ledger.Confirm(ctx, orderNo, func(tx *gorm.DB, by string, lines []stock.Line) error {
			if err := madeIn(stock.LayoutBuckets, by); err != nil {
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
			if err := madeIn(stock.LayoutBuckets, by); err != nil {
				return err
			}
			return endInBuckets(tx, orderNo, lines, giveBackOnRow, "available")
		})
	})
}

// endInBuckets moves an order's reserved units to another counter: in the buckets of its allocations, and on the stock row for
// lines that have none any more. Rows come before buckets, as everywhere.
func endInBuckets(tx *gorm.DB, orderNo string, lines []stock.Line, onRow, to string) error {
	allocated, err := store.Allocations(tx, orderNo, lines)
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
			return errMoved.With("sku", l.SKU) // no number is given twice, so the bucket is gone, and its allocations with it
		}
	}
	return store.Deallocate(tx, orderNo, lines)
}

// bucketNumbers remembers which buckets a SKU has. What it says may be old: a bucket that is gone is a miss, after which it is
// told the new ones.
type bucketNumbers struct {
	mu sync.Mutex
	of map[string][]int64
}

func (b *bucketNumbers) set(sku string, numbers []int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of[sku] = numbers
}

func (b *bucketNumbers) read(tx *gorm.DB, sku string) ([]int64, error) {
	b.mu.Lock()
	numbers := b.of[sku]
	b.mu.Unlock()
	if numbers != nil {
		return numbers, nil
	}
	if err := tx.Raw("SELECT bucket FROM stock_buckets WHERE sku = ? ORDER BY bucket", sku).Scan(&numbers).Error; err != nil {
		return nil, fmt.Errorf("look up the buckets of %s: %w", sku, err)
	}
	if len(numbers) > 0 {
		b.set(sku, numbers)
	}
	return numbers, nil
}

package strategy

import (
	"fmt"
	"sync"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// bucketSet is all buckets of a SKU.
type bucketSet struct {
	numbers   []int64 // consecutive
	available int64
}

// lockBuckets locks all buckets of the lines' SKUs, in order, and returns them line by line.
func lockBuckets(tx *gorm.DB, lines []stock.Line) ([]bucketSet, error) {
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
	sets := make([]bucketSet, len(lines))
	for i, l := range lines {
		for len(found) > 0 && found[0].SKU == l.SKU {
			sets[i].numbers = append(sets[i].numbers, found[0].Bucket)
			sets[i].available += found[0].Available
			found = found[1:]
		}
	}
	return sets, nil
}

// redistribute reserves the line's units in the chosen bucket and distributes the rest evenly over all buckets, with
// the unallocated stock.
func redistribute(tx *gorm.DB, l stock.Line, stored int64, s bucketSet, chosen int64) error {
	left, k, first := stored+s.available-l.Quantity, int64(len(s.numbers)), s.numbers[0]
	res := tx.Exec(`UPDATE stock_buckets SET available = ? + IF(bucket < ?, 1, 0), reserved = reserved + IF(bucket = ?, ?, 0),
		version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?`, left/k, first+left%k, chosen, l.Quantity, l.SKU)
	if res.Error != nil {
		return fmt.Errorf("distribute %d units of %s: %w", left, l.SKU, res.Error)
	}
	if res.RowsAffected != k {
		return fmt.Errorf("distribute %d units of %s: %w", left, l.SKU, errCounters)
	}
	if stored == 0 {
		return nil
	}
	err := tx.Exec("UPDATE stock SET available = 0, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?", l.SKU).Error
	if err != nil {
		return fmt.Errorf("empty the unallocated stock of %s: %w", l.SKU, err)
	}
	return nil
}

// bucketNumbers caches the buckets of a SKU. An entry may be old: a bucket that is gone is a miss, after which the
// entry is replaced.
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

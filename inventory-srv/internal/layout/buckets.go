package layout

import (
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
)

// Buckets splits the counters of a SKU over several rows.
type Buckets struct{}

var _ Layout = Buckets{}

// Name implements Layout.
func (Buckets) Name() string { return stock.LayoutBuckets }

// Check implements Layout.
func (Buckets) Check(to Shape) (Shape, error) {
	if to.Buckets < 0 || to.Buckets > stock.MaxBuckets {
		return Shape{}, stock.ErrInvalidLayout.WithText("there are 1 to %d buckets", stock.MaxBuckets)
	}
	if to.Buckets == 0 {
		to.Buckets = stock.DefaultBuckets
	}
	return to, nil
}

// Collect implements Layout. It takes all counters back and ends the allocations: from now on the units of open orders
// are reserved on the stock row. Every write of an allocation is made under the lock of its bucket, so Collect misses
// none.
func (Buckets) Collect(tx *gorm.DB, sku string) (Counts, error) {
	var buckets []Counts
	err := tx.Raw("SELECT available, reserved, sold FROM stock_buckets FORCE INDEX (PRIMARY) WHERE sku = ? ORDER BY bucket FOR UPDATE", sku).
		Scan(&buckets).Error
	if err != nil {
		return Counts{}, fmt.Errorf("lock the buckets: %w", err)
	}
	for _, table := range []string{"reservation_allocations", "stock_buckets"} {
		if err := tx.Exec("DELETE FROM "+table+" WHERE sku = ?", sku).Error; err != nil {
			return Counts{}, fmt.Errorf("empty %s: %w", table, err)
		}
	}
	var sum Counts
	for _, b := range buckets {
		sum.Available += b.Available
		sum.Reserved += b.Reserved
		sum.Sold += b.Sold
	}
	return sum, nil
}

// Distribute implements Layout. It spreads the units evenly over new buckets.
func (Buckets) Distribute(tx *gorm.DB, sku string, free Unallocated, to Shape) (Unallocated, error) {
	buckets := int64(to.Buckets)
	s := statement.New(to.Buckets, statement.KeySize, "INSERT INTO stock_buckets (sku, bucket, available) VALUES ")
	for i := range buckets {
		share := free.Available / buckets
		if i < free.Available%buckets {
			share++
		}
		s.Comma(int(i)).Add("(").Text(sku).Add(",").Number(free.Places + i + 1).Add(",").Number(share).Add(")")
	}
	if _, err := s.Exec(tx); err != nil {
		return Unallocated{}, fmt.Errorf("insert %d buckets: %w", buckets, err)
	}
	return Unallocated{Places: free.Places + buckets}, nil
}

// Totals implements Layout.
func (Buckets) Totals() string {
	return `SELECT sku, CAST(SUM(available) AS SIGNED) AS available, CAST(SUM(reserved) AS SIGNED) AS reserved, CAST(SUM(sold) AS SIGNED) AS sold
		FROM stock_buckets GROUP BY sku`
}

// Free implements Layout.
func (Buckets) Free() string {
	return "COALESCE((SELECT CAST(SUM(b.available) AS SIGNED) FROM stock_buckets b WHERE b.sku = s.sku), 0)"
}

// Allocate writes in which bucket each line of an order is reserved. The caller has locked the buckets.
func Allocate(tx *gorm.DB, orderNo string, lines []stock.Line, buckets []int64) error {
	s := statement.New(len(lines), statement.LineSize, "INSERT INTO reservation_allocations (sku, order_no, bucket, quantity) VALUES ")
	for i, l := range lines {
		s.Comma(i).Add("(").Text(l.SKU).Add(",").Text(orderNo).Add(",").Number(buckets[i]).Add(",").Number(l.Quantity).Add(")")
	}
	if _, err := s.Exec(tx); err != nil {
		return fmt.Errorf("insert the allocations: %w", err)
	}
	return nil
}

// Allocations returns the bucket of each line that has one, by SKU.
func Allocations(tx *gorm.DB, orderNo string, lines []stock.Line) (map[string]int64, error) {
	var found []struct {
		SKU    string
		Bucket int64
	}
	err := tx.Raw("SELECT sku, bucket FROM reservation_allocations WHERE order_no = ? AND sku IN ?", orderNo, stock.Request{Lines: lines}.SKUs()).
		Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read the allocations: %w", err)
	}
	buckets := make(map[string]int64, len(found))
	for _, a := range found {
		buckets[a.SKU] = a.Bucket
	}
	return buckets, nil
}

// Deallocate removes the allocations of an order that has come to its end. The caller has locked the buckets.
func Deallocate(tx *gorm.DB, orderNo string, lines []stock.Line) error {
	err := tx.Exec("DELETE a FROM reservation_allocations AS a FORCE INDEX (PRIMARY) WHERE a.order_no = ? AND a.sku IN ?",
		orderNo, stock.Request{Lines: lines}.SKUs()).Error
	if err != nil {
		return fmt.Errorf("delete the allocations: %w", err)
	}
	return nil
}

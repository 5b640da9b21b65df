package store_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// available lists the free units of each bucket.
func available(t *testing.T, db *gorm.DB) (units []int64) {
	t.Helper()
	if err := db.Raw("SELECT available FROM stock_buckets WHERE sku = 'MUG' ORDER BY bucket").Scan(&units).Error; err != nil {
		t.Fatal(err)
	}
	return units
}

func TestStore_SetLayout(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	mustStock(t, s, 10)
	reserve(t, s, "HELD", 3)
	set := func(to layout.Shape) {
		t.Helper()
		p, err := s.SetLayout(t.Context(), "MUG", to)
		if err != nil || p.Layout != to.Layout || p.Available != 7 {
			t.Fatalf("to %+v: %+v, error %v", to, p, err)
		}
	}
	set(layout.Shape{Layout: stock.LayoutBuckets, Buckets: 4})
	if diff := cmp.Diff([]int64{2, 2, 2, 1}, available(t, db)); diff != "" {
		t.Errorf("seven units in four buckets (-want +got):\n%s", diff)
	}
	// A bucket has starved and another is full.
	if err := db.Exec("UPDATE stock_buckets SET available = CASE bucket WHEN 1 THEN 7 ELSE 0 END").Error; err != nil {
		t.Fatal(err)
	}
	set(layout.Shape{Layout: stock.LayoutBuckets, Buckets: 3})
	if diff := cmp.Diff([]int64{3, 2, 2}, available(t, db)); diff != "" {
		t.Errorf("dealt out anew over three (-want +got):\n%s", diff)
	}
	var first int64
	if err := db.Raw("SELECT MIN(bucket) FROM stock_buckets").Scan(&first).Error; err != nil || first != 5 {
		t.Errorf("the first new bucket has the number %d (error %v): 1 to 4 were given before", first, err)
	}
	set(layout.Shape{Layout: stock.LayoutBuckets})
	if n := len(available(t, db)); n != stock.DefaultBuckets {
		t.Errorf("%d buckets by default", n)
	}
	set(layout.Shape{Layout: stock.LayoutUnits})
	set(layout.Shape{Layout: stock.LayoutUnits})
	set(layout.Shape{Layout: stock.LayoutRow})
	audit, err := s.Audit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Entry{{SKU: "MUG", Layout: "row", Inbound: 10, Available: 7, Reserved: 3, LinesReserved: 3}}
	if diff := cmp.Diff(want, audit.Entries); diff != "" {
		t.Errorf("after all that (-want +got):\n%s", diff)
	}
}

func TestStore_SetLayout_Refuses(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	mustStock(t, s, 1)
	for _, c := range []struct {
		sku  string
		to   layout.Shape
		want error
	}{
		{"MUG", layout.Shape{}, stock.ErrInvalidLayout},
		{"MUG", layout.Shape{Layout: "heap"}, stock.ErrInvalidLayout},
		{"MUG", layout.Shape{Layout: stock.LayoutRow, Buckets: 4}, stock.ErrInvalidLayout},
		{"MUG", layout.Shape{Layout: stock.LayoutBuckets, Buckets: -1}, stock.ErrInvalidLayout},
		{"MUG", layout.Shape{Layout: stock.LayoutBuckets, Buckets: stock.MaxBuckets + 1}, stock.ErrInvalidLayout},
		{"CUP", layout.Shape{Layout: stock.LayoutUnits}, stock.ErrUnknownSKU},
		{"no SKU", layout.Shape{Layout: stock.LayoutUnits}, stock.ErrUnknownSKU},
	} {
		if _, err := s.SetLayout(t.Context(), c.sku, c.to); !errors.Is(err, c.want) {
			t.Errorf("%s to %+v: got %v, want %v", c.sku, c.to, err, c.want)
		}
	}
}

package shortage_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/intake/shortage"
	"holdfast/order-srv/internal/order"
)

func items(sku string, quantity int64) []order.Item {
	return []order.Item{{SKU: sku, Quantity: quantity}}
}

func short(sku string, available int64) []inventoryapi.ShortLine {
	return []inventoryapi.ShortLine{{SKU: sku, Requested: available + 1, Available: available}}
}

func wantRefused(t *testing.T, m *shortage.Memory, refused bool, sku string, quantity int64) {
	t.Helper()
	err := m.Refuse(items(sku, quantity))
	if errors.Is(err, inventoryapi.ErrOutOfStock) != refused || !refused && err != nil {
		t.Errorf("%d of %s: %v, want refused: %v", quantity, sku, err, refused)
	}
}

func TestMemory_Refuse(t *testing.T) {
	t.Parallel()
	m := shortage.New()
	wantRefused(t, m, false, "A", 100)
	m.Refused(append(short("A", 3), short("B", 0)...), time.Now())
	wantRefused(t, m, true, "A", 4)
	wantRefused(t, m, false, "A", 3)
	wantRefused(t, m, true, "B", 1)
	wantRefused(t, m, false, "C", 1)
	err := m.Refuse([]order.Item{{SKU: "A", Quantity: 9}, {SKU: "B", Quantity: 2}, {SKU: "C", Quantity: 1}})
	want := []inventoryapi.ShortLine{{SKU: "A", Requested: 9, Available: 3}, {SKU: "B", Requested: 2}}
	if diff := cmp.Diff(want, inventoryapi.ShortLines(err)); diff != "" {
		t.Errorf("short lines (-want +got):\n%s", diff)
	}
}

func TestMemory_Refused_lab(t *testing.T) {
	t.Parallel()
	m := shortage.New()
	m.Refused([]inventoryapi.ShortLine{{SKU: "A", Requested: 1, Lab: true}}, time.Now())
	wantRefused(t, m, false, "A", 1)
}

// TestMemory_age renews nothing: what was said is used for MaxAge after inventory was called, and no longer.
func TestMemory_age(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := shortage.New()
		called := time.Now()
		time.Sleep(30 * time.Millisecond) // until inventory has answered
		m.Refused(short("A", 0), called)
		refused := 0
		for ; time.Since(called) <= 2*shortage.MaxAge; time.Sleep(time.Millisecond) {
			if m.Refuse(items("A", 1)) == nil {
				continue
			}
			refused++
			if age := time.Since(called); age > shortage.MaxAge {
				t.Fatalf("refused by what is %v old", age)
			}
		}
		if refused < 150 { // all but a few probes
			t.Errorf("refused %d of some 170", refused)
		}
	})
}

// TestMemory_probe passes on one order each ProbeInterval, whatever the number of orders, and one is not for all SKUs.
func TestMemory_probe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := shortage.New()
		probes := 0
		for begin := time.Now(); time.Since(begin) < time.Second; time.Sleep(time.Millisecond) {
			for _, sku := range []string{"A", "B"} {
				for range 5 {
					if m.Refuse(items(sku, 1)) == nil {
						probes++
						m.Refused(short(sku, 0), time.Now())
					}
				}
			}
		}
		if want := 2 * int(time.Second/shortage.ProbeInterval); probes < want-2 || probes > want+2 {
			t.Errorf("%d orders were passed on in a second, want %d", probes, want)
		}
	})
}

func TestMemory_newStock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := shortage.New()
		m.Refused(short("A", 3), time.Now())
		m.Served([]inventoryapi.Line{{SKU: "A", Quantity: 3}}) // which fitted
		wantRefused(t, m, true, "A", 4)
		m.Served([]inventoryapi.Line{{SKU: "A", Quantity: 4}, {SKU: "B", Quantity: 1}})
		wantRefused(t, m, false, "A", 9)

		early := time.Now()
		time.Sleep(time.Millisecond)
		m.Refused(short("A", 5), time.Now())
		m.Refused(short("A", 0), early) // an older answer that came later
		wantRefused(t, m, false, "A", 5)
		wantRefused(t, m, true, "A", 6)
	})
}

// TestMemory_bound remembers more SKUs than fit. The oldest go first, and all go when they are too old.
func TestMemory_bound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := shortage.New()
		called := time.Now()
		for i := range shortage.MaxSKUs + 100 {
			m.Refused(short(fmt.Sprint(i), 0), called)
		}
		if got := m.Len(); got != shortage.MaxSKUs {
			t.Errorf("%d SKUs, want %d", got, shortage.MaxSKUs)
		}
		wantRefused(t, m, false, "0", 1)
		wantRefused(t, m, true, fmt.Sprint(shortage.MaxSKUs+99), 1)
		time.Sleep(2 * shortage.MaxAge)
		m.Refused(short("new", 0), time.Now())
		if got := m.Len(); got != 1 {
			t.Errorf("%d SKUs after a while, want 1", got)
		}
	})
}

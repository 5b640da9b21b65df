package httpapi_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/fault"
)

func line(sku string, n int64) []inventoryapi.Line {
	return []inventoryapi.Line{{SKU: sku, Quantity: n}}
}

func (s service) available(t *testing.T, sku string) int64 {
	t.Helper()
	p, err := s.Product(t.Context(), sku)
	if err != nil {
		t.Fatal(err)
	}
	return p.Available
}

// TestAPI_Branches: nothing of a prepared branch shows, a repeat gets its receipt, and it ends as it is told.
func TestAPI_Branches(t *testing.T) {
	t.Parallel()
	s := newService(t, false)
	s.has(t, "A", 10)
	s.has(t, "B", 10)
	ctx := t.Context()
	receipt, err := s.PrepareBranch(ctx, inventoryapi.PrepareRequest{OrderNo: "KEPT", Lines: line("A", 4)})
	if err != nil {
		t.Fatal(err)
	}
	want := &inventoryapi.Receipt{
		OrderNo: "KEPT", Strategy: "conditional", AmountCents: 1000,
		Lines: []inventoryapi.ReceiptLine{{SKU: "A", Title: "Title of A", Quantity: 4, UnitPriceCents: 250}},
	}
	if diff := cmp.Diff(want, receipt); diff != "" {
		t.Errorf("the receipt (-want +got):\n%s", diff)
	}
	again, err := s.PrepareBranch(ctx, inventoryapi.PrepareRequest{OrderNo: "KEPT", Lines: line("A", 4)})
	if diff := cmp.Diff(want, again); diff != "" || err != nil {
		t.Errorf("the repeat: error %v, receipt (-want +got):\n%s", err, diff)
	}
	if _, err := s.PrepareBranch(ctx, inventoryapi.PrepareRequest{OrderNo: "KEPT", Lines: line("A", 5)}); !errors.Is(err, inventoryapi.ErrMismatch) {
		t.Errorf("with other lines: %v", err)
	}
	if _, err := s.PrepareBranch(ctx, inventoryapi.PrepareRequest{OrderNo: "UNDONE", Lines: line("B", 2)}); err != nil {
		t.Fatal(err)
	}
	states, err := s.States(ctx, []string{"KEPT", "UNDONE"})
	if len(states) != 0 || err != nil || s.available(t, "A") != 10 {
		t.Errorf("prepared branches show: %v, %d available, error %v", states, s.available(t, "A"), err)
	}
	list, err := s.Branches(ctx)
	if err != nil || len(list) != 2 {
		t.Fatalf("branches %v, error %v; want 2", list, err)
	}
	for _, b := range list {
		if sku := map[string]string{"KEPT": "A", "UNDONE": "B"}[b.OrderNo]; !slices.Equal(b.SKUs, []string{sku}) || b.AgeMS < 0 {
			t.Errorf("the list has %+v", b)
		}
	}
	for range 2 {
		if err := s.CommitBranch(ctx, "KEPT"); err != nil {
			t.Error(err)
		}
		if err := s.RollbackBranch(ctx, "UNDONE"); err != nil {
			t.Error(err)
		}
	}
	if err := s.CommitBranch(ctx, "UNDONE"); !errors.Is(err, inventoryapi.ErrUnknownOrder) {
		t.Errorf("commit what was rolled back: %v", err)
	}
	if err := s.RollbackBranch(ctx, "KEPT"); !errors.Is(err, inventoryapi.ErrMismatch) {
		t.Errorf("roll back what was committed: %v", err)
	}
	if a, b := s.available(t, "A"), s.available(t, "B"); a != 6 || b != 10 {
		t.Errorf("available %d and %d, want 6 and 10", a, b)
	}
	if _, err := s.PrepareBranch(ctx, inventoryapi.PrepareRequest{OrderNo: "KEPT", Lines: line("A", 4)}); !errors.Is(err, inventoryapi.ErrClosed) {
		t.Errorf("prepare what was committed: %v", err)
	}
	if err := s.Confirm(ctx, "KEPT"); err != nil { // as of the strategy conditional
		t.Error(err)
	}
}

// TestAPI_BranchesRefused: a refusal leaves no branch, and neither does an order with a tombstone.
func TestAPI_BranchesRefused(t *testing.T) {
	t.Parallel()
	s := newService(t, false)
	s.has(t, "A", 3)
	s.has(t, "B", 3)
	ctx := t.Context()
	if _, err := s.SetLayout(ctx, "B", inventoryapi.LayoutRequest{Layout: "buckets"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(ctx, "ENDED"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		no    string
		lines []inventoryapi.Line
		want  error
	}{
		{"SHORT", line("A", 4), inventoryapi.ErrOutOfStock},
		{"LAYOUT", line("B", 1), inventoryapi.ErrWrongLayout},
		{"UNKNOWN", line("C", 1), inventoryapi.ErrUnknownSKU},
		{"ENDED", line("A", 1), inventoryapi.ErrClosed},
	} {
		if _, err := s.PrepareBranch(ctx, inventoryapi.PrepareRequest{OrderNo: c.no, Lines: c.lines}); !errors.Is(err, c.want) || fault.Ambiguous(err) {
			t.Errorf("%s: %v, want %v", c.no, err, c.want)
		}
	}
	if list, err := s.Branches(ctx); len(list) != 0 || err != nil {
		t.Errorf("branches %v, error %v; want none", list, err)
	}
}

// TestAPI_BranchesRace: buyers of the same few units, each with a branch that is committed. No unit is sold twice.
func TestAPI_BranchesRace(t *testing.T) {
	t.Parallel()
	s := newService(t, false)
	const buyers, units = 16, 5
	s.has(t, "A", units)
	var running sync.WaitGroup
	var mu sync.Mutex
	sold := 0
	for i := range buyers {
		running.Go(func() {
			no := fmt.Sprintf("BUYER-%d", i)
			for {
				_, err := s.PrepareBranch(t.Context(), inventoryapi.PrepareRequest{OrderNo: no, Lines: line("A", 1)})
				if errors.Is(err, inventoryapi.ErrContended) {
					continue
				}
				if errors.Is(err, inventoryapi.ErrOutOfStock) {
					return
				}
				if err == nil {
					err = s.CommitBranch(t.Context(), no)
				}
				if err != nil {
					t.Errorf("%s: %v", no, err)
					return
				}
				mu.Lock()
				sold++
				mu.Unlock()
				return
			}
		})
	}
	running.Wait()
	if left := s.available(t, "A"); sold != units || left != 0 {
		t.Errorf("%d sold, %d left; want %d and 0", sold, left, units)
	}
}

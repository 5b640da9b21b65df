package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// inRedis has 20 mugs laid out for Redis, in an epoch that the writer with token 5 has opened.
func inRedis(t *testing.T) *store.Store {
	t.Helper()
	s, _ := newStore(t)
	mustStock(t, s, 20)
	ctx := t.Context()
	if _, err := s.ClaimWriting(ctx, 5); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.BeginEpoch(ctx, 5, 1, nil), s.OpenEpoch(ctx, 5, 1, "1-0")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetLayout(ctx, "MUG", store.Shape{Layout: stock.LayoutRedis}); err != nil {
		t.Fatal(err)
	}
	laidOut := func(rows map[string]store.RedisRow, _ map[string]error) error {
		if rows["MUG"].Laid != 20 {
			return fmt.Errorf("laid out: %+v", rows)
		}
		return nil
	}
	if err := s.Ledger().AtGate(ctx, []string{"MUG"}, laidOut); err != nil {
		t.Fatal(err)
	}
	return s
}

// entry makes one of a stream; its number is its place.
func entry(n int64, operation store.Operation, orderNo string, quantity int64) store.StreamEntry {
	return store.StreamEntry{
		ID: fmt.Sprintf("2-%d", n), Seq: n, Net: n, Operation: operation, OrderNo: orderNo,
		Hash: stock.Request{Lines: []stock.Line{{SKU: "MUG", Quantity: quantity}}}.Hash(), Lines: []store.PricedLine{{SKU: "MUG", Quantity: quantity, UnitPriceCents: 1290}},
	}
}

func wantRedisRow(t *testing.T, s *store.Store, available, reserved, sold int64) {
	t.Helper()
	got, err := s.RedisRow(t.Context(), "MUG")
	want := store.RedisRow{SKU: "MUG", Layout: stock.LayoutRedis, Laid: 20, Available: available, Reserved: reserved, Sold: sold}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, the row (-want +got):\n%s", err, diff)
	}
}

// TestFollow_Once applies entries, the same ones again, and with more behind them: each counts once.
func TestFollow_Once(t *testing.T) {
	t.Parallel()
	s := inRedis(t)
	ctx := t.Context()
	entries := []store.StreamEntry{
		entry(1, store.EntryReserve, "A", 3), entry(2, store.EntryReserve, "B", 4), entry(3, store.EntryConfirm, "A", 3),
		entry(4, store.EntryReserve, "C", 5), entry(5, store.EntryRelease, "C", 5),
	}
	for _, n := range []int{2, 2, 5, 5} {
		if err := s.Follow(ctx, 5, 1, "1-0", "redis-lua", entries[:n]); err != nil {
			t.Fatal(err)
		}
	}
	wantRedisRow(t, s, 13, 4, 3)
	p, err := s.Position(ctx)
	if diff := cmp.Diff(store.Position{Fence: 5, Epoch: 1, Open: true, AppliedID: "2-5", AppliedSeq: 5, AppliedNet: 5}, p); err != nil || diff != "" {
		t.Errorf("error %v, the position:\n%s", err, diff)
	}
	if err := s.Follow(ctx, 5, 1, "2-2", "redis-lua", []store.StreamEntry{entry(3, store.EntryReserve, "D", 1)}); !errors.Is(err, store.ErrStaleWriter) {
		t.Errorf("entries of another history: %v", err)
	}
	wantRedisRow(t, s, 13, 4, 3)
}

// TestFollow_Fence: who has an older token, or the same one a second time, or comes from another epoch, writes nothing.
func TestFollow_Fence(t *testing.T) {
	t.Parallel()
	s := inRedis(t)
	ctx := t.Context()
	one := []store.StreamEntry{entry(1, store.EntryReserve, "A", 3)}
	for _, token := range []int64{4, 5} {
		if _, err := s.ClaimWriting(ctx, token); !errors.Is(err, store.ErrStaleWriter) {
			t.Errorf("claim with %d after 5: %v", token, err)
		}
	}
	if _, err := s.ClaimWriting(ctx, 6); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"follow with an old token":      s.Follow(ctx, 5, 1, "1-0", "redis-lua", one),
		"begin with an old token":       s.BeginEpoch(ctx, 5, 2, nil),
		"open with an old token":        s.OpenEpoch(ctx, 5, 1, "9-9"),
		"follow in another epoch":       s.Follow(ctx, 6, 2, "1-0", "redis-lua", one),
		"begin an epoch that was there": s.BeginEpoch(ctx, 6, 1, nil),
		"open another epoch":            s.OpenEpoch(ctx, 6, 2, "9-9"),
	} {
		if !errors.Is(err, store.ErrStaleWriter) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantRedisRow(t, s, 20, 0, 0)
	if err := s.BeginEpoch(ctx, 6, 2, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Follow(ctx, 6, 2, "", "redis-lua", one); !errors.Is(err, store.ErrStaleWriter) {
		t.Errorf("follow in an epoch that is not open: %v", err)
	}
}

// TestFollow_Refused: an entry that contradicts the ledger goes on record, with what Redis has to do, and the others count.
func TestFollow_Refused(t *testing.T) {
	t.Parallel()
	s := inRedis(t)
	ctx := t.Context()
	if err := s.Ledger().Release(ctx, "VOID", nil); err != nil {
		t.Fatal(err)
	}
	entries := []store.StreamEntry{
		entry(1, store.EntryReserve, "VOID", 2), entry(2, store.EntryReserve, "A", 3), entry(3, store.EntryConfirm, "A", 3),
		entry(4, store.EntryRelease, "A", 3), entry(5, store.EntryConfirm, "NOBODY", 1),
	}
	if err := s.Follow(ctx, 5, 1, "1-0", "redis-lua", entries); err != nil {
		t.Fatal(err)
	}
	wantRedisRow(t, s, 17, 0, 3)
	lines := func(n int64) []store.PricedLine {
		return []store.PricedLine{{SKU: "MUG", Quantity: n, UnitPriceCents: 1290}}
	}
	want := []store.Refused{
		{EntryID: "2-1", OrderNo: "VOID", Lines: lines(2), Sign: 1},
		{EntryID: "2-4", OrderNo: "A", Lines: lines(3), Sign: -1},
		{EntryID: "2-5", OrderNo: "NOBODY", Lines: lines(1)},
	}
	got, err := s.ToUndo(ctx, 1)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, to undo:\n%s", err, diff)
	}
	if err := s.Undone(ctx, 1, "2-1"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ToUndo(ctx, 1); err != nil || len(got) != 2 {
		t.Errorf("error %v, still to undo: %v", err, got)
	}
	// What is left is void in the next epoch.
	if err := s.BeginEpoch(ctx, 5, 2, &store.Loss{Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ToUndo(ctx, 1); err != nil || len(got) != 0 {
		t.Errorf("error %v, still to undo after the epoch: %v", err, got)
	}
}

// TestFollow_Drift: more is taken than was ever laid out. Nothing of the transaction stays.
func TestFollow_Drift(t *testing.T) {
	t.Parallel()
	s := inRedis(t)
	entries := []store.StreamEntry{entry(1, store.EntryReserve, "A", 3), entry(2, store.EntryReserve, "B", 18)}
	if err := s.Follow(t.Context(), 5, 1, "1-0", "redis-lua", entries); !errors.Is(err, store.ErrDrift) {
		t.Errorf("got %v", err)
	}
	wantRedisRow(t, s, 20, 0, 0)
}

// TestReportLoss: the record has what the replica that knew most had been answered.
func TestReportLoss(t *testing.T) {
	t.Parallel()
	s := inRedis(t)
	ctx := t.Context()
	if err := s.Follow(ctx, 5, 1, "1-0", "redis-lua", []store.StreamEntry{entry(1, store.EntryReserve, "A", 1)}); err != nil {
		t.Fatal(err)
	}
	if err := s.BeginEpoch(ctx, 5, 2, &store.Loss{Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	for _, report := range []struct{ seq, net, operations, units int64 }{{1, 1, 0, 0}, {4, 9, 3, 8}, {3, 20, 3, 8}, {6, 5, 5, 4}} {
		got, ok, err := s.ReportLoss(ctx, 1, report.seq, report.net)
		if err != nil || !ok || got.Operations != report.operations || got.Units != report.units {
			t.Errorf("after seq %d: %+v, %v, error %v; want %d operations, %d units", report.seq, got, ok, err, report.operations, report.units)
		}
	}
	if _, ok, err := s.ReportLoss(ctx, 7, 1, 1); err != nil || ok {
		t.Errorf("an epoch that did not end with a loss: %v, %v", ok, err)
	}
}

package redisstock_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/sql"
)

// projection is a Projection with the ledger on its database.
type projection struct {
	*redisstock.Projection
	ledger *store.Ledger
}

func second[T any](_ T, err error) error { return err }

// inRedis has 20 mugs allocated in Redis, in an epoch that the writer with token 5 has opened.
func inRedis(t *testing.T) *projection {
	t.Helper()
	db := dbtest.New(t, sql.Inventory())
	inventory := store.New(db, strategy.Layouts())
	s := &projection{redisstock.NewProjection(db, inventory.Ledger()), inventory.Ledger()}
	ctx := t.Context()
	mug := store.Product{SKU: "MUG", Title: "Mug", PriceCents: 1290}
	delivery := store.Inbound{SKU: "MUG", Quantity: 20, Reference: "first", Reason: "test", Actor: "test"}
	if err := errors.Join(second(inventory.CreateProduct(ctx, mug)), second(inventory.Receive(ctx, delivery))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ClaimWriting(ctx, 5); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.BeginEpoch(ctx, 5, 1, nil), s.OpenEpoch(ctx, 5, 1, "1-0")); err != nil {
		t.Fatal(err)
	}
	if _, err := inventory.SetLayout(ctx, "MUG", layout.Shape{Layout: stock.LayoutRedis}); err != nil {
		t.Fatal(err)
	}
	laidOut := func(rows map[string]redisstock.RedisRow, _ map[string]error) error {
		if rows["MUG"].Allocated != 20 {
			return fmt.Errorf("allocated: %+v", rows)
		}
		return nil
	}
	if err := s.LockStock(ctx, []string{"MUG"}, laidOut); err != nil {
		t.Fatal(err)
	}
	return s
}

// entry makes one of a stream; its number is its place.
func entry(n int64, operation redisstock.Operation, orderNo string, quantity int64) redisstock.StreamEntry {
	return redisstock.StreamEntry{
		ID: fmt.Sprintf("2-%d", n), Operation: operation, OrderNo: orderNo,
		Hash: stock.Request{Lines: []stock.Line{{SKU: "MUG", Quantity: quantity}}}.Hash(), Lines: []store.PricedLine{{SKU: "MUG", Quantity: quantity, UnitPriceCents: 1290}},
	}
}

func wantRedisRow(t *testing.T, s *projection, available, reserved, sold int64) {
	t.Helper()
	got, err := s.RedisRow(t.Context(), "MUG")
	want := redisstock.RedisRow{SKU: "MUG", Layout: stock.LayoutRedis, Allocated: 20, Available: available, Reserved: reserved, Sold: sold}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, the row (-want +got):\n%s", err, diff)
	}
}

// TestFollow_Once applies entries, the same ones again, and with more behind them: each counts once.
func TestFollow_Once(t *testing.T) {
	t.Parallel()
	s := inRedis(t)
	ctx := t.Context()
	entries := []redisstock.StreamEntry{
		entry(1, redisstock.EntryReserve, "A", 3), entry(2, redisstock.EntryReserve, "B", 4), entry(3, redisstock.EntryConfirm, "A", 3),
		entry(4, redisstock.EntryReserve, "C", 5), entry(5, redisstock.EntryRelease, "C", 5),
	}
	for _, n := range []int{2, 2, 5, 5} {
		if err := s.Follow(ctx, 5, 1, "1-0", "redis-lua", entries[:n]); err != nil {
			t.Fatal(err)
		}
	}
	wantRedisRow(t, s, 13, 4, 3)
	p, err := s.Position(ctx)
	if diff := cmp.Diff(redisstock.Position{Fence: 5, Epoch: 1, Open: true, AppliedID: "2-5"}, p); err != nil || diff != "" {
		t.Errorf("error %v, the position:\n%s", err, diff)
	}
	if err := s.Follow(ctx, 5, 1, "2-2", "redis-lua", []redisstock.StreamEntry{entry(3, redisstock.EntryReserve, "D", 1)}); !errors.Is(err, redisstock.ErrStaleWriter) {
		t.Errorf("entries of another history: %v", err)
	}
	wantRedisRow(t, s, 13, 4, 3)
}

// TestFollow_Fence: a writer with an older token, with a token that was used, or of another epoch writes nothing.
func TestFollow_Fence(t *testing.T) {
	t.Parallel()
	s := inRedis(t)
	ctx := t.Context()
	one := []redisstock.StreamEntry{entry(1, redisstock.EntryReserve, "A", 3)}
	for _, token := range []int64{4, 5} {
		if _, err := s.ClaimWriting(ctx, token); !errors.Is(err, redisstock.ErrStaleWriter) {
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
		if !errors.Is(err, redisstock.ErrStaleWriter) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantRedisRow(t, s, 20, 0, 0)
	if err := s.BeginEpoch(ctx, 6, 2, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Follow(ctx, 6, 2, "", "redis-lua", one); !errors.Is(err, redisstock.ErrStaleWriter) {
		t.Errorf("follow in an epoch that is not open: %v", err)
	}
}

// TestFollow_Refused: an entry that contradicts the ledger goes on record, with what Redis has to do, and the others
// count.
func TestFollow_Refused(t *testing.T) {
	t.Parallel()
	s := inRedis(t)
	ctx := t.Context()
	if err := s.ledger.Release(ctx, "VOID", nil); err != nil {
		t.Fatal(err)
	}
	entries := []redisstock.StreamEntry{
		entry(1, redisstock.EntryReserve, "VOID", 2), entry(2, redisstock.EntryReserve, "A", 3), entry(3, redisstock.EntryConfirm, "A", 3),
		entry(4, redisstock.EntryRelease, "A", 3), entry(5, redisstock.EntryConfirm, "NOBODY", 1),
	}
	if err := s.Follow(ctx, 5, 1, "1-0", "redis-lua", entries); err != nil {
		t.Fatal(err)
	}
	wantRedisRow(t, s, 17, 0, 3)
	lines := func(n int64) []store.PricedLine {
		return []store.PricedLine{{SKU: "MUG", Quantity: n, UnitPriceCents: 1290}}
	}
	want := []redisstock.Refused{
		{EntryID: "2-1", OrderNo: "VOID", Lines: lines(2), Sign: 1},
		{EntryID: "2-4", OrderNo: "A", Lines: lines(3), Sign: -1},
		{EntryID: "2-5", OrderNo: "NOBODY", Lines: lines(1)},
	}
	got, err := s.ToCompensate(ctx, 1)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, to undo:\n%s", err, diff)
	}
	if err := s.MarkCompensated(ctx, 1, "2-1"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ToCompensate(ctx, 1); err != nil || len(got) != 2 {
		t.Errorf("error %v, still to undo: %v", err, got)
	}
	// What is left is void in the next epoch.
	if err := s.BeginEpoch(ctx, 5, 2, &redisstock.Loss{Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ToCompensate(ctx, 1); err != nil || len(got) != 0 {
		t.Errorf("error %v, still to undo after the epoch: %v", err, got)
	}
}

// TestFollow_Drift: more is taken than was ever allocated. Nothing of the transaction stays.
func TestFollow_Drift(t *testing.T) {
	t.Parallel()
	s := inRedis(t)
	entries := []redisstock.StreamEntry{entry(1, redisstock.EntryReserve, "A", 3), entry(2, redisstock.EntryReserve, "B", 18)}
	if err := s.Follow(t.Context(), 5, 1, "1-0", "redis-lua", entries); !errors.Is(err, redisstock.ErrDrift) {
		t.Errorf("got %v", err)
	}
	wantRedisRow(t, s, 20, 0, 0)
}

// TestMissing: MySQL has an operation when the reservation shows it, or when its entry was refused.
func TestMissing(t *testing.T) {
	t.Parallel()
	s := inRedis(t)
	ctx := t.Context()
	if err := s.ledger.Release(ctx, "VOID", nil); err != nil {
		t.Fatal(err)
	}
	entries := []redisstock.StreamEntry{
		entry(1, redisstock.EntryReserve, "HELD", 1), entry(2, redisstock.EntryReserve, "SOLD", 1), entry(3, redisstock.EntryConfirm, "SOLD", 1),
		entry(4, redisstock.EntryReserve, "BACK", 1), entry(5, redisstock.EntryRelease, "BACK", 1), entry(6, redisstock.EntryReserve, "VOID", 1),
	}
	if err := s.Follow(ctx, 5, 1, "1-0", "redis-lua", entries); err != nil {
		t.Fatal(err)
	}
	var answered, want []redisstock.Answered
	for _, a := range []struct {
		operation redisstock.Operation
		order     string
		entry     int
		missing   bool
	}{
		{redisstock.EntryReserve, "HELD", 1, false},
		{redisstock.EntryConfirm, "HELD", 7, true},
		{redisstock.EntryRelease, "HELD", 8, true},
		{redisstock.EntryReserve, "SOLD", 2, false},
		{redisstock.EntryConfirm, "SOLD", 3, false},
		{redisstock.EntryReserve, "BACK", 4, false},
		{redisstock.EntryRelease, "BACK", 5, false},
		{redisstock.EntryReserve, "VOID", 6, false}, // refused, and on record
		{redisstock.EntryReserve, "VOID", 9, true},
		{redisstock.EntryReserve, "NEVER", 10, true},
	} {
		one := redisstock.Answered{EntryID: fmt.Sprintf("2-%d", a.entry), Operation: a.operation, OrderNo: a.order}
		answered = append(answered, one)
		if a.missing {
			want = append(want, one)
		}
	}
	got, err := s.Missing(ctx, 1, answered)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, missing (-want +got):\n%s", err, diff)
	}
}

// TestRecordLoss has replicas report at the same time, some of them the same operations: each counts once. An epoch
// that ended without a record gets one.
func TestRecordLoss(t *testing.T) {
	t.Parallel()
	s := inRedis(t)
	ctx := t.Context()
	if err := s.BeginEpoch(ctx, 5, 2, &redisstock.Loss{Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	if lost, err := s.HasLost(ctx); err != nil || !lost {
		t.Errorf("has lost: %v, error %v", lost, err)
	}
	operation := func(o redisstock.Operation, no string, units int64) redisstock.Answered {
		return redisstock.Answered{EntryID: "2-1", Operation: o, OrderNo: no, Units: units}
	}
	var reports sync.WaitGroup
	for _, r := range [][]redisstock.Answered{
		{operation(redisstock.EntryReserve, "A", 3), operation(redisstock.EntryReserve, "B", 4)},
		{operation(redisstock.EntryReserve, "B", 4), operation(redisstock.EntryRelease, "B", -4), operation(redisstock.EntryConfirm, "C", 0)},
	} {
		reports.Go(func() {
			if _, err := s.RecordLoss(ctx, 1, r); err != nil {
				t.Error(err)
			}
		})
	}
	reports.Wait()
	last, err := s.RecordLoss(ctx, 7, []redisstock.Answered{operation(redisstock.EntryReserve, "D", 2)})
	if err != nil || last.Operations != 1 || last.Units != 2 {
		t.Errorf("a loss that was noticed late: %+v, error %v", last, err)
	}
	got, err := s.Losses(ctx)
	if err != nil || len(got) != 2 {
		t.Fatalf("losses %+v, error %v", got, err)
	}
	for i, want := range []stock.Loss{
		{Epoch: 1, Reason: "test", Operations: 4, Units: 3, Orders: []string{"A", "B"}},
		{Epoch: 7, Reason: last.Reason, Operations: 1, Units: 2, Orders: []string{"D"}},
	} {
		if diff := cmp.Diff(want, got[i], cmpopts.IgnoreFields(stock.Loss{}, "NoticedAt")); diff != "" {
			t.Errorf("loss %d (-want +got):\n%s", i, diff)
		}
	}
}

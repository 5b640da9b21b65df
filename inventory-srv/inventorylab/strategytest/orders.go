package strategytest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/pkg/fault"
)

func testDuplicates(t *testing.T, s shop) {
	s.Has(t, "A", 10)
	s.Has(t, "B", 10)
	ctx := replicatest.Soon(t)
	var mu sync.Mutex
	var receipts []stock.Receipt
	replicatest.AtOnce(20, func(i int) {
		lines := []stock.Line{replicatest.Line("A", 2), replicatest.Line("B", 1)}
		if i%2 == 1 { // the order of the lines is no part of the payload
			lines[0], lines[1] = lines[1], lines[0]
		}
		receipt, err := stocktest.Buy(ctx, s.of(i/2), replicatest.Order("SAME", s.by, lines...))
		if err != nil {
			t.Errorf("caller %d: %v", i, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		receipts = append(receipts, receipt)
	})
	for _, r := range receipts {
		if diff := cmp.Diff(receipts[0], r); diff != "" {
			t.Fatalf("two callers got different receipts:\n%s", diff)
		}
	}
	s.WantLedger(t, "A", 8, 2, 0)
}

func testDuplicatesSoldOut(t *testing.T, s shop) {
	s.Has(t, "GONE", 1)
	ctx := replicatest.Soon(t)
	replicatest.AtOnce(20, func(i int) {
		_, err := stocktest.Buy(ctx, s.of(i), replicatest.Order("SAME", s.by, replicatest.Line("GONE", 2)))
		if !errors.Is(err, stock.ErrOutOfStock) {
			t.Errorf("caller %d: got %v, want out of stock", i, err)
		}
	})
	s.WantLedger(t, "GONE", 1, 0, 0)
	// A repeat of the order that got the last unit gets its receipt, not "sold out".
	for range 2 {
		if _, err := s.of(1).Reserve(ctx, replicatest.Order("LAST", s.by, replicatest.Line("GONE", 1))); err != nil {
			t.Fatalf("the last unit: %v", err)
		}
	}
	s.WantLedger(t, "GONE", 0, 1, 0)
}

func testMismatch(t *testing.T, s shop) {
	s.Has(t, "A", 10)
	s.Has(t, "B", 10)
	ctx := replicatest.Soon(t)
	if _, err := s.of(0).Reserve(ctx, replicatest.Order("ORDER", s.by, replicatest.Line("A", 1))); err != nil {
		t.Fatal(err)
	}
	for _, lines := range [][]stock.Line{{replicatest.Line("A", 2)}, {replicatest.Line("B", 1)}, {replicatest.Line("A", 1), replicatest.Line("B", 1)}} {
		if _, err := s.of(1).Reserve(ctx, replicatest.Order("ORDER", s.by, lines...)); !errors.Is(err, stock.ErrMismatch) {
			t.Errorf("%v: got %v, want a mismatch", lines, err)
		}
	}
	s.WantLedger(t, "A", 9, 1, 0)
	s.WantLedger(t, "B", 10, 0, 0)
}

func testReleaseBefore(t *testing.T, s shop) {
	s.Has(t, "A", 10)
	ctx := replicatest.Soon(t)
	for range 2 {
		if err := s.of(0).Release(ctx, "ORDER"); err != nil {
			t.Fatalf("release of an unknown order: %v", err)
		}
	}
	if _, err := s.of(1).Reserve(ctx, replicatest.Order("ORDER", s.by, replicatest.Line("A", 1))); !errors.Is(err, stock.ErrClosed) {
		t.Errorf("reserve behind the tombstone: got %v, want closed", err)
	}
	if err := s.of(1).Confirm(ctx, "ORDER"); !errors.Is(err, stock.ErrClosed) {
		t.Errorf("confirm behind the tombstone: got %v, want closed", err)
	}
	if state := s.State(t, "ORDER"); state != stock.Void {
		t.Errorf("the tombstone's status is %q", state)
	}
	s.WantLedger(t, "A", 10, 0, 0)
}

// testReleaseDuring races the two. Whichever is first, the order holds nothing in the end.
func testReleaseDuring(t *testing.T, s shop) {
	const orders = 30
	s.Has(t, "A", orders)
	ctx := replicatest.Soon(t)
	replicatest.AtOnce(2*orders, func(i int) {
		no := fmt.Sprintf("ORDER-%d", i/2)
		if i%2 == 1 {
			if err := replicatest.Settle(ctx, s.of(i/2).Release, no); err != nil {
				t.Errorf("release %s: %v", no, err)
			}
			return
		}
		if _, err := stocktest.Buy(ctx, s.of(i/2+1), replicatest.Order(no, s.by, replicatest.Line("A", 1))); err != nil && !errors.Is(err, stock.ErrClosed) {
			t.Errorf("reserve %s: %v", no, err)
		}
	})
	s.WantLedger(t, "A", orders, 0, 0)
}

func testReleaseAfter(t *testing.T, s shop) {
	s.Has(t, "A", 10)
	ctx := replicatest.Soon(t)
	if _, err := s.of(0).Reserve(ctx, replicatest.Order("ORDER", s.by, replicatest.Line("A", 4))); err != nil {
		t.Fatal(err)
	}
	if err := s.of(1).Release(ctx, "ORDER"); err != nil {
		t.Fatalf("release: %v", err)
	}
	if _, err := s.of(0).Reserve(ctx, replicatest.Order("ORDER", s.by, replicatest.Line("A", 4))); !errors.Is(err, stock.ErrClosed) {
		t.Errorf("reserve after release: got %v, want closed", err)
	}
	if err := s.of(0).Confirm(ctx, "ORDER"); !errors.Is(err, stock.ErrClosed) {
		t.Errorf("confirm after release: got %v, want closed", err)
	}
	s.WantLedger(t, "A", 10, 0, 0)
}

func testReleaseTwice(t *testing.T, s shop) {
	s.Has(t, "A", 10)
	ctx := replicatest.Soon(t)
	if _, err := s.of(0).Reserve(ctx, replicatest.Order("ORDER", s.by, replicatest.Line("A", 4))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.of(0).Reserve(ctx, replicatest.Order("OTHER", s.by, replicatest.Line("A", 5))); err != nil {
		t.Fatal(err)
	}
	replicatest.AtOnce(8, func(i int) {
		if err := replicatest.Settle(ctx, s.of(i).Release, "ORDER"); err != nil {
			t.Errorf("release %d: %v", i, err)
		}
	})
	s.WantLedger(t, "A", 5, 5, 0)
}

func testConfirm(t *testing.T, s shop) {
	s.Has(t, "A", 10)
	ctx := replicatest.Soon(t)
	if err := s.of(0).Confirm(ctx, "ORDER"); !errors.Is(err, stock.ErrUnknownOrder) {
		t.Errorf("confirm of an unknown order: got %v", err)
	}
	first, err := s.of(0).Reserve(ctx, replicatest.Order("ORDER", s.by, replicatest.Line("A", 4)))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.of(1).Confirm(ctx, "ORDER"); err != nil {
			t.Fatalf("confirm: %v", err)
		}
	}
	if err := s.of(0).Release(ctx, "ORDER"); !errors.Is(err, stock.ErrConfirmed) {
		t.Errorf("release of a confirmed order: got %v, want confirmed", err)
	}
	again, err := s.of(1).Reserve(ctx, replicatest.Order("ORDER", s.by, replicatest.Line("A", 4)))
	if err != nil {
		t.Fatalf("a late repeat of the reserve: %v", err)
	}
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the repeat got another receipt:\n%s", diff)
	}
	s.WantLedger(t, "A", 6, 0, 4)
}

func testConfirmReleaseRace(t *testing.T, s shop) {
	const orders = 25
	s.Has(t, "A", orders)
	ctx := replicatest.Soon(t)
	for i := range orders {
		if _, err := stocktest.Buy(ctx, s.of(i), replicatest.Order(fmt.Sprintf("ORDER-%d", i), s.by, replicatest.Line("A", 1))); err != nil {
			t.Fatal(err)
		}
	}
	var confirmed, released atomic.Int64
	replicatest.AtOnce(2*orders, func(i int) {
		no := fmt.Sprintf("ORDER-%d", i/2)
		op, won, lost := s.of(0).Confirm, &confirmed, stock.ErrClosed
		if i%2 == 1 {
			op, won, lost = s.of(1).Release, &released, stock.ErrConfirmed
		}
		switch err := replicatest.Settle(ctx, op, no); {
		case err == nil:
			won.Add(1)
		case !errors.Is(err, lost):
			t.Errorf("%s: %v", no, err)
		}
	})
	if confirmed.Load()+released.Load() != orders {
		t.Errorf("confirmed %d, released %d: one of each pair must win, and only one", confirmed.Load(), released.Load())
	}
	s.WantLedger(t, "A", released.Load(), 0, confirmed.Load())
}

// testCancelled cancels reserves at any moment. Every answer must be true: success holds the units, a definite failure
// holds nothing; and an order without an answer is all or nothing, which the ledger identity shows.
func testCancelled(t *testing.T, s shop) {
	const orders = 80
	s.Has(t, "A", 3*orders)
	s.Has(t, "B", 3*orders)
	results := make([]error, orders)
	replicatest.AtOnce(orders, func(i int) {
		ctx, cancel := context.WithCancel(replicatest.Soon(t))
		timer := time.AfterFunc(time.Duration(i)*2*time.Millisecond, cancel)
		defer timer.Stop()
		defer cancel()
		_, results[i] = s.of(i).Reserve(ctx, replicatest.Order(fmt.Sprintf("ORDER-%d", i), s.by, replicatest.Line("A", 1), replicatest.Line("B", 2)))
	})
	var succeeded, cut int
	for i, err := range results {
		state := s.State(t, fmt.Sprintf("ORDER-%d", i))
		switch {
		case err == nil:
			succeeded++
			if state != stock.Reserved {
				t.Errorf("order %d: answered as reserved; its status is %q", i, state)
			}
		case !fault.Ambiguous(err):
			cut++
			if state != "" {
				t.Errorf("order %d: answered as not executed (%v); its status is %q", i, err, state)
			}
		}
	}
	if cut == 0 {
		t.Error("no reserve was cut: this run has shown nothing")
	}
	t.Logf("%d succeeded, %d were cut, %d are ambiguous", succeeded, cut, orders-succeeded-cut)
}

// testKilledConnections has the server end this shop's connections while it sells: in the middle of transactions and in
// COMMIT. A strategy that sells out before a session was killed sells another product.
func testKilledConnections(t *testing.T, s shop) {
	s.Spoilt = true // its pools are full of dead connections
	ctx := replicatest.Soon(t)
	killing, stop := context.WithCancel(ctx)
	var killed atomic.Int64
	var killer sync.WaitGroup
	k := s.Killer(t)
	killer.Go(func() { k.Until(killing, &killed) })
	var sold []string
	for killed.Load() == 0 && ctx.Err() == nil && !t.Failed() {
		sold = append(sold, fmt.Sprintf("HOT-%d", len(sold)))
		sellOutUnderKills(ctx, t, s, sold[len(sold)-1])
	}
	stop()
	killer.Wait()
	for _, sku := range sold {
		s.WantLedger(t, sku, 0, killedUnits, 0)
	}
	if killed.Load() == 0 {
		t.Error("no connection was killed: this run has shown nothing")
	}
	t.Logf("%d connections were killed", killed.Load())
}

// killedUnits is how many units testKilledConnections has of each product.
const killedUnits = 30

// sellOutUnderKills has buyers retry until they get an answer; the sell-out is exact all the same.
func sellOutUnderKills(ctx context.Context, t *testing.T, s shop, sku string) {
	t.Helper()
	const buyers, units = 60, killedUnits
	err := s.Bring(ctx, sku, units)
	// The killer knows no bystanders.
	for ; fault.KindOf(err) == fault.Unavailable && ctx.Err() == nil; err = s.Bring(ctx, sku, units) {
	}
	if err != nil {
		t.Fatalf("bring %s into the shop: %v", sku, err)
	}
	var sold, refused atomic.Int64
	replicatest.AtOnce(buyers, func(i int) {
		for ctx.Err() == nil {
			_, err := stocktest.Buy(ctx, s.of(i), replicatest.Order(fmt.Sprintf("%s-%d", sku, i), s.by, replicatest.Line(sku, 1)))
			switch {
			case err == nil:
				sold.Add(1)
				return
			case errors.Is(err, stock.ErrOutOfStock):
				refused.Add(1)
				return
			case fault.KindOf(err) == fault.Unavailable || fault.KindOf(err) == fault.Timeout:
			default:
				t.Errorf("buyer %d: %v", i, err)
				return
			}
		}
	})
	if sold.Load() != units || refused.Load() != buyers-units {
		t.Errorf("sold %d, refused %d; want %d, %d", sold.Load(), refused.Load(), units, buyers-units)
	}
}

func testRefusedLines(t *testing.T, s shop) {
	s.Has(t, "A", 10)
	ctx := replicatest.Soon(t)
	cases := map[string]struct {
		lines []stock.Line
		want  error
	}{
		"no line":       {nil, stock.ErrInvalidLines},
		"zero":          {[]stock.Line{replicatest.Line("A", 0)}, stock.ErrInvalidLines},
		"negative":      {[]stock.Line{replicatest.Line("A", -1)}, stock.ErrInvalidLines},
		"too many":      {[]stock.Line{replicatest.Line("A", stock.MaxQuantity+1)}, stock.ErrInvalidLines},
		"twice":         {[]stock.Line{replicatest.Line("A", 1), replicatest.Line("A", 1)}, stock.ErrInvalidLines},
		"lower case":    {[]stock.Line{replicatest.Line("a", 1)}, stock.ErrInvalidLines},
		"unknown":       {[]stock.Line{replicatest.Line("A", 1), replicatest.Line("UNKNOWN", 1)}, stock.ErrUnknownSKU},
		"more than has": {[]stock.Line{replicatest.Line("A", 11)}, stock.ErrOutOfStock},
	}
	for name, c := range cases {
		_, err := s.of(0).Reserve(ctx, replicatest.Order("ORDER", s.by, c.lines...))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if fault.Ambiguous(err) {
			t.Errorf("%s: the refusal is ambiguous", name)
		}
	}
	for _, no := range []string{"", "ORDER WITH BLANKS", "ÄÖÜ", "123456789012345678901234567"} {
		if _, err := s.of(0).Reserve(ctx, replicatest.Order(no, s.by, replicatest.Line("A", 1))); !errors.Is(err, stock.ErrInvalidOrderNo) {
			t.Errorf("order number %q: got %v", no, err)
		}
	}
	s.WantLedger(t, "A", 10, 0, 0)
}

func testHundredLines(t *testing.T, s shop) {
	r := replicatest.Order("ORDER", s.by)
	var skus []string
	for i := range stock.MaxLines + 1 {
		skus = append(skus, fmt.Sprintf("SKU-%03d", i))
		r.Lines = append(r.Lines, replicatest.Line(skus[i], 1))
	}
	s.HasMany(t, skus, 1)
	ctx := replicatest.Soon(t)
	if _, err := s.of(0).Reserve(ctx, r); !errors.Is(err, stock.ErrInvalidLines) {
		t.Errorf("101 lines: got %v, want invalid lines", err)
	}
	r.Lines = r.Lines[:stock.MaxLines]
	// On a busy machine a hundred rows take longer than an attempt may: contended, which a client repeats.
	receipt, err := stocktest.Buy(ctx, s.of(0), r)
	if err != nil {
		t.Fatalf("100 lines: %v", err)
	}
	if len(receipt.Lines) != stock.MaxLines {
		t.Errorf("the receipt has %d lines", len(receipt.Lines))
	}
	if err := replicatest.Settle(ctx, s.of(1).Confirm, "ORDER"); err != nil {
		t.Fatalf("confirm 100 lines: %v", err)
	}
	s.WantLedger(t, "SKU-099", 0, 0, 1)
	s.WantLedger(t, "SKU-100", 1, 0, 0)
}

func testWrongLayout(t *testing.T, s shop) {
	s.Has(t, "ELSEWHERE", 10)
	if err := s.One.DB.Exec("UPDATE stock SET layout = 'elsewhere' WHERE sku = 'ELSEWHERE'").Error; err != nil {
		t.Fatal(err)
	}
	if _, err := s.of(0).Reserve(replicatest.Soon(t), replicatest.Order("ORDER", s.by, replicatest.Line("ELSEWHERE", 1))); !errors.Is(err, stock.ErrWrongLayout) {
		t.Errorf("got %v, want a wrong layout", err)
	}
}

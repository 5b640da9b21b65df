package check_test

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/order-srv/check"
)

var started = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// shop returns a clean shop at rest: ten units of A came in, a placed order holds one, two are sold, one order expired
// and one was rejected. The first order's key belonged to an abandoned order before.
func shop() (ledger []check.SKU, orders []check.Order, reservations []check.Reservation) {
	early := started.Add(-time.Hour)
	ledger = []check.SKU{{SKU: "A", Inbound: 10, Available: 7, Reserved: 1, Sold: 2, LinesReserved: 1, LinesConfirmed: 2}}
	orders = []check.Order{
		{OrderNo: "1", User: "u", Key: "k1", Status: "PLACED", Lines: map[string]int64{"A": 1}},
		{OrderNo: "2", User: "u", Key: "k2", Status: "PAID", Settled: true, Lines: map[string]int64{"A": 2}},
		{OrderNo: "3", User: "v", Key: "k1", Status: "EXPIRED", Settled: true, Lines: map[string]int64{"A": 3}},
		{OrderNo: "4", User: "u", Key: "k4", Status: "REJECTED", Settled: true, Lines: map[string]int64{"A": 99}},
		{OrderNo: "5", User: "u", Key: "k1", Status: "ABANDONED", Settled: true, Lines: map[string]int64{"A": 1}},
	}
	reservations = []check.Reservation{
		{OrderNo: "1", Status: "reserved", CreatedAt: early, Lines: map[string]int64{"A": 1}},
		{OrderNo: "2", Status: "confirmed", CreatedAt: early, Lines: map[string]int64{"A": 2}},
		{OrderNo: "3", Status: "released", CreatedAt: early, Lines: map[string]int64{"A": 3}},
		{OrderNo: "9", Status: "void", CreatedAt: early},
	}
	return ledger, orders, reservations
}

func seq[T any](items []T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, it := range items {
			if !yield(it, nil) {
				return
			}
		}
		if err != nil {
			var zero T
			yield(zero, err)
		}
	}
}

func run(t *testing.T, ledger []check.SKU, orders []check.Order, reservations []check.Reservation, unsent int) check.Report {
	t.Helper()
	r, err := check.Run(check.Input{
		Started: started, Orders: seq(orders, nil), Reservations: seq(reservations, nil), Messages: check.Messages{Unsent: unsent},
		Ledger: func() (check.Ledger, error) { return check.Ledger{SKUs: ledger}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRun_clean(t *testing.T) {
	t.Parallel()
	l, o, res := shop()
	r := run(t, l, o, res, 0)
	if len(r.Violations) != 0 || len(r.Unsettled) != 0 {
		t.Errorf("a clean shop has violations %v and unsettled %v", r.Violations, r.Unsettled)
	}
	if r.Orders["PLACED"] != 1 || r.Orders["PAID"] != 1 || len(r.SKUs) != 1 {
		t.Errorf("report = %+v", r)
	}
}

// Each case plants one violation in the clean shop. The checker must report it with its subject, and nothing else.
func TestRun_namesPlantedViolation(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		plant     func(l []check.SKU, o []check.Order, r []check.Reservation)
		want      string // "invariant subject", with "~" for unsettled findings
		extraSKU  bool
		addRes    *check.Reservation
		dropRes   int // index + 1
		unsentNum int
	}{
		{name: "unit lost", plant: func(l []check.SKU, _ []check.Order, _ []check.Reservation) { l[0].Available-- }, want: "1 A"},
		{name: "counter below zero", plant: func(l []check.SKU, _ []check.Order, _ []check.Reservation) {
			l[0].Available, l[0].Inbound = -1, 2
		}, want: "1 A,3 A,~3 A"},
		{name: "lost update of reserved", plant: func(l []check.SKU, _ []check.Order, _ []check.Reservation) { l[0].LinesReserved++ }, want: "2 A"},
		{name: "lost update of sold", plant: func(l []check.SKU, _ []check.Order, _ []check.Reservation) { l[0].LinesConfirmed++ }, want: "2 A"},
		{name: "orders promise too much", plant: func(_ []check.SKU, o []check.Order, r []check.Reservation) {
			o[0].Lines["A"], r[0].Lines["A"] = 50, 50
		}, want: "~3 A"},
		{name: "pending", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) { o[0].Status = "PENDING" }, want: "~7 1"},
		{name: "unsettled", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) { o[1].Settled = false }, want: "~7 2"},
		{name: "placed past its expiry", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) {
			o[0].ExpiresAt = started.Add(-time.Millisecond)
		}, want: "~7 1"},
		{name: "placed before its expiry", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) {
			o[0].ExpiresAt = started.Add(time.Second)
		}, want: ""},
		{name: "paid after its expiry", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) {
			o[1].ExpiresAt = started.Add(-time.Hour)
		}, want: ""},
		{name: "unsent", plant: func([]check.SKU, []check.Order, []check.Reservation) {}, unsentNum: 2, want: "~7 outbox"},
		{name: "placed on a tombstone", plant: func(_ []check.SKU, _ []check.Order, r []check.Reservation) { r[0].Status = "void" }, want: "5 1"},
		{name: "placed but released", plant: func(_ []check.SKU, _ []check.Order, r []check.Reservation) { r[0].Status = "released" }, want: "~5 1"},
		{name: "paid but only reserved", plant: func(_ []check.SKU, _ []check.Order, r []check.Reservation) { r[1].Status = "reserved" }, want: "~5 2"},
		{name: "expired but held", plant: func(_ []check.SKU, _ []check.Order, r []check.Reservation) { r[2].Status = "reserved" }, want: "~5 3"},
		{name: "expired but sold", plant: func(_ []check.SKU, _ []check.Order, r []check.Reservation) { r[2].Status = "confirmed" }, want: "5 3"},
		{name: "other lines held", plant: func(_ []check.SKU, _ []check.Order, r []check.Reservation) { r[0].Lines["A"] = 2 }, want: "5 1"},
		{name: "placed without reservation", plant: func([]check.SKU, []check.Order, []check.Reservation) {}, dropRes: 1, want: "5 1"},
		{name: "old orphan", plant: func([]check.SKU, []check.Order, []check.Reservation) {}, want: "5 Z", addRes: &check.Reservation{
			OrderNo: "Z", Status: "reserved", CreatedAt: started.Add(-time.Hour), Lines: map[string]int64{"A": 1},
		}},
		{name: "young orphan", plant: func([]check.SKU, []check.Order, []check.Reservation) {}, want: "~5 Z", addRes: &check.Reservation{
			OrderNo: "Z", Status: "reserved", CreatedAt: started, Lines: map[string]int64{"A": 1},
		}},
		{name: "two orders of one key", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) {
			o[2].User = "u" // EXPIRED, and it was placed beside the first
		}, want: "5 3"},
		{name: "two orders of one key, one pending", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) {
			o[4].Status = "PENDING" // it may have been abandoned since
		}, want: "~5 5,~7 5"},
		{name: "placed without an answer", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) {
			o[0].Answer = check.Unanswered
		}, want: "5 1"},
		{name: "placed though refused", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) {
			o[0].Answer = check.Refusal
		}, want: "5 1"},
		{name: "paid though refused", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) {
			o[1].Answer = check.Refusal
		}, want: "5 2"},
		{name: "rejected though reserved", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) {
			o[2].Status, o[2].Answer = "REJECTED", check.Receipt
		}, want: "5 3"},
		{name: "answers that agree", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) {
			o[0].Answer, o[1].Answer = check.Receipt, check.Receipt
			o[2].Status, o[2].Answer = "REJECTED", check.Refusal
		}, want: ""},
		{name: "abandoned with a receipt", plant: func(_ []check.SKU, o []check.Order, _ []check.Reservation) {
			o[2].Status, o[2].Answer = "ABANDONED", check.Receipt
		}, want: ""},
		{name: "unknown SKU promised", plant: func(_ []check.SKU, o []check.Order, r []check.Reservation) {
			o[0].Lines, r[0].Lines = map[string]int64{"B": 1}, map[string]int64{"B": 1}
		}, want: "3 B"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, o, res := shop()
			tt.plant(l, o, res)
			if tt.addRes != nil {
				res = append(res, *tt.addRes)
			}
			if tt.dropRes > 0 {
				res = append(res[:tt.dropRes-1], res[tt.dropRes:]...)
			}
			if got := found(run(t, l, o, res, tt.unsentNum)); got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

func TestRun_countsUnits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name              string
		plant             func(l []check.SKU, o []check.Order)
		oversold, missing int64
	}{
		{"clean", func([]check.SKU, []check.Order) {}, 0, 0},
		{"lines promise too much", func(l []check.SKU, _ []check.Order) { l[0].LinesReserved = 12 }, 4, 0},
		{"orders promise too much", func(_ []check.SKU, o []check.Order) { o[0].Lines["A"] = 11 }, 3, 0},
		{"units lost", func(l []check.SKU, _ []check.Order) { l[0].Available -= 2 }, 0, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, o, res := shop()
			tt.plant(l, o)
			if s := run(t, l, o, res, 0).SKUs[0]; s.Oversold != tt.oversold || s.Missing != tt.missing {
				t.Errorf("oversold %d, missing %d; want %d and %d", s.Oversold, s.Missing, tt.oversold, tt.missing)
			}
		})
	}
}

func found(r check.Report) string {
	var names []string
	for _, v := range r.Violations {
		names = append(names, fmt.Sprint(v.Invariant)+" "+v.Subject)
	}
	for _, v := range r.Unsettled {
		names = append(names, "~"+fmt.Sprint(v.Invariant)+" "+v.Subject)
	}
	return strings.Join(names, ",")
}

// TestRun_lost: an order without a reservation is lost if a loss of Redis names it; its units then count as promised
// to no order. Any other such order is a violation as soon as the replicas have had time to report.
func TestRun_lost(t *testing.T) {
	t.Parallel()
	ledger := []check.SKU{{SKU: "A", Inbound: 3, Reserved: 3, LinesReserved: 3}}
	lines := func(n int64) map[string]int64 { return map[string]int64{"A": n} }
	orders := []check.Order{{OrderNo: "1", Status: "PLACED", Lines: lines(2)}, {OrderNo: "2", Status: "PLACED", Lines: lines(3)}}
	reservations := []check.Reservation{{OrderNo: "2", Status: "reserved", Lines: lines(3)}}
	early := started.Add(-time.Hour)
	for name, tt := range map[string]struct {
		losses   []check.Loss
		want     string // in the format of found
		lost     int
		oversold int64
	}{
		"no loss":               {nil, "5 1,~3 A", 0, 2},
		"a loss names it":       {[]check.Loss{{Operations: 1, Units: 2, NoticedAt: early, Orders: []string{"1"}}}, "", 1, 0},
		"a loss names nothing":  {[]check.Loss{{NoticedAt: early}}, "5 1,~3 A", 0, 2},
		"a loss names others":   {[]check.Loss{{Operations: 2, NoticedAt: early, Orders: []string{"0", "2"}}}, "5 1,~3 A", 0, 2},
		"the second one names":  {[]check.Loss{{NoticedAt: early}, {NoticedAt: early, Orders: []string{"1"}}}, "", 1, 0},
		"a loss a moment ago":   {[]check.Loss{{NoticedAt: started.Add(-time.Second)}}, "~3 A,~5 1", 0, 2},
		"a loss of the moment":  {[]check.Loss{{NoticedAt: started.Add(time.Second), Orders: []string{"1"}}}, "", 1, 0},
		"an old and a new loss": {[]check.Loss{{NoticedAt: early}, {NoticedAt: started.Add(-time.Second)}}, "~3 A,~5 1", 0, 2},
	} {
		r, err := check.Run(check.Input{
			Started: started, Orders: seq(orders, nil), Reservations: seq(reservations, nil),
			Ledger: func() (check.Ledger, error) { return check.Ledger{SKUs: slices.Clone(ledger), Losses: tt.losses}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if found(r) != tt.want || len(r.Lost) != tt.lost || r.SKUs[0].Oversold != tt.oversold {
			t.Errorf("%s: found %q, lost %d, oversold %d; want %q, %d, %d", name, found(r), len(r.Lost), r.SKUs[0].Oversold, tt.want, tt.lost, tt.oversold)
		}
	}
}

func TestRun_readError(t *testing.T) {
	t.Parallel()
	l, o, res := shop()
	boom := errors.New("boom")
	ok := func() (check.Ledger, error) { return check.Ledger{SKUs: l}, nil }
	for name, in := range map[string]check.Input{
		"orders":       {Orders: seq(o, boom), Reservations: seq(res, nil), Ledger: ok},
		"reservations": {Orders: seq(o, nil), Reservations: seq(res, boom), Ledger: ok},
		"ledger":       {Orders: seq(o, nil), Reservations: seq(res, nil), Ledger: func() (check.Ledger, error) { return check.Ledger{}, boom }},
	} {
		if _, err := check.Run(in); !errors.Is(err, boom) {
			t.Errorf("%s: err = %v, want boom", name, err)
		}
	}
}

// TestRun_halfMessages: undecided half messages are a finding after the broker has had time to check them twice.
func TestRun_halfMessages(t *testing.T) {
	t.Parallel()
	for oldest, want := range map[time.Duration]int{0: 0, 21 * time.Second: 0, 23 * time.Second: 1} {
		r, err := check.Run(check.Input{
			Started: time.Now(), Orders: seq[check.Order](nil, nil), Reservations: seq[check.Reservation](nil, nil),
			Ledger:   func() (check.Ledger, error) { return check.Ledger{}, nil },
			Messages: check.Messages{Undecided: 2, OldestUndecided: oldest, LateAfter: 22 * time.Second},
		})
		if err != nil || len(r.Unsettled) != want || len(r.Violations) != 0 || r.Messages.Undecided != 2 {
			t.Errorf("oldest %v: unsettled %v, violations %v, error %v; want %d findings", oldest, r.Unsettled, r.Violations, err, want)
		}
	}
}

package bench

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
	"holdfast/internal/lab/load"
	"holdfast/internal/lab/machine"
	"holdfast/sql"
)

// The client library's cache starts its janitor when the package is loaded, and the server that the tests share is
// watched until they end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/patrickmn/go-cache.(*janitor).Run"),
		goleak.IgnoreAnyFunction("holdfast/internal/dev/stack.watch.func1"))
}

func complete() Sheet {
	return Sheet{
		Machine:   machine.Machine{Cores: 2, Database: "SomeDB 1.0", Settings: map[string]string{"innodb_flush_log_at_trx_commit": "1"}},
		Isolation: "READ-COMMITTED", InFlight: "one", Pipelined: "none", CPU: "all", Goodput: "201", Durable: "flush at commit 1", Broker: "some <broker>",
	}
}

// planted has two repetitions, in the second of which the whole machine was half as fast.
func planted() Report {
	r := Report{Preset: "quick", Flow: "tx-message", StartedAt: time.Unix(0, 0), Time: 4, Sheet: complete()}
	shape := Shape{Connections: 64, Basket: Hot}
	for repetition, speed := range []float64{1, 0.5} {
		r.Cells = append(r.Cells,
			Cell{Subject: Chain, Shape: shape, Repetition: repetition + 1, Throughput: 4000 * speed, Messages: -1, CPU: map[string]float64{"hop-1": 90, generator: 20}},
			Cell{
				Subject: "group-commit", Shape: shape, Repetition: repetition + 1, Throughput: 1000 * speed, Messages: 2.5, P99: 7, Statements: 3,
				CPU: map[string]float64{"order-srv": 200, "redis": 0.5, generator: 30},
			})
	}
	return r
}

// The ratio pairs cells of one repetition: medians of the throughputs would show what the machine did in between.
func TestReport_Summary_pairsRepetitions(t *testing.T) {
	t.Parallel()
	r := planted()
	r.Cells[3].Throughput = 600 // of 2,000
	s, ok := r.Summary("group-commit", r.Cells[0].Shape)
	if want := (0.25 + 0.3) / 2; !ok || s.Ratio != want {
		t.Errorf("ratio %v, want %v", s.Ratio, want)
	}
	if s.CPU != 200.5 || s.ByProcess[generator] != 30 || s.Messages != 2.5 {
		t.Errorf("costs: %+v", s)
	}
	if _, ok := r.Summary("naive", r.Cells[0].Shape); ok {
		t.Error("a subject that did not run has a summary")
	}
}

func TestReport_Write(t *testing.T) {
	t.Parallel()
	r := planted()
	r.Cells[1].Findings = []string{"invariant <1>"}
	dir := t.TempDir()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "bench.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<strong>0.25×</strong>", "invariant &lt;1&gt;", "some &lt;broker&gt;", "READ-COMMITTED", "200 µs", "2.5"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, never := range []string{"http://", "https://", "ZgotmplZ", "<th>redis</th>"} {
		if strings.Contains(string(page), never) {
			t.Errorf("the page has %q", never)
		}
	}
	again, err := Read(filepath.Join(dir, "bench.json"))
	if err != nil || len(again.Cells) != 4 || len(again.Broken()) != 1 {
		t.Errorf("read back %d cells, %d broken, %v", len(again.Cells), len(again.Broken()), err)
	}
	var table bytes.Buffer
	if err := again.Table(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"750 (0.25×), 7.0 ms", "| group-commit, 64 |", "* CPU: all", "READ-COMMITTED"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
}

// No figure without its fairness sheet: a report that lacks an entry is neither read nor printed.
func TestSheet_required(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(*Sheet){
		"isolation":        func(s *Sheet) { s.Isolation = "" },
		"durability":       func(s *Sheet) { s.Settings = nil },
		"in_flight":        func(s *Sheet) { s.InFlight = "" },
		"pipelining":       func(s *Sheet) { s.Pipelined = "" },
		"cpu_counted":      func(s *Sheet) { s.CPU = "" },
		"counted_as_order": func(s *Sheet) { s.Goodput = "" },
		"broker":           func(s *Sheet) { s.Broker = "" },
		"database":         func(s *Sheet) { s.Database = "" },
	} {
		r := planted()
		remove(&r.Sheet)
		if err := r.Table(&bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a table without %s: %v", name, err)
		}
		dir := t.TempDir()
		if err := r.Write(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(filepath.Join(dir, "bench.json")); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a report without %s was read: %v", name, err)
		}
	}
}

// TestMeanwhile plants an order that expires within an hour: a run of two hours says so, and a run of a minute does
// not.
func TestMeanwhile(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "MySQL")
	db, err := dbtest.New(t, sql.Orders()).DB()
	if err != nil {
		t.Fatal(err)
	}
	for _, status := range []string{"PLACED", "PAID"} {
		_, err := db.ExecContext(t.Context(), `INSERT INTO orders (order_no, group_id, user_id, status, flow, strategy, created_at, updated_at, expires_at, due_at)
			VALUES (?, 'G', 'alice', ?, 'tx-message', '', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) + INTERVAL 1 HOUR)`, status, status)
		if err != nil {
			t.Fatal(err)
		}
	}
	for length, want := range map[time.Duration]string{time.Minute: "", 2 * time.Hour: "orders of earlier runs expire, which makes cells slower: 1"} {
		if got, err := meanwhile(t.Context(), db, "orders", length); got != want || err != nil {
			t.Errorf("in %v: %q, %v; want %q", length, got, err, want)
		}
	}
	r := planted()
	r.Sheet.Meanwhile = "7 orders expire"
	var table bytes.Buffer
	if err := r.Table(&table); err != nil || !strings.Contains(table.String(), "* meanwhile: 7 orders expire") {
		t.Errorf("the table does not say it: %v\n%s", err, table.String())
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	got, err := parseStat([]byte("12 (a (b) c) S 1 1 1 0 -1 4194560 1 0 0 0 250 50 7 8 20 0 9 0 100 1 1"))
	if err != nil || got != 3*time.Second {
		t.Errorf("got %v, %v; want 3s", got, err)
	}
	for _, bad := range []string{"", "12 (a) S 1", "12 (a) S 1 1 1 0 -1 4194560 1 0 0 0 x 50 7"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if _, err := processCPU(os.Getpid()); err != nil {
		t.Errorf("this process: %v", err)
	}
}

// Two hops pass an order on and its answer back, and end with their context.
func TestHop(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	addrs := []string{freeAddr(t), freeAddr(t)}
	go func() { ended <- Hop(ctx, addrs[1], "") }()
	go func() { ended <- Hop(ctx, addrs[0], addrs[1]) }()
	for _, addr := range addrs {
		testkit.Eventually(t, 10*time.Second, "the hop listens", func() error { return dialable(ctx, addr) })
	}
	to := load.Target{Addr: addrs[0], Name: "CHAIN", Tokens: []string{"none"}, Baskets: []string{load.Basket("A", "B"), load.Basket("A")}}
	got, _ := load.Run{Target: to, Name: "r", Connections: 3, Time: 2 * time.Second, Deadline: time.Minute}.Closed(ctx)
	if got.Good.Load() == 0 || got.Good.Load() != got.Sent.Load() {
		t.Errorf("%d of %d orders were answered 201", got.Good.Load(), got.Sent.Load())
	}
	cancel()
	for range addrs {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Each kind of basket is a valid order: no SKU twice, one to three lines.
func TestBaskets(t *testing.T) {
	t.Parallel()
	all := baskets(load.Target{}, skus("X"))
	if n := len(all[Hot].Baskets); n != 1 {
		t.Errorf("%d hot baskets", n)
	}
	lines := map[int]int{}
	for _, body := range all[Mixed].Baskets {
		parts := strings.Split(body, `"sku":`)[1:]
		seen := map[string]bool{}
		for _, p := range parts {
			seen[strings.SplitN(p, ",", 2)[0]] = true
		}
		if len(seen) != len(parts) {
			t.Errorf("a SKU twice in %s", body)
		}
		lines[len(parts)]++
	}
	if len(all[Mixed].Baskets) != mixedSKUs || lines[1] < 30 || lines[2] < 30 || lines[3] < 30 {
		t.Errorf("lines of the baskets: %v", lines)
	}
}

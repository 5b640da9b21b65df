package leasecheck_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/leasecheck"
	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
)

const (
	soakTTL   = 500 * time.Millisecond
	perWindow = 2 // faults of each lane
	holders   = 3 // processes at a time, each with its own way to Redis
	workers   = 3 // in each
)

// soak is several processes that deduct from several keys while a seeded schedule makes everything go wrong. It goes by
// windows: at the end of each no worker runs, the keys' histories are checked by porcupine from where the row stood
// before, and the ledger is compared with the clients' answers.
type soak struct {
	seed    uint64
	bench   *leasecheck.Bench
	redis   *stack.Redis
	proxies []*tcpproxy.Proxy
	rows    map[string]leasecheck.Row // where each key stands
	report  report
}

// TestSoak runs for HOLDFAST_SOAK, which `make soak-lock` sets, and else for a window or two, to see that it works.
// HOLDFAST_SOAK_SEED repeats a schedule.
func TestSoak(t *testing.T) {
	t.Parallel()
	length, err := time.ParseDuration(envOr("HOLDFAST_SOAK", "1s"))
	if err != nil {
		t.Fatal(err)
	}
	seed, err := strconv.ParseUint(envOr("HOLDFAST_SOAK_SEED", fmt.Sprint(rand.Uint32())), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d", seed)
	s := newSoak(t, seed)
	start := time.Now()
	for n := 0; n == 0 || time.Since(start) < length; n++ {
		s.window(t, n)
		if t.Failed() {
			t.Fatalf("stopped in window %d of seed %d", n, seed)
		}
	}
	s.balance(t)
	s.report.print(t, fmt.Sprintf("soak of %v, seed %d", time.Since(start).Round(time.Second), seed))
	s.report.judge(t)
}

func envOr(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	own := stacktest.OwnRedis(t)
	s := &soak{seed: seed, redis: own, bench: leasecheck.NewBench(t, leasecheck.Real(), own.Addr), rows: map[string]leasecheck.Row{}}
	s.report.init()
	for range holders {
		s.proxies = append(s.proxies, tcpproxy.New(t, own.Addr))
	}
	for _, key := range []string{"a", "b", "c", "d"} {
		s.rows[key] = leasecheck.Row{Stock: plenty}
		s.bench.Put(plenty, key)
	}
	return s
}

// window is one of the soak's: its workers, present and past.
type window struct {
	soak *soak
	n    int

	mu      sync.Mutex
	working [holders]*leasecheck.Holder
	all     []*leasecheck.Holder
}

func (s *soak) window(t *testing.T, n int) {
	t.Helper()
	w := &window{soak: s, n: n}
	for i := range holders {
		w.start(t, i)
	}
	var lanes sync.WaitGroup
	for _, events := range schedule(s.seed, n) {
		lanes.Go(func() {
			for _, e := range events {
				time.Sleep(e.after)
				s.report.fault(e.kind, s.happen(t, w, e))
			}
		})
	}
	lanes.Wait()
	w.check(t, w.wait(t))
}

// prefix is what the IDs of this window's deductions begin with.
func (w *window) prefix() string { return fmt.Sprintf("w%d.", w.n) }

// start starts the i-th holder.
func (w *window) start(t *testing.T, i int) {
	t.Helper()
	s := w.soak
	w.mu.Lock()
	defer w.mu.Unlock()
	number := len(w.all)
	w.working[i] = leasecheck.StartHolder(t, leasecheck.Orders{
		Name: fmt.Sprintf("%s%d", w.prefix(), number), Redis: s.proxies[i].Addr(), DSN: s.bench.DSN, Prefix: s.bench.Prefix,
		TTL: soakTTL, MaxHold: 2 * soakTTL, Keys: []string{"a", "b", "c", "d"},
		Workers: workers, Linger: 3 * soakTTL, Seed: s.seed + uint64(100*w.n+number),
	})
	w.all = append(w.all, w.working[i])
}

// wait tells the holders that it is enough and returns what all of them wrote, those that were killed included.
func (w *window) wait(t *testing.T) leasecheck.History {
	t.Helper()
	for i := range holders {
		if err := w.holder(i).GoOn(); err != nil {
			t.Error(err)
		}
	}
	for i := range holders {
		if err := w.holder(i).Wait(leasecheck.Within(t)); err != nil {
			t.Errorf("window %d: %v", w.n, err)
		}
	}
	whole := leasecheck.History{Events: map[string]int{}}
	for _, h := range w.all {
		part := read(t, h)
		whole.Ops = append(whole.Ops, part.Ops...)
		for event, n := range part.Events {
			whole.Events[event] += n
		}
	}
	return whole
}

func (w *window) check(t *testing.T, h leasecheck.History) {
	t.Helper()
	for key, from := range w.soak.rows {
		to, err := w.soak.bench.VerifyWindow(h, key, w.prefix(), from)
		if err != nil {
			t.Errorf("window %d, key %s from %+v to %+v: %v", w.n, key, from, to, err)
			for _, op := range h.Of(key) {
				t.Logf("  %+v", op)
			}
		}
		w.soak.rows[key] = to
	}
	w.soak.report.add(h)
	t.Logf("window %d: %d acquisitions, %d accepted, %d stale, %d unknown", w.n,
		h.Events[leasecheck.NoteAcquired], h.Count(leasecheck.Accepted), h.Count(leasecheck.Stale), h.Count(leasecheck.Unknown))
}

// balance compares the whole run's ledger with the stock and with the clients' answers.
func (s *soak) balance(t *testing.T) {
	t.Helper()
	for key, row := range s.rows {
		sold, err := s.bench.Stock.Sold(leasecheck.Within(t), key, "")
		if err != nil {
			t.Fatal(err)
		}
		var total int64
		for _, quantity := range sold {
			total += quantity
		}
		s.report.sold += total
		s.report.down += plenty - row.Stock
	}
	r := &s.report
	if r.sold != r.down || r.sold < r.accepted || r.sold > r.accepted+r.unknown {
		t.Errorf("the stock went down by %d, the ledger has %d; clients were told of %d, and of %d it is unknown", r.down, r.sold, r.accepted, r.unknown)
	}
}

package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestQuantiles(t *testing.T) {
	t.Parallel()
	var o outcome
	for i := range 200 {
		o.waits = append(o.waits, time.Duration(i+1))
	}
	for q, want := range map[float64]time.Duration{0.5: 100, 0.9: 180, 0.99: 198, 1: 200} {
		if got := o.wait(q); got != want {
			t.Errorf("quantile %v = %d, want %d", q, got, want)
		}
	}
	if got := (outcome{}).wait(0.99); got != 0 {
		t.Errorf("quantile of nothing = %d", got)
	}
}

func TestPoisson(t *testing.T) {
	t.Parallel()
	const n, mean = 20000, 10 * time.Millisecond
	a, b := poisson(7, n, mean), poisson(7, n, mean)
	last := time.Duration(0)
	for i := range a {
		if a[i] != b[i] || a[i] < last {
			t.Fatalf("arrival %d: %v and %v after %v", i, a[i], b[i], last)
		}
		last = a[i]
	}
	if got := last / n; got < mean*95/100 || got > mean*105/100 {
		t.Errorf("mean distance %v, want %v", got, mean)
	}
}

func TestSumCalls(t *testing.T) {
	t.Parallel()
	got, err := sumCalls("# Commandstats\r\ncmdstat_evalsha:calls=7,usec=1,usec_per_call=1.00\r\n" +
		"cmdstat_get:calls=5,usec=1\r\ncmdstat_info:calls=100,usec=1\r\ncmdstat_config|resetstat:calls=100,usec=1\r\n")
	if err != nil || got != 12 {
		t.Errorf("sum = %d, %v, want 12", got, err)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	var mutex sync.Mutex
	const n, hold = 20, 2 * time.Millisecond
	out, err := load(t.Context(), []locker{floor{&mutex}, floor{&mutex}}, burst(n), hold)
	if err != nil || out.failed != 0 || len(out.waits) != n {
		t.Fatalf("%d waits, %d failed, %v", len(out.waits), out.failed, err)
	}
	if out.took < n*hold || out.waits[n-1] < (n-1)*hold || out.waits[0] > out.took {
		t.Errorf("took %v, waits %v", out.took, out.waits)
	}

	out, err = load(t.Context(), []locker{refusing{}}, burst(3), hold)
	if err != nil || out.failed != 3 || len(out.waits) != 0 {
		t.Errorf("refused: %d waits, %d failed, %v; want 3 failed", len(out.waits), out.failed, err)
	}
	if _, err = load(t.Context(), []locker{losing{}}, burst(1), hold); !errors.Is(err, errLost) {
		t.Errorf("a release that fails = %v, want %v", err, errLost)
	}
}

var errLost = errors.New("lost")

type refusing struct{}

func (refusing) acquire(context.Context) (func() error, error) { return nil, errors.New("given up") }
func (refusing) close() error                                  { return nil }

type losing struct{}

func (losing) acquire(context.Context) (func() error, error) {
	return func() error { return errLost }, nil
}
func (losing) close() error { return nil }

func TestReport(t *testing.T) {
	t.Parallel()
	r := &report{
		config: config{repetitions: 3, clients: 4, hold: 5 * time.Millisecond, busy: 0.4, arrivals: 250, burst: 40},
		trips:  map[string]float64{nameOurs: 2},
		runs:   map[string][]sample{},
	}
	for _, s := range subjects() {
		wait := 10 * time.Millisecond
		if s.name == nameRedsync {
			wait *= 100
		}
		for range 3 {
			r.runs[s.name] = append(r.runs[s.name], sample{p99: wait, drain: 300 * time.Millisecond})
		}
	}
	words := printed(t, r)
	for _, want := range []string{
		"rueidislock's 1.00 (1.00 - 1.00), bar 1.50: met",
		"with its defaults 0.0100 (0.0100 - 0.0100), bar 0.0333: met",
		"the ideal 1.50 (1.50 - 1.50), bar 1.20: NOT MET",
		"10.0 (10.0 - 10.0)",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("report lacks %q:\n%s", want, words)
		}
	}
	for i := range r.runs[nameOurs] {
		r.runs[nameOurs][i].p99 = 0 // what a repetition says in which all requests failed
	}
	if words = printed(t, r); strings.Count(words, "NOT MEASURED") != 2 {
		t.Errorf("no request got a lock, and the report says:\n%s", words)
	}
}

func printed(t *testing.T, r *report) string {
	t.Helper()
	var text strings.Builder
	if err := r.print(&text, "7"); err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(text.String()), " ")
}

// TestWatch_refused: a server that does not show its commands is no server to which none was sent.
func TestWatch_refused(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{"refused": "-NOPERM MONITOR\r\n", "closed": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				if c, err := l.Accept(); err == nil {
					_, _ = bufio.NewReader(c).ReadString('\n')
					_, _ = io.WriteString(c, answer)
					_ = c.Close()
				}
			}()
			if w, err := watch(l.Addr().String()); !errors.Is(err, errNoMonitor) {
				t.Errorf("watch: %v, %v", w, err)
			}
		})
	}
}

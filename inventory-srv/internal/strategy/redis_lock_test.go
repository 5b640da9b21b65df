package strategy_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/stack/stacktest"
	"holdfast/internal/tcpproxy"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/fault"
	"holdfast/pkg/lock"
)

// reserver is as much of a strategy as these tests need of the real one and of its mutants.
type reserver interface {
	Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error)
}

// holder makes one instance's strategy.
type holder func(t *testing.T, i instance) reserver

func realLock(t *testing.T, i instance) reserver {
	for _, s := range strategy.List() {
		if s.Name == "redis-lock" {
			return s.New(strategy.Deps{Ledger: i.store.Ledger(), Locker: i.locker, Log: quiet(), Registry: i.registry})
		}
	}
	t.Fatal("there is no redis-lock")
	return nil
}

func mutated(claims, leaseEnds bool) holder {
	return func(_ *testing.T, i instance) reserver {
		return &mutant{ledger: i.store.Ledger(), locker: i.locker, claims: claims, leaseEnds: leaseEnds}
	}
}

// overtaken stops a holder before a statement, lets Redis lose the lock, which the holder cannot know, has another
// instance sell, and resumes the holder. It returns what is wrong with the ledger then.
func overtaken(t *testing.T, w *world, make holder, at string) []string {
	t.Helper()
	const sku = "OVERTAKEN"
	w.has(t, sku, 10)
	first, second := make(t, w.one), make(t, w.two)
	stopped := stallAt(t, w.one, at)
	ctx := soon(t)
	results := [2]chan error{}
	run := func(n int, r reserver, no string) {
		results[n] = goReserve(ctx, r, order(no, "redis-lock", line(sku, 1)))
	}
	run(0, first, "STALLED")
	<-stopped.reached
	if err := w.redis.Del(ctx, "{"+w.prefix+"}key:stock:"+sku).Err(); err != nil {
		t.Fatalf("lose the lock: %v", err)
	}
	run(1, second, "OTHER")
	// The other has either sold, or it waits for the row that the stopped one has claimed.
	var sold bool
	eventually(t, "the other's turn", func() bool {
		select {
		case err := <-results[1]:
			sold = true
			results[1] <- err
			return true
		default:
			return w.waiting(t, sku)
		}
	})
	t.Logf("the other sold while the holder was stopped: %v", sold)
	close(stopped.resume)
	for n := range results {
		if err := <-results[n]; err != nil {
			t.Errorf("reserver %d: %v", n, err)
		}
	}
	return w.faults(t)
}

func goReserve(ctx context.Context, r reserver, request stock.Request) chan error {
	result := make(chan error, 1)
	go func() {
		_, err := r.Reserve(ctx, request)
		result <- err
	}()
	return result
}

func TestRedisLock_Overtaken(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"before the claim": beforeClaim, "between claim and write": beforeWrite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, lock.WithTTL(patience))
			if faults := overtaken(t, w, realLock, at); faults != nil {
				t.Errorf("the ledger is broken: %s", strings.Join(faults, "; "))
			}
			w.wantLedger(t, "OVERTAKEN", 8, 2, 0)
			want := map[string]float64{beforeClaim: 1, beforeWrite: 0}[at]
			if got := counter(t, w.one.registry, "stock_stale_fence_total"); got != want {
				t.Errorf("stale claims of the holder: %v, want %v", got, want)
			}
		})
	}
}

// TestRedisLock_OvertakenMutants shows that the test above can fail: without the claim the holder overwrites the sale.
func TestRedisLock_OvertakenMutants(t *testing.T) {
	t.Parallel()
	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		if faults := overtaken(t, newWorld(t, lock.WithTTL(patience)), mutated(true, true), beforeWrite); faults != nil {
			t.Errorf("the mutant with both guards breaks the ledger: %v", faults)
		}
	})
	t.Run("no claim", func(t *testing.T) {
		t.Parallel()
		faults := overtaken(t, newWorld(t, lock.WithTTL(patience)), mutated(false, true), beforeWrite)
		if faults == nil {
			t.Error("without the claim the ledger holds: the test shows nothing")
		}
		t.Logf("without the claim: %v", faults)
	})
}

// slept stops a holder for longer than its lease lives and has another instance buy meanwhile. served reports whether
// the other got its unit while the holder was still stopped; faults is what is wrong with the ledger in the end.
func slept(t *testing.T, w *world, make holder, at string) (served bool, faults []string) {
	t.Helper()
	const sku = "SLEPT"
	w.has(t, sku, 10)
	first, second := make(t, w.one), make(t, w.two)
	stopped := stallAt(t, w.one, at)
	ctx := soon(t)
	holding := goReserve(ctx, first, order("STALLED", "redis-lock", line(sku, 1)))
	<-stopped.reached
	// Long enough for the lease to end and for the other's lock wait of two seconds.
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := second.Reserve(short, order("OTHER", "redis-lock", line(sku, 1)))
	served = err == nil
	close(stopped.resume)
	if err := <-holding; err != nil {
		t.Errorf("the holder: %v", err)
	}
	return served, w.faults(t)
}

// shortLease ends for good after its first TTL: a watchdog that renewed it would keep the others out.
func shortLease() []lock.Option {
	return []lock.Option{lock.WithTTL(400 * time.Millisecond), lock.WithMaxHold(400 * time.Millisecond)}
}

func TestRedisLock_Slept(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"before the claim": beforeClaim, "between claim and write": beforeWrite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, shortLease()...)
			served, faults := slept(t, w, realLock, at)
			if !served {
				t.Error("the other was kept waiting by a holder whose lease was over")
			}
			if faults != nil {
				t.Errorf("the ledger is broken: %s", strings.Join(faults, "; "))
			}
			w.wantLedger(t, "SLEPT", 8, 2, 0)
			if got := counter(t, w.one.registry, "stock_lease_lost_total"); got < 1 {
				t.Errorf("lost leases of the holder: %v, want at least 1", got)
			}
		})
	}
}

// TestRedisLock_SleptMutants takes the guards out. Without the lease's context a sleeping holder keeps its row lock, and
// with it everybody else; without the claim as well it overwrites what was sold while it slept.
func TestRedisLock_SleptMutants(t *testing.T) {
	t.Parallel()
	t.Run("whole", func(t *testing.T) {
		t.Parallel()
		if served, faults := slept(t, newWorld(t, shortLease()...), mutated(true, true), beforeWrite); !served || faults != nil {
			t.Errorf("the mutant with both guards: served %v, faults %v", served, faults)
		}
	})
	t.Run("no loss context", func(t *testing.T) {
		t.Parallel()
		served, faults := slept(t, newWorld(t, shortLease()...), mutated(true, false), beforeWrite)
		if served {
			t.Error("without the lease's context the other is served: the test shows nothing")
		}
		if faults != nil {
			t.Errorf("the claim alone must keep the ledger: %v", faults)
		}
	})
	t.Run("no loss context and no claim", func(t *testing.T) {
		t.Parallel()
		served, faults := slept(t, newWorld(t, shortLease()...), mutated(false, false), beforeWrite)
		if !served || faults == nil {
			t.Errorf("served %v, faults %v: without any guard the ledger must break", served, faults)
		}
		t.Logf("without any guard: %v", faults)
	})
}

// TestRedisLock_CounterLost has Redis forget its fencing counters: claims are refused until the counter is raised from
// the database, and then selling goes on.
func TestRedisLock_CounterLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.has(t, "A", 10)
	w.has(t, "B", 10)
	s := realLock(t, w.one)
	ctx := soon(t)
	for _, no := range []string{"ONE", "TWO", "THREE"} {
		if _, err := s.Reserve(ctx, order(no, "redis-lock", line("A", 1), line("B", 1))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.redis.Del(ctx, "{"+w.prefix+"}fence:stock:A", "{"+w.prefix+"}fence:stock:B").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reserve(ctx, order("FOUR", "redis-lock", line("A", 1), line("B", 1))); err != nil {
		t.Errorf("after the counters were lost: %v", err)
	}
	if got := counter(t, w.one.registry, "stock_stale_fence_total"); got != 2 {
		t.Errorf("stale claims: %v, want one for each SKU", got)
	}
	w.wantLedger(t, "A", 6, 4, 0)
}

// TestRedisLock_NoCounterForNothing: fencing counters live for ever, so an order for a SKU that does not exist must not
// make one.
func TestRedisLock_NoCounterForNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := soon(t)
	if _, err := realLock(t, w.one).Reserve(ctx, order("ORDER", "redis-lock", line("UNKNOWN", 1))); !errors.Is(err, stock.ErrUnknownSKU) {
		t.Errorf("got %v, want an unknown SKU", err)
	}
	n, err := w.redis.Exists(ctx, "{"+w.prefix+"}fence:stock:UNKNOWN").Result()
	if err != nil || n != 0 {
		t.Errorf("%d counters, error %v", n, err)
	}
}

// TestRedisLock_Waits has a lock that is never freed: the wait ends as contention, which is certainly not executed.
func TestRedisLock_Waits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lock.WithTTL(patience))
	w.has(t, "A", 10)
	lease, err := w.two.locker.Acquire(soon(t), "stock:A")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lease.Release(context.WithoutCancel(t.Context())) })
	ctx, cancel := context.WithTimeout(soon(t), 200*time.Millisecond)
	defer cancel()
	_, err = realLock(t, w.one).Reserve(ctx, order("ORDER", "redis-lock", line("A", 1)))
	if !errors.Is(err, stock.ErrContended) || fault.Ambiguous(err) {
		t.Errorf("got %v (ambiguous %v), want contended", err, fault.Ambiguous(err))
	}
	w.wantLedger(t, "A", 10, 0, 0)
}

// TestRedisLock_RedisDown cuts the way to Redis, and mends it.
func TestRedisLock_RedisDown(t *testing.T) {
	t.Parallel()
	proxy := tcpproxy.New(t, stacktest.Redis(t))
	w := newWorldOn(t, proxy.Addr())
	w.has(t, "A", 10)
	s := realLock(t, w.one)
	ctx := soon(t)
	if _, err := s.Reserve(ctx, order("BEFORE", "redis-lock", line("A", 1))); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	_, err := s.Reserve(ctx, order("DURING", "redis-lock", line("A", 1)))
	if f := fault.From(err); f == nil || f.Code != "redis_unavailable" || f.Kind != fault.Unavailable || f.Ambiguous {
		t.Errorf("with Redis down: got %v, want redis_unavailable, not executed", err)
	}
	if state := w.state(t, "DURING"); state != "" {
		t.Errorf("the order's status is %q", state)
	}
	proxy.Restore()
	eventually(t, "a sale after Redis came back", func() bool {
		_, err := s.Reserve(ctx, order("AFTER", "redis-lock", line("A", 1)))
		return err == nil
	})
	w.wantLedger(t, "A", 8, 2, 0)
}

// counter reads a metric of an instance.
func counter(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

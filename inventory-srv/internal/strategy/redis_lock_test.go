package strategy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/fault"
	"holdfast/pkg/lock"
)

// holder makes one instance's strategy.
type holder func(t *testing.T, i replicatest.Instance) replicatest.Reserver

// named makes the real strategy of that name.
func named(t *testing.T, name string, i replicatest.Instance) stock.Reserver {
	t.Helper()
	if i.InRedis {
		return i.App.Stock.Reserver(name)
	}
	return i.Build(t, app.Config{Strategy: name, Only: true}).Stock.Reserver(name)
}

func realLock(t *testing.T, i replicatest.Instance) replicatest.Reserver {
	return named(t, "redis-lock", i)
}

func mutated(claims, leaseEnds bool) holder {
	return func(_ *testing.T, i replicatest.Instance) replicatest.Reserver {
		return &mutant{ledger: i.Store.Ledger(), locker: i.Locker, claims: claims, leaseEnds: leaseEnds}
	}
}

// loss is a way for a holder to lose its lease while it is stopped.
type loss struct {
	lease   []lock.Option
	happens func(t *testing.T, w *replicatest.World, sku string)
}

// overtaken has Redis lose the lock, which the holder cannot know: its context lives on.
func overtaken() loss {
	return loss{
		lease: []lock.Option{lock.WithTTL(replicatest.Patience)},
		happens: func(t *testing.T, w *replicatest.World, sku string) {
			if err := w.Redis.Del(t.Context(), "{"+w.Prefix+"}key:stock:"+sku).Err(); err != nil {
				t.Fatalf("lose the lock: %v", err)
			}
		},
	}
}

// slept has the lease end by itself while the holder sleeps. A watchdog that renewed it would keep the others out, so
// its longest time is its first.
func slept() loss {
	return loss{
		lease:   []lock.Option{lock.WithTTL(400 * time.Millisecond), lock.WithMaxHold(400 * time.Millisecond)},
		happens: func(*testing.T, *replicatest.World, string) {},
	}
}

// stalled is what came of a holder that lost its lease.
type stalled struct {
	world  *replicatest.World
	faults []string // of the ledger
	tries  int64    // transactions in which the holder came to the statement at which it was stopped
}

// stallHolder stops a holder before a statement until it has lost its lease and another instance has taken its turn: it
// has sold, or it waits for the row that the stopped one has claimed. Then the holder goes on, and both must succeed.
func stallHolder(t *testing.T, l loss, make holder, at string) stalled {
	t.Helper()
	const sku = "STALLED"
	w := replicatest.NewWorld(t, l.lease...)
	w.Has(t, sku, 10)
	first, second := make(t, w.One), make(t, w.Two)
	stopped := replicatest.StallAt(t, w.One, at)
	ctx := replicatest.Soon(t)
	holding := replicatest.GoReserve(ctx, first, replicatest.Order("HOLDER", "redis-lock", replicatest.Line(sku, 1)))
	stopped.Await(t, holding)
	l.happens(t, w, sku)
	other := replicatest.GoReserve(ctx, second, replicatest.Order("OTHER", "redis-lock", replicatest.Line(sku, 1)))
	var result error
	var sold bool
	replicatest.Eventually(t, "the other's turn", func() bool {
		select {
		case result = <-other:
			sold = true
		default:
		}
		return sold || w.Waiting(t)
	})
	close(stopped.Resume)
	if err := <-holding; err != nil {
		t.Errorf("the holder: %v", err)
	}
	if !sold {
		result = <-other
	}
	if result != nil {
		t.Errorf("the other: %v", result)
	}
	out := stalled{world: w, faults: w.Faults(t), tries: stopped.Seen.Load()}
	t.Logf("the other sold while the holder was stopped: %v; the holder tried %d times; the ledger: %v", sold, out.tries, out.faults)
	return out
}

// TestRedisLock_Stalled: whenever a holder is stopped, and whether or not it notices that its lease has ended, no sale
// is lost.
func TestRedisLock_Stalled(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name        string
		loss        loss
		at          string
		stale, lost bool // what the holder must have noticed; either makes it begin again
	}{
		{"overtaken before the claim", overtaken(), replicatest.BeforeClaim, true, false},
		// the row lock keeps the other waiting
		{"overtaken between claim and write", overtaken(), replicatest.BeforeWrite, false, false},
		{"slept before the claim", slept(), replicatest.BeforeClaim, false, true},
		{"slept between claim and write", slept(), replicatest.BeforeWrite, false, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := stallHolder(t, c.loss, realLock, c.at)
			got.world.WantLedger(t, "STALLED", 8, 2, 0)
			stale := counter(t, got.world.One.Registry, "stock_stale_fence_total")
			lost := counter(t, got.world.One.Registry, "stock_lease_lost_total")
			if stale > 0 != c.stale || lost > 0 != c.lost || got.tries > 1 != (c.stale || c.lost) {
				t.Errorf("stale claims %v, lost leases %v, tries %d; want stale %v, lost %v", stale, lost, got.tries, c.stale, c.lost)
			}
		})
	}
}

// TestRedisLock_StalledMutants takes the guards out, to see that the test above can fail. Each guard is enough where
// the other one is blind: the claim where the holder cannot know, the lease's context where nothing was claimed.
func TestRedisLock_StalledMutants(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name              string
		loss              loss
		claims, leaseEnds bool
		breaks, again     bool // the ledger breaks; the holder gives up its transaction and begins again
	}{
		{"overtaken with both guards", overtaken(), true, true, false, false},
		{"overtaken without the claim", overtaken(), false, true, true, false},
		{"slept with both guards", slept(), true, true, false, true},
		{"slept without the claim", slept(), false, true, false, true},
		{"slept without the lease's context", slept(), true, false, false, false}, // it commits although its lease has ended
		{"slept without any guard", slept(), false, false, true, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := stallHolder(t, c.loss, mutated(c.claims, c.leaseEnds), replicatest.BeforeWrite)
			if broken := got.faults != nil; broken != c.breaks {
				t.Errorf("the ledger: %v; want it broken: %v", got.faults, c.breaks)
			}
			if again := got.tries > 1; again != c.again {
				t.Errorf("tries %d, want more than one: %v", got.tries, c.again)
			}
		})
	}
}

// TestRedisLock_CounterLost has Redis forget its fencing counter. One claim is refused; the counter is raised above
// every row of the database, so no other row refuses one.
func TestRedisLock_CounterLost(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Has(t, "A", 10)
	w.Has(t, "B", 10)
	s := realLock(t, w.One)
	ctx := replicatest.Soon(t)
	for _, no := range []string{"ONE", "TWO", "THREE"} {
		if _, err := s.Reserve(ctx, replicatest.Order(no, "redis-lock", replicatest.Line("A", 1), replicatest.Line("B", 1))); err != nil {
			t.Fatal(err)
		}
	}
	for _, no := range []string{"B1", "B2", "B3"} { // B's row has seen newer tokens than A's
		if _, err := s.Reserve(ctx, replicatest.Order(no, "redis-lock", replicatest.Line("B", 1))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Redis.Del(ctx, "{"+w.Prefix+"}fence").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reserve(ctx, replicatest.Order("FOUR", "redis-lock", replicatest.Line("A", 1), replicatest.Line("B", 1))); err != nil {
		t.Errorf("after the counter was lost: %v", err)
	}
	if got := counter(t, w.One.Registry, "stock_stale_fence_total"); got != 1 {
		t.Errorf("stale claims: %v, want one for all SKUs", got)
	}
	w.WantLedger(t, "A", 6, 4, 0)
	w.WantLedger(t, "B", 3, 7, 0)
}

// TestRedisLock_UnknownSKUTakesNoLock: an order for a SKU that does not exist is refused without a lease.
func TestRedisLock_UnknownSKUTakesNoLock(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	ctx := replicatest.Soon(t)
	if _, err := realLock(t, w.One).Reserve(ctx, replicatest.Order("ORDER", "redis-lock", replicatest.Line("UNKNOWN", 1))); !errors.Is(err, stock.ErrUnknownSKU) {
		t.Errorf("got %v, want an unknown SKU", err)
	}
	n, err := w.Redis.Exists(ctx, "{"+w.Prefix+"}fence").Result()
	if err != nil || n != 0 {
		t.Errorf("%d tokens were drawn, error %v", n, err)
	}
}

// TestRedisLock_Waits has a lock that is never freed: the wait ends as contention, which is certainly not executed.
func TestRedisLock_Waits(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t, lock.WithTTL(replicatest.Patience))
	w.Has(t, "A", 10)
	lease, err := w.Two.Locker.Acquire(replicatest.Soon(t), "stock:A")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lease.Release(context.WithoutCancel(t.Context())) })
	ctx, cancel := context.WithTimeout(replicatest.Soon(t), 200*time.Millisecond)
	defer cancel()
	_, err = realLock(t, w.One).Reserve(ctx, replicatest.Order("ORDER", "redis-lock", replicatest.Line("A", 1)))
	if !errors.Is(err, stock.ErrContended) || fault.Ambiguous(err) {
		t.Errorf("got %v (ambiguous %v), want contended", err, fault.Ambiguous(err))
	}
	w.WantLedger(t, "A", 10, 0, 0)
}

// TestRedisLock_RedisDown cuts the way to Redis, and mends it.
func TestRedisLock_RedisDown(t *testing.T) {
	t.Parallel()
	proxy := tcpproxy.New(t, stacktest.Redis(t))
	w := replicatest.NewWorldOn(t, proxy.Addr())
	w.Has(t, "A", 10)
	s := realLock(t, w.One)
	ctx := replicatest.Soon(t)
	if _, err := s.Reserve(ctx, replicatest.Order("BEFORE", "redis-lock", replicatest.Line("A", 1))); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	_, err := s.Reserve(ctx, replicatest.Order("DURING", "redis-lock", replicatest.Line("A", 1)))
	if f := fault.From(err); f == nil || f.Code != "redis_unavailable" || f.Kind != fault.Unavailable || f.Ambiguous {
		t.Errorf("with Redis down: got %v, want redis_unavailable, not executed", err)
	}
	if state := w.State(t, "DURING"); state != "" {
		t.Errorf("the order's status is %q", state)
	}
	proxy.Restore()
	replicatest.Eventually(t, "a sale after Redis came back", func() bool {
		_, err := s.Reserve(ctx, replicatest.Order("AFTER", "redis-lock", replicatest.Line("A", 1)))
		return err == nil
	})
	w.WantLedger(t, "A", 8, 2, 0)
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

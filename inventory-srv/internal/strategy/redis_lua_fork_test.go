package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/lock"
)

// fork is a shop in front of Sentinel whose Redis replica has stopped to replicate. What Redis answers from then on
// is gone after failover. MySQL does not follow Redis until the test has it do so.
type fork struct {
	*replicatest.World
	sentinel *stacktest.RedisSentinel
	one, two *strategy.Set // one replica of the service each
}

// newFork has sold one unit of A, of which MySQL and the Redis replica have the order.
func newFork(t *testing.T, units int64) *fork {
	t.Helper()
	s := stacktest.NewRedisSentinel(t)
	w := replicatest.NewWorldBy(t, func() redis.UniversalClient { return lock.NewSentinelClient(s.Master, s.Sentinels) }, shortTerm())
	stop := opened(t, w, units)
	f := &fork{World: w, sentinel: s, one: w.One.Set(t), two: w.Two.Set(t)}
	ctx := replicatest.Soon(t)
	reserve(ctx, t, f.one, "FIRST", 1)
	w.Settle(t)
	stop()
	replica := redis.NewClient(&redis.Options{Addr: s.Second.Addr})
	t.Cleanup(func() { _ = replica.Close() })
	replicatest.Eventually(t, "the replica has the order", func() bool {
		return replica.Exists(ctx, w.Counters+"1:order:FIRST").Val() == 1
	})
	if err := errors.Join(replica.ConfigSet(ctx, "masterauth", "wrong").Err(), replica.Do(ctx, "CLIENT", "KILL", "TYPE", "master").Err()); err != nil {
		t.Fatal(err)
	}
	return f
}

// failover kills the primary. Sentinel promotes the replica.
func (f *fork) failover(t *testing.T) {
	t.Helper()
	if err := f.sentinel.First.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}

// reserveMany makes n orders of one unit at once, so that they travel in pipelines.
func reserveMany(ctx context.Context, t *testing.T, s stock.Reserver, name string, n int) (orderNos []string) {
	t.Helper()
	for i := range n {
		orderNos = append(orderNos, fmt.Sprintf("%s-%04d", name, i))
	}
	replicatest.AtOnce(n, func(i int) {
		if _, err := buyWhenOpen(ctx, s, replicatest.Order(orderNos[i], redisLua, replicatest.Line("A", 1))); err != nil {
			t.Errorf("reserve %s: %v", orderNos[i], err)
		}
	})
	return orderNos
}

// wantEpoch waits until MySQL has opened an epoch.
func (f *fork) wantEpoch(t *testing.T, epoch int64) {
	t.Helper()
	replicatest.Eventually(t, fmt.Sprintf("epoch %d is open", epoch), func() bool {
		p, err := f.One.Redis.Position(t.Context())
		return err == nil && p.Epoch == epoch && p.Open
	})
}

// wantNamed fails unless the losses name just these orders.
func (f *fork) wantNamed(t *testing.T, orderNos []string) {
	t.Helper()
	losses, err := f.One.Redis.Losses(replicatest.Soon(t))
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, l := range losses {
		named = append(named, l.Orders...)
	}
	slices.Sort(named)
	if diff := cmp.Diff(orderNos, named); diff != "" {
		t.Errorf("named as lost (-want +got):\n%s", diff)
	}
}

// TestRedisLua_LostByFailover answers orders at replica one which the promoted Redis does not have. Replica two never
// saw them. The loss is noticed, counted and named, in whichever order the replicas ask, and also when replica one
// does not ask for anything.
func TestRedisLua_LostByFailover(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lost  int
		after func(ctx context.Context, t *testing.T, f *fork) // how the replicas go on, with 3 orders of one unit
	}{
		"the other one asks first": {1, func(ctx context.Context, t *testing.T, f *fork) {
			f.Two.Follow(t)
			reserveMany(ctx, t, f.two, "TWO", 2)
			f.Settle(t)
			reserveMany(ctx, t, f.one, "ONE", 1)
			f.One.Follow(t)
		}},
		"it asks first": {1, func(ctx context.Context, t *testing.T, f *fork) {
			f.One.Follow(t)
			reserveMany(ctx, t, f.one, "ONE", 1)
			reserveMany(ctx, t, f.two, "TWO", 2)
		}},
		"it asks for nothing more": {1, func(ctx context.Context, t *testing.T, f *fork) {
			f.Two.Follow(t)
			reserveMany(ctx, t, f.two, "TWO", 3)
			f.Settle(t)
			f.One.Follow(t)
		}},
		"pipelines, the other one asks first": {1024, func(ctx context.Context, t *testing.T, f *fork) {
			f.Two.Follow(t)
			reserveMany(ctx, t, f.two, "TWO", 1500)
			f.Settle(t)
			reserveMany(ctx, t, f.one, "ONE", 1)
			f.One.Follow(t)
		}},
		"pipelines, it asks first": {1024, func(ctx context.Context, t *testing.T, f *fork) {
			f.One.Follow(t)
			reserveMany(ctx, t, f.one, "ONE", 1)
			reserveMany(ctx, t, f.two, "TWO", 1500)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFork(t, 5000)
			ctx := replicatest.Soon(t)
			lost := reserveMany(ctx, t, f.one, "LOST", c.lost)
			f.failover(t)
			c.after(ctx, t, f)
			f.wantEpoch(t, 2)
			wantLosses(t, f.World, int64(c.lost), int64(c.lost))
			f.wantNamed(t, lost)
			if err := confirmWhenOpen(ctx, f.two, lost[0]); !errors.Is(err, stock.ErrStockLost) {
				t.Errorf("confirm a lost order: got %v", err)
			}
			if faults := f.Faults(t); faults != nil {
				t.Errorf("the ledger is broken: %v", faults)
			}
		})
	}
}

// TestRedisLua_LostAndKilled ends the replica that was answered most. What it alone was answered is counted and named
// by nobody; the ledger is right all the same. An order that the other replica has answered too, as its repetition,
// is named by that one.
func TestRedisLua_LostAndKilled(t *testing.T) {
	t.Parallel()
	f := newFork(t, 100)
	ctx := replicatest.Soon(t)
	killed := reserveMany(ctx, t, f.one, "KILLED", 5)
	for _, no := range killed[:2] {
		reserve(ctx, t, f.two, no, 1)
	}
	if err := confirmWhenOpen(ctx, f.two, "FIRST"); err != nil {
		t.Fatal(err)
	}
	lost := reserveMany(ctx, t, f.two, "LOST", 3)
	f.failover(t)
	// Replica one has no watch, and nobody asks it any more.
	f.Two.Follow(t)
	reserveMany(ctx, t, f.two, "AFTER", 4)
	f.wantEpoch(t, 2)
	wantLosses(t, f.World, 6, 5) // a confirm takes nothing
	f.wantNamed(t, append(killed[:2:2], lost...))
	f.WantLedger(t, "A", 95, 5, 0)
	if err := confirmWhenOpen(ctx, f.two, killed[4]); !errors.Is(err, stock.ErrStockLost) {
		t.Errorf("confirm an order that nobody names: got %v", err)
	}
}

// TestRedisLua_LostUnnoticed ends the only replica that was answered. Nothing is left that knows of a loss: this is
// the limit of noticing it. MySQL sells each unit once.
func TestRedisLua_LostUnnoticed(t *testing.T) {
	t.Parallel()
	f := newFork(t, 10)
	ctx := replicatest.Soon(t)
	killed := reserveMany(ctx, t, f.one, "KILLED", 5)
	f.failover(t)
	f.Two.Follow(t)
	reserveMany(ctx, t, f.two, "AFTER", 9)
	f.WantLedger(t, "A", 0, 10, 0)
	wantLosses(t, f.World, 0, 0)
	if err := confirmWhenOpen(ctx, f.two, killed[0]); !errors.Is(err, stock.ErrUnknownOrder) {
		t.Errorf("confirm an order that nobody knows: got %v", err)
	}
}

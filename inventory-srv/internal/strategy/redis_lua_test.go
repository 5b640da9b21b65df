package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/fault"
	"holdfast/pkg/lock"
)

const redisLua = "redis-lua"

// shortTerm has an election that was lost with its Redis be won again soon.
func shortTerm() lock.Option { return lock.WithTTL(time.Second) }

// opened puts units of A into a shop with stock in Redis and returns how to end the following of Redis.
func opened(t *testing.T, w *replicatest.World, units int64) (stop func()) {
	t.Helper()
	w.ToRedis(t)
	stop = w.One.Follow(t)
	w.Has(t, "A", units)
	return stop
}

func reserve(ctx context.Context, t *testing.T, s stock.Reserver, no string, quantity int64) {
	t.Helper()
	if _, err := s.Reserve(ctx, replicatest.Order(no, redisLua, replicatest.Line("A", quantity))); err != nil {
		t.Fatalf("reserve %s: %v", no, err)
	}
}

// TestRedisLua_BeforeMySQL ends orders of which MySQL has not heard yet, and then MySQL hears everything at once.
func TestRedisLua_BeforeMySQL(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	stop := opened(t, w, 20)
	one, two := w.One.Set(t), w.Two.Set(t)
	ctx := replicatest.Soon(t)
	reserve(ctx, t, one, "FIRST", 1) // lays the units out
	w.Settle(t)
	stop()
	for _, no := range []string{"SOLD", "BACK", "HELD"} {
		reserve(ctx, t, one, no, 2)
	}
	if err := errors.Join(two.Confirm(ctx, "SOLD"), two.Release(ctx, "BACK"), two.Release(ctx, "NEVER"), one.Release(ctx, "FIRST")); err != nil {
		t.Fatal(err)
	}
	if err := two.Confirm(ctx, "BACK"); !errors.Is(err, stock.ErrClosed) {
		t.Errorf("confirm what was released: got %v", err)
	}
	if err := one.Release(ctx, "SOLD"); !errors.Is(err, stock.ErrConfirmed) {
		t.Errorf("release what was confirmed: got %v", err)
	}
	if err := one.Confirm(ctx, "NOBODY"); !errors.Is(err, stock.ErrUnknownOrder) {
		t.Errorf("confirm what was never reserved: got %v", err)
	}
	known, err := w.One.Store.States(ctx, []string{"SOLD", "BACK", "HELD"})
	if err != nil || len(known) != 0 {
		t.Errorf("MySQL knows %v (error %v) although nobody follows Redis: this run has shown nothing", known, err)
	}
	w.Two.Follow(t)
	w.WantLedger(t, "A", 16, 2, 2)
	for no, want := range map[string]stock.Status{"SOLD": stock.Confirmed, "BACK": stock.Released, "HELD": stock.Reserved, "NEVER": stock.Void, "FIRST": stock.Released} {
		if got := w.State(t, no); got != want {
			t.Errorf("%s is %q, want %q", no, got, want)
		}
	}
}

// TestRedisLua_WriterKilled ends the writer in COMMIT, before the server has seen it and before its answer has come
// back. The next one applies what was not applied, and nothing twice.
func TestRedisLua_WriterKilled(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]dbtest.CommitFault{"before COMMIT": dbtest.LoseCommit, "after COMMIT": dbtest.LoseAnswer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := replicatest.NewWorld(t, shortTerm())
			w.ToRedis(t)
			proxy := dbtest.NewProxy(t, w.DSN)
			victim := w.Instance(t, proxy.DSN)
			ctx, kill := context.WithCancel(context.Background())
			defer kill()
			ended := make(chan struct{})
			go func() { defer close(ended); victim.Redis.Run(ctx) }()
			if _, err := victim.Store.CreateProduct(ctx, store.Product{SKU: "A", Title: "Title of A", PriceCents: 250}); err != nil {
				t.Fatal(err)
			}
			if err := victim.SetLayout(ctx, "A", stock.LayoutRedis); err != nil {
				t.Fatal(err)
			}
			w.Has(t, "A", 20)
			set := w.Two.Set(t)
			reserve(replicatest.Soon(t), t, set, "FIRST", 1)
			w.Settle(t)
			dead := make(chan struct{})
			proxy.Then(func() { kill(); close(dead) })
			proxy.Fail(fault)
			reserve(replicatest.Soon(t), t, set, "ORDER", 3)
			<-dead
			<-ended
			w.Two.Follow(t)
			if err := set.Confirm(replicatest.Soon(t), "ORDER"); err != nil {
				t.Errorf("confirm: %v", err)
			}
			w.WantLedger(t, "A", 16, 1, 3)
			if losses, err := w.One.Redis.Losses(t.Context()); err != nil || len(losses) != 0 {
				t.Errorf("losses %+v, error %v", losses, err)
			}
		})
	}
}

// TestRedisLua_WriterStopped stops a writer with entries in its hand, has Redis lose everything and another writer
// rebuild it, and lets the first one go on: what it holds is of an epoch that is over.
func TestRedisLua_WriterStopped(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorldOn(t, stacktest.OwnRedis(t).Addr, shortTerm())
	opened(t, w, 20)
	set := w.Two.Set(t)
	ctx := replicatest.Soon(t)
	reserve(ctx, t, set, "FIRST", 1)
	w.Settle(t)
	hold := holdFollow(w)
	reserve(ctx, t, set, "GONE", 5)
	<-hold.Reached
	if err := w.Redis.FlushAll(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	w.Two.Follow(t)
	replicatest.Eventually(t, "the second one rebuilds", func() bool {
		p, err := w.Two.Redis.Position(ctx)
		return err == nil && p.Epoch == 2 && p.Open
	})
	reserveWhenOpen(ctx, t, set, "AFTER", 4)
	close(hold.Resume)
	w.WantLedger(t, "A", 15, 5, 0)
	if state := w.State(t, "GONE"); state != "" {
		t.Errorf("the lost order is %q: a writer of the past has written", state)
	}
	if err := set.Confirm(ctx, "GONE"); !errors.Is(err, stock.ErrStockLost) {
		t.Errorf("confirm the lost order: got %v", err)
	}
	if err := set.Confirm(ctx, "FIRST"); err != nil {
		t.Errorf("confirm an order from before: %v", err)
	}
	w.WantLedger(t, "A", 15, 4, 1)
	wantLosses(t, w, 1, 5)
}

// holdFollow stops the first instance's writer when it is about to apply entries.
func holdFollow(w *replicatest.World) *stocktest.Hold {
	return w.One.Sent.HoldNext("SELECT fence, epoch, open, applied_id FROM redis_stream WHERE id = 1 FOR UPDATE")
}

// reserveWhenOpen asks again for as long as Redis is shut.
func reserveWhenOpen(ctx context.Context, t *testing.T, s stock.Reserver, no string, quantity int64) {
	t.Helper()
	if _, err := buyWhenOpen(ctx, s, replicatest.Order(no, redisLua, replicatest.Line("A", quantity))); err != nil {
		t.Fatalf("reserve %s: %v", no, err)
	}
}

func buyWhenOpen(ctx context.Context, s stock.Reserver, r stock.Request) (receipt stock.Receipt, err error) {
	err = whenOpen(ctx, func() (err error) {
		receipt, err = stocktest.Buy(ctx, s, r)
		return err
	})
	return receipt, err
}

// confirmWhenOpen confirms an order. Redis is shut for a moment whenever another replica begins to follow.
func confirmWhenOpen(ctx context.Context, s stock.Reserver, no string) error {
	return whenOpen(ctx, func() error { return s.Confirm(ctx, no) })
}

// whenOpen repeats call while Redis is shut.
func whenOpen(ctx context.Context, call func() error) error {
	for {
		err := call()
		if fault.KindOf(err) != fault.Unavailable && fault.KindOf(err) != fault.Timeout || ctx.Err() != nil {
			return err
		}
		time.Sleep(time.Millisecond) // between two questions
	}
}

// wantLosses waits until the replicas have reported what they had been answered and MySQL had not.
func wantLosses(t *testing.T, w *replicatest.World, operations, units int64) {
	t.Helper()
	replicatest.Eventually(t, fmt.Sprintf("%d operations and %d units are recorded as lost", operations, units), func() bool {
		got, gotUnits := lost(t, w)
		return got == operations && gotUnits == units
	})
}

func lost(t *testing.T, w *replicatest.World) (operations, units int64) {
	t.Helper()
	losses, err := w.One.Redis.Losses(replicatest.Soon(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range losses {
		operations += l.Operations
		units += l.Units
	}
	return operations, units
}

// TestRedisLua_FlushAll empties Redis while orders come in, twice. Whoever is told to wait asks again. In the end
// MySQL has sold as many units as there are, and not one more; what buyers were told beyond that is what was recorded
// as lost.
func TestRedisLua_FlushAll(t *testing.T) {
	t.Parallel()
	const buyers, units = 300, 150
	w := replicatest.NewWorldOn(t, stacktest.OwnRedis(t).Addr, shortTerm())
	w.Open(t)
	w.Has(t, "A", units)
	at := [2]*strategy.Set{w.One.Set(t), w.Two.Set(t)}
	ctx := replicatest.Soon(t)
	var told, asked atomic.Int64
	replicatest.AtOnce(30, func(i int) {
		for n := asked.Add(1); n <= buyers; n = asked.Add(1) {
			if n == 40 || n == 100 {
				if err := w.Redis.FlushAll(ctx).Err(); err != nil {
					t.Error(err)
				}
			}
			_, err := buyWhenOpen(ctx, at[i%2], replicatest.Order(fmt.Sprintf("ORDER-%d", n), redisLua, replicatest.Line("A", 1)))
			switch {
			case err == nil:
				told.Add(1)
			case !errors.Is(err, stock.ErrOutOfStock):
				t.Errorf("order %d: %v", n, err)
			}
		}
	})
	w.WantLedger(t, "A", 0, units, 0)
	wantLosses(t, w, told.Load()-units, told.Load()-units)
	losses, err := w.One.Redis.Losses(ctx)
	if err != nil || len(losses) == 0 {
		t.Errorf("%d losses, error %v: this run has shown nothing", len(losses), err)
	}
	t.Logf("%d losses, %d orders were told of a unit that was lost", len(losses), told.Load()-units)
}

// TestRedisLua_Restart kills Redis. With a file that is written before each answer nothing is lost; without one, what
// MySQL had not heard.
func TestRedisLua_Restart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings []string
		lost     int64
	}{
		"append-only file": {[]string{"--appendonly", "yes", "--appendfsync", "always"}, 0},
		"empty memory":     {nil, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := stacktest.OwnRedis(t, c.settings...)
			w := replicatest.NewWorldOn(t, server.Addr, shortTerm())
			stop := opened(t, w, 20)
			set := w.Two.Set(t)
			ctx := replicatest.Soon(t)
			reserve(ctx, t, set, "FIRST", 1)
			w.Settle(t)
			stop()
			reserve(ctx, t, set, "LATE", 3)
			if err := server.Restart(ctx); err != nil {
				t.Fatal(err)
			}
			w.One.Follow(t)
			w.Two.Follow(t)
			reserveWhenOpen(ctx, t, set, "AFTER", 2)
			w.WantLedger(t, "A", 14+c.lost, 6-c.lost, 0)
			want := error(nil)
			if c.lost > 0 {
				want = stock.ErrStockLost
				wantLosses(t, w, 1, c.lost)
			}
			if err := set.Confirm(ctx, "LATE"); !errors.Is(err, want) {
				t.Errorf("confirm the last order: got %v, want %v", err, want)
			}
		})
	}
}

// TestRedisLua_Failover promotes a replica that is behind. It has counters and an epoch, and would sell on, with
// units that are sold.
func TestRedisLua_Failover(t *testing.T) {
	t.Parallel()
	s := stacktest.NewRedisSentinel(t)
	w := replicatest.NewWorldBy(t, func() redis.UniversalClient { return lock.NewSentinelClient(s.Master, s.Sentinels) }, shortTerm())
	stop := opened(t, w, 20)
	set := w.Two.Set(t)
	ctx := replicatest.Soon(t)
	reserve(ctx, t, set, "FIRST", 1)
	w.Settle(t)
	replica := redis.NewClient(&redis.Options{Addr: s.Second.Addr})
	t.Cleanup(func() { _ = replica.Close() })
	replicatest.Eventually(t, "the replica has the order", func() bool {
		return replica.Exists(ctx, w.Counters+"1:order:FIRST").Val() == 1
	})
	for _, err := range []error{ // it gets nothing more
		replica.ConfigSet(ctx, "masterauth", "wrong").Err(),
		replica.Do(ctx, "CLIENT", "KILL", "TYPE", "master").Err(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	reserve(ctx, t, set, "APPLIED", 2)
	w.Settle(t)
	stop()
	reserve(ctx, t, set, "LOST", 3)
	if err := s.First.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	w.Two.Follow(t)
	reserveWhenOpen(ctx, t, set, "AFTER", 4)
	w.WantLedger(t, "A", 13, 7, 0)
	wantLosses(t, w, 1, 3)
	if err := set.Confirm(ctx, "APPLIED"); err != nil {
		t.Errorf("confirm what MySQL had heard of: %v", err)
	}
	if err := set.Confirm(ctx, "LOST"); !errors.Is(err, stock.ErrStockLost) {
		t.Errorf("confirm what was lost: got %v", err)
	}
}

// TestRedisLua_Refused has Redis grant what MySQL must refuse: an order number that another strategy has used. The
// units come back.
func TestRedisLua_Refused(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	opened(t, w, 20)
	w.Layout = stock.LayoutRow
	w.Has(t, "ROW", 5)
	set := w.Two.Set(t)
	ctx := replicatest.Soon(t)
	for _, r := range []stock.Request{replicatest.Order("TWICE", "conditional", replicatest.Line("ROW", 2)), replicatest.Order("TWICE", redisLua, replicatest.Line("A", 3))} {
		if _, err := set.Reserve(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	replicatest.Eventually(t, "the units come back", func() bool {
		return w.Redis.HGet(ctx, w.Counters+"1:stock:A", "a").Val() == "20"
	})
	w.WantLedger(t, "A", 20, 0, 0)
	if err := set.Confirm(ctx, "TWICE"); err != nil {
		t.Errorf("confirm: %v", err)
	}
	w.WantLedger(t, "ROW", 3, 0, 2)
	w.WantLedger(t, "A", 20, 0, 0)
}

// TestRedisLua_CounterGone removes one counter. It is not taken for zero.
func TestRedisLua_CounterGone(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	opened(t, w, 20)
	set := w.Two.Set(t)
	ctx := replicatest.Soon(t)
	reserve(ctx, t, set, "FIRST", 1)
	w.Settle(t)
	if err := w.Redis.Del(ctx, w.Counters+"1:stock:A").Err(); err != nil {
		t.Fatal(err)
	}
	reserveWhenOpen(ctx, t, set, "AFTER", 19)
	w.WantLedger(t, "A", 0, 20, 0)
}

// TestRedisLua_Busy: how far MySQL may be behind is bounded. Confirm and release go on.
func TestRedisLua_Busy(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	stop := opened(t, w, 20)
	w.Two.ToRedis(t, redisstock.Config{Prefix: w.Counters, MaxWaiting: 3})
	set := w.Two.Set(t)
	ctx := replicatest.Soon(t)
	reserve(ctx, t, set, "ORDER-0", 1)
	w.Settle(t)
	replicatest.Eventually(t, "the log has the last entry alone", func() bool { return w.Redis.XLen(ctx, w.Counters+"log").Val() == 1 })
	stop()
	for i := range 3 {
		reserve(ctx, t, set, fmt.Sprintf("ORDER-%d", i+1), 1)
	}
	hurry, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, err := set.Reserve(hurry, replicatest.Order("ORDER-4", redisLua, replicatest.Line("A", 1)))
	if !errors.Is(err, stock.ErrContended) || fault.Ambiguous(err) {
		t.Errorf("beyond the bound: got %v, want contended", err)
	}
	if err := set.Confirm(ctx, "ORDER-3"); err != nil {
		t.Errorf("confirm beyond the bound: %v", err)
	}
	w.One.Follow(t)
	reserve(ctx, t, set, "ORDER-4", 1)
	w.WantLedger(t, "A", 15, 4, 1)
}

// TestRedisLua_Gate: somebody sits on the stock row. Redis sells on, and what it has not enough of is contended, not
// refused.
func TestRedisLua_Gate(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	opened(t, w, 5)
	set := w.Two.Set(t)
	ctx := replicatest.Soon(t)
	reserve(ctx, t, set, "FIRST", 1)
	sitting := w.One.DB.Begin()
	defer sitting.Rollback()
	if err := sitting.Exec("UPDATE stock SET version = version + 1 WHERE sku = 'A'").Error; err != nil {
		t.Fatal(err)
	}
	reserve(ctx, t, set, "SECOND", 1)
	hurry, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := set.Reserve(hurry, replicatest.Order("MORE", redisLua, replicatest.Line("A", 9))); !errors.Is(err, stock.ErrContended) || fault.Ambiguous(err) {
		t.Errorf("more than Redis has: got %v, want contended", err)
	}
	if err := sitting.Rollback().Error; err != nil {
		t.Fatal(err)
	}
	in := store.Inbound{SKU: "A", Quantity: 6, Reference: "second-A", Reason: "test", Actor: "test"}
	if _, err := w.One.Store.Receive(ctx, in); err != nil {
		t.Fatal(err)
	}
	reserve(ctx, t, set, "MORE", 9)
	w.WantLedger(t, "A", 0, 11, 0)
}

// TestRedisLua_Eviction: a Redis that throws keys away when it is full gets no stock.
func TestRedisLua_Eviction(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorldOn(t, stacktest.OwnRedis(t, "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru").Addr)
	w.ToRedis(t)
	w.One.Follow(t)
	if err := w.Bring(replicatest.Soon(t), "A", 5); fault.From(err).Code != "redis_evicts" || fault.Ambiguous(err) {
		t.Errorf("stock for a Redis that evicts: got %v", err)
	}
	if p, err := w.One.Redis.Position(replicatest.Soon(t)); err != nil || p.Epoch != 0 {
		t.Errorf("position %+v, error %v: it was opened", p, err)
	}
}

// TestRedisLua_Fork removes the entry that MySQL applied last, as a replica has it that was promoted while it was
// behind and has gone on since. No caller can notice, only the writer.
func TestRedisLua_Fork(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	opened(t, w, 20)
	ctx := replicatest.Soon(t)
	reserve(ctx, t, w.Two.Set(t), "FIRST", 1)
	w.Settle(t)
	p, err := w.One.Redis.Position(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Redis.XDel(ctx, w.Counters+"log", p.AppliedID).Result(); err != nil || n != 1 {
		t.Fatalf("removed %d entries, error %v", n, err)
	}
	replicatest.Eventually(t, "a new epoch", func() bool {
		now, err := w.One.Redis.Position(ctx)
		return err == nil && now.Epoch == 2 && now.Open
	})
	w.WantLedger(t, "A", 19, 1, 0)
}

// TestRedisLua_ReleaseToTheRow gives an order's units back after its SKU has left Redis, while nobody follows: the
// release is not done before the units are on the row.
func TestRedisLua_ReleaseToTheRow(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	stop := opened(t, w, 20)
	set := w.Two.Set(t)
	ctx := replicatest.Soon(t)
	reserve(ctx, t, set, "ORDER", 4)
	relay(t, w, "A", stock.LayoutRow)
	stop()
	hurry, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := set.Release(hurry, "ORDER"); fault.KindOf(err) != fault.Timeout {
		t.Errorf("a release that is not followed: got %v, want a timeout", err)
	}
	w.One.Follow(t)
	if err := set.Release(ctx, "ORDER"); err != nil {
		t.Fatal(err)
	}
	e, err := w.One.Store.Product(ctx, "A")
	if err != nil || e.Available != 20 {
		t.Errorf("%d available when the release was done, error %v", e.Available, err)
	}
}

package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/pkg/fault"
)

// TestRedisLua_LostEntry takes an order's entry out of the log before MySQL has followed it, and leaves the replica's
// number as it was: no script can notice. The replica finds that MySQL has passed the entry and does not have the
// order.
func TestRedisLua_LostEntry(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	stop := opened(t, w, 20)
	set := w.Two.Set(t)
	ctx := replicatest.Soon(t)
	reserve(ctx, t, set, "FIRST", 1)
	w.Settle(t)
	stop()
	reserve(ctx, t, set, "LOST", 3)
	if n, err := w.Redis.XDel(ctx, w.Counters+"log", w.Redis.HGet(ctx, w.Counters+"1:order:LOST", "e").Val()).Result(); err != nil || n != 1 {
		t.Fatalf("removed %d entries, error %v", n, err)
	}
	reserve(ctx, t, set, "AFTER", 2)
	w.Two.Follow(t)
	wantLosses(t, w, 1, 3)
	w.WantLedger(t, "A", 17, 3, 0)
}

// TestRedisLua_CountGoesBack sets the count of replica two's answers back, as a Redis has it that lost the last one.
// MySQL does not follow. Redis is shut as soon as that replica asks, after the other one has, and also when it has
// nothing to ask.
func TestRedisLua_CountGoesBack(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(ctx context.Context, t *testing.T, w *replicatest.World, set stock.Reserver){
		"it reserves": func(ctx context.Context, t *testing.T, _ *replicatest.World, set stock.Reserver) {
			if _, err := set.Reserve(ctx, replicatest.Order("NEXT", redisLua, replicatest.Line("A", 1))); fault.From(err).Code != "redis_stock_shut" || fault.Ambiguous(err) {
				t.Errorf("got %v", err)
			}
		},
		"it is idle": func(_ context.Context, t *testing.T, w *replicatest.World, _ stock.Reserver) {
			replicatest.InBackground(t, w.Two.Redis.Watch)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := replicatest.NewWorld(t)
			stop := opened(t, w, 20)
			set, other := w.Two.Set(t), w.One.Set(t)
			ctx := replicatest.Soon(t)
			reserve(ctx, t, set, "FIRST", 1)
			w.Settle(t)
			stop()
			meta := w.Counters + "meta"
			before := w.Redis.HGetAll(ctx, meta).Val()
			reserve(ctx, t, set, "LOST", 3)
			for field, count := range w.Redis.HGetAll(ctx, meta).Val() {
				if was := before[field]; strings.HasPrefix(field, "r:") && was != count {
					w.Redis.HSet(ctx, meta, field, was)
				}
			}
			reserve(ctx, t, other, "OTHER-1", 1)
			reserve(ctx, t, other, "OTHER-2", 1)
			ask(ctx, t, w, set)
			replicatest.Eventually(t, "Redis is shut", func() bool { return w.Redis.HGet(ctx, meta, "open").Val() == "0" })
		})
	}
}

// TestRedisLua_Remembers: a replica remembers a bounded number of operations, and forgets those that MySQL has.
func TestRedisLua_Remembers(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	opened(t, w, 100)
	w.Two.ToRedis(t, redisstock.Config{Prefix: w.Counters, MaxWaiting: 5})
	set := w.Two.Set(t)
	ctx := replicatest.Soon(t)
	const most = 20 // with this MaxWaiting
	for i := range most {
		no := fmt.Sprintf("ORDER-%d", i)
		if _, err := stocktest.Buy(ctx, set, replicatest.Order(no, redisLua, replicatest.Line("A", 1))); err != nil {
			t.Fatal(err)
		}
	}
	hurry, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := set.Reserve(hurry, replicatest.Order("MORE", redisLua, replicatest.Line("A", 1))); !errors.Is(err, stock.ErrContended) || fault.Ambiguous(err) {
		t.Errorf("reserve beyond the bound: got %v, want contended", err)
	}
	hurry, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := set.Confirm(hurry, "ORDER-0"); !errors.Is(err, stock.ErrContended) || fault.Ambiguous(err) {
		t.Errorf("confirm beyond the bound: got %v, want contended", err)
	}
	replicatest.InBackground(t, w.Two.Redis.Watch)
	if _, err := stocktest.Buy(ctx, set, replicatest.Order("MORE", redisLua, replicatest.Line("A", 1))); err != nil {
		t.Errorf("reserve when MySQL has what was answered: %v", err)
	}
	if err := replicatest.Settle(ctx, set.Confirm, "ORDER-0"); err != nil {
		t.Errorf("confirm: %v", err)
	}
	w.WantLedger(t, "A", 79, 20, 1)
}

// TestRedisLua_CountsLapse: the counts of replicas that have ended are removed one day.
func TestRedisLua_CountsLapse(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	opened(t, w, 20)
	ctx := replicatest.Soon(t)
	meta := w.Counters + "meta"
	now := w.Redis.Time(ctx).Val().Unix()
	counts := []any{"r:here", 7, "at:here", now - 3600}
	for i := range 150 {
		gone := fmt.Sprintf("gone%d", i)
		counts = append(counts, "r:"+gone, 7, "at:"+gone, now-2*24*3600)
	}
	if err := w.Redis.HSet(ctx, meta, counts...).Err(); err != nil { // at once: the replica may look in between
		t.Fatal(err)
	}
	replicatest.Eventually(t, "the old counts are removed", func() bool {
		n, err := w.Redis.HLen(ctx, meta).Result()
		return err == nil && n < 10
	})
	if n := w.Redis.HGet(ctx, meta, "r:here").Val(); n != "7" {
		t.Errorf("the count of a replica that asked an hour ago is %q", n)
	}
}

// afterwards lets a pipeline with this order be executed, calls a function and loses the pipeline's answers, once.
type afterwards struct {
	order string
	call  atomic.Pointer[func(context.Context)]
}

func (a *afterwards) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (a *afterwards) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (a *afterwards) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if !strings.Contains(fmt.Sprint(cmds), a.order) {
			return err
		}
		call := a.call.Swap(nil)
		if call == nil {
			return err
		}
		(*call)(ctx)
		for _, c := range cmds {
			c.SetErr(io.ErrUnexpectedEOF)
		}
		return io.ErrUnexpectedEOF
	}
}

// TestRedisLua_UnknownThenShut loses the answer to a reserve and shuts Redis before it is sent again. Redis may have
// executed it.
func TestRedisLua_UnknownThenShut(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	stop := opened(t, w, 20)
	set := w.Two.Set(t)
	ctx := replicatest.Soon(t)
	reserve(ctx, t, set, "FIRST", 1)
	w.Settle(t)
	stop()
	hook := &afterwards{order: "ORDER"}
	w.Two.Client.AddHook(hook)
	shut := func(context.Context) { w.Redis.HSet(ctx, w.Counters+"meta", "open", "0", "why", "test") }
	hook.call.Store(&shut)
	if _, err := set.Reserve(ctx, replicatest.Order("ORDER", redisLua, replicatest.Line("A", 2))); !fault.Ambiguous(err) {
		t.Errorf("got %v, which says that nothing was executed", err)
	}
	if n := w.Redis.Exists(ctx, w.Counters+"1:order:ORDER").Val(); n != 1 {
		t.Error("it was not executed: this run has shown nothing")
	}
}

// TestRedisLua_GateDeadline: Redis executes a reserve under the stock row's lock and does not answer before the time
// for it is up. The transaction fails because of that, and the answer is not contended, which would say that nothing
// was executed.
func TestRedisLua_GateDeadline(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	opened(t, w, 20)
	hook := &afterwards{order: "ORDER"}
	w.Two.Client.AddHook(hook)
	set := w.Two.Set(t)
	hold := w.Two.Sent.HoldNext("SELECT r.sku, s.layout")
	ctx := replicatest.Soon(t)
	got := make(chan error, 1)
	go func() {
		_, err := set.Reserve(ctx, replicatest.Order("ORDER", redisLua, replicatest.Line("A", 2)))
		got <- err
	}()
	select {
	case <-hold.Reached: // the units are laid out, and the row is locked again
	case err := <-got:
		t.Fatalf("the row was never locked: %v", err)
	}
	late := func(ctx context.Context) { <-ctx.Done() }
	hook.call.Store(&late)
	close(hold.Resume)
	if err := <-got; !fault.Ambiguous(err) {
		t.Errorf("got %v, which says that nothing was executed", err)
	}
	w.WantLedger(t, "A", 18, 2, 0)
}

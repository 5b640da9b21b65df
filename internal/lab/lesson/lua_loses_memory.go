package lesson

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/redis/go-redis/v9"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/fault"
)

func luaLosesMemory() Lesson {
	return Lesson{Name: "lua-loses-memory", Scenes: luaScenes}
}

// The units of the lesson: the stock, the units sold before Redis loses its data, and the part of these that MySQL has
// not recorded.
const (
	luaUnits      = 100
	luaRecorded   = 20
	luaUnrecorded = 10
)

func luaScenes(_ context.Context, e *Env) ([]step.Scene, error) {
	return []step.Scene{
		e.scene(step.T("lua-loses-memory.counter", luaUnits, luaRecorded+luaUnrecorded, luaRecorded), e.forgetfulCounter),
		e.scene(step.T("lua-loses-memory.stream"), e.countedLoss),
	}, nil
}

// flush is the step in which Redis loses its data.
func flush(client *redis.Client) step.Step {
	return step.Step{
		Label: step.T("lua-loses-memory.flush"), Statement: "FLUSHALL",
		Do: func(ctx context.Context) (step.Result, error) {
			return step.Result{Text: step.T("lua-loses-memory.flush.got")}, client.FlushAll(ctx).Err()
		},
	}
}

// counter is the usual form: one script checks and subtracts, and a database records the sales later. The gallery's
// counters in Redis load a missing key first; this one has the mistake that they have cured.
type counter struct {
	client *redis.Client
	script *redis.Script
	sold   int
}

// sell sells units until most are sold or the script refuses.
func (c *counter) sell(ctx context.Context, most int) (int, error) {
	for n := range most {
		ok, err := c.script.Run(ctx, c.client, []string{"stock"}).Int()
		if err != nil || ok == 0 {
			return n, err
		}
		c.sold++
	}
	return most, nil
}

// forgetfulCounter shows what a lost counter costs.
func (e *Env) forgetfulCounter(ctx context.Context) (*step.Stage, error) {
	server, err := e.OwnRedis(ctx)
	if err != nil {
		return nil, err
	}
	c := &counter{client: e.Client(server.Addr), script: redis.NewScript(`
		local left = tonumber(redis.call('GET', KEYS[1]) or '0')
		if left < 1 then return 0 end
		redis.call('DECR', KEYS[1])
		return 1`)}
	if err := c.client.Set(ctx, "stock", luaUnits, 0).Err(); err != nil {
		return nil, err
	}
	sells := step.Step{
		Label: step.T("lua-loses-memory.sell", luaRecorded+luaUnrecorded),
		Do: func(ctx context.Context) (step.Result, error) {
			_, err := c.sell(ctx, luaRecorded+luaUnrecorded)
			return step.Result{}, err
		},
	}
	after := -1
	next := step.Step{
		Label: step.T("lua-loses-memory.next"), Ask: "lua-loses-memory.next.ask",
		Do: func(ctx context.Context) (_ step.Result, err error) {
			after, err = c.sell(ctx, 1)
			return step.Result{Text: step.T("lua-loses-memory.next.got", after)}, err
		},
	}
	load := step.Step{
		Label: step.T("lua-loses-memory.load"),
		Do: func(ctx context.Context) (step.Result, error) {
			left := luaUnits - luaRecorded
			return step.Result{Text: step.T("lua-loses-memory.load.got", left)}, c.client.Set(ctx, "stock", left, 0).Err()
		},
	}
	rest := step.Step{
		Label: step.T("lua-loses-memory.rest"), Ask: "lua-loses-memory.rest.ask",
		Do: func(ctx context.Context) (step.Result, error) {
			n, err := c.sell(ctx, luaUnits)
			return step.Result{Text: step.T("lua-loses-memory.rest.got", n)}, err
		},
	}
	return &step.Stage{
		Actors: []*step.Actor{{Steps: []step.Step{sells, flush(c.client), next, load, rest}}},
		Order:  []string{"", "", "", "", ""},
		Look:   []step.Looker{lookKeys(c.client, "*", "")},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(after == 0, "lua-loses-memory.next.claim")
			end.Check(c.sold == luaUnits+luaUnrecorded, "lua-loses-memory.oversold.claim", c.sold, luaUnits, c.sold-luaUnits)
			return nil
		},
	}, nil
}

// streamed is the stage of the strategy redis-lua.
type streamed struct {
	e       *Env
	dsn     string
	client  *redis.Client
	first   *inventorylab.Lab // sells and follows the stream
	pending *inventorylab.Lab // sells, and leaves the stream to another replica
	next    *inventorylab.Lab // comes after the loss

	recorded, unrecorded string // an order of each kind
	refused              error  // of the buyer after the loss
	receipts             int64
	operations, lost     int64
}

func (s *streamed) open(ctx context.Context, idle bool) (*inventorylab.Lab, error) {
	return s.e.open(ctx, inventorylab.Config{
		DSN: s.dsn, RedisAddrs: []string{s.client.Options().Addr}, Strategy: "redis-lua", LockTTL: time.Second, Idle: idle,
		Log: slog.New(slog.DiscardHandler),
	})
}

// countedLoss shows the same loss with the strategy redis-lua.
func (e *Env) countedLoss(ctx context.Context) (*step.Stage, error) {
	server, err := e.OwnRedis(ctx)
	if err != nil {
		return nil, err
	}
	dsn, err := e.DSN(ctx)
	if err != nil {
		return nil, err
	}
	s := &streamed{e: e, dsn: dsn, client: e.Client(server.Addr)}
	if s.first, err = s.open(ctx, false); err != nil {
		return nil, err
	}
	if err := s.first.Stock(ctx, sku, luaUnits, "first"); err != nil {
		return nil, err
	}
	steps := []step.Step{
		{Label: step.T("lua-loses-memory.recorded", luaRecorded), Do: s.sellRecorded},
		{Label: step.T("lua-loses-memory.unrecorded", luaUnrecorded), Do: s.sellUnrecorded},
		flush(s.client),
		{Label: step.T("lua-loses-memory.next"), Ask: "lua-loses-memory.next.ask.stream", Do: s.sellAfterLoss},
		{Label: step.T("lua-loses-memory.replica"), Ask: "lua-loses-memory.replica.ask", Do: s.sellRest},
		{Label: step.T("lua-loses-memory.losses"), Do: s.findLosses},
	}
	stage := &step.Stage{Actors: []*step.Actor{{Steps: steps}}, Look: s.look(), End: s.end}
	for range steps {
		stage.Order = append(stage.Order, "")
	}
	return stage, nil
}

// look shows the stock, the epoch and the stream; the keys of the orders are too many.
func (s *streamed) look() []step.Looker {
	return []step.Looker{lookKeys(s.client, "*}:*:stock:*", ""), lookKeys(s.client, "*}:meta", ""), lookKeys(s.client, "*}:log", "")}
}

// sellLua sells n units in n orders and returns the first.
func sellLua(ctx context.Context, lab *inventorylab.Lab, n int) (first string, err error) {
	for range n {
		orderNo := ulid.Make().String()
		if first == "" {
			first = orderNo
		}
		if _, err := lab.Reserve(ctx, orderNo, []inventoryapi.Line{{SKU: sku, Quantity: 1}}); err != nil {
			return "", err
		}
	}
	return first, nil
}

// sellRecorded sells, waits until MySQL has applied the stream, and stops the replica that applies it.
func (s *streamed) sellRecorded(ctx context.Context) (r step.Result, err error) {
	if s.recorded, err = sellLua(ctx, s.first, luaRecorded); err != nil {
		return r, err
	}
	if _, err := s.first.Ledger(ctx); err != nil { // waits until MySQL has applied the stream
		return r, err
	}
	return r, s.first.Close()
}

// sellUnrecorded sells units that only Redis has recorded.
func (s *streamed) sellUnrecorded(ctx context.Context) (r step.Result, err error) {
	if s.pending, err = s.open(ctx, true); err != nil {
		return r, err
	}
	s.unrecorded, err = sellLua(ctx, s.pending, luaUnrecorded)
	return r, err
}

func (s *streamed) sellAfterLoss(ctx context.Context) (step.Result, error) {
	_, s.refused = s.pending.Reserve(ctx, ulid.Make().String(), []inventoryapi.Line{{SKU: sku, Quantity: 1}})
	return step.Result{Text: step.T("lua-loses-memory.next.refused", s.refused)}, nil
}

// sellRest lets a new replica rebuild Redis and sells all units.
func (s *streamed) sellRest(ctx context.Context) (r step.Result, err error) {
	if s.next, err = s.open(ctx, false); err != nil {
		return r, err
	}
	s.receipts = luaRecorded + luaUnrecorded
	start := time.Now()
	var opened time.Duration
	err = s.e.Until(ctx, "all is sold", func(ctx context.Context) (bool, error) {
		_, err := s.next.Reserve(ctx, ulid.Make().String(), []inventoryapi.Line{{SKU: sku, Quantity: 1}})
		switch {
		case err == nil:
			if s.receipts == luaRecorded+luaUnrecorded {
				opened = time.Since(start)
			}
			s.receipts++
		case errors.Is(err, inventoryapi.ErrOutOfStock):
			return true, nil
		case fault.KindOf(err) != fault.Unavailable:
			return false, err
		}
		return false, nil
	})
	return step.Result{Text: step.T("lua-loses-memory.replica.got", opened.Round(10*time.Millisecond))}, err
}

// findLosses waits until the losses are counted. The replica that was answered before the loss looks up each order in
// MySQL and reports the missing ones.
func (s *streamed) findLosses(ctx context.Context) (step.Result, error) {
	if _, err := s.pending.Reserve(ctx, ulid.Make().String(), []inventoryapi.Line{{SKU: sku, Quantity: 1}}); !errors.Is(err, inventoryapi.ErrOutOfStock) {
		return step.Result{}, fmt.Errorf("reserve a unit that does not exist: %w", err)
	}
	err := s.e.Until(ctx, "the loss is reported", func(ctx context.Context) (_ bool, err error) {
		s.operations, s.lost, err = s.next.Lost(ctx)
		return s.operations >= luaUnrecorded, err
	})
	return step.Result{Text: step.T("lua-loses-memory.losses.got", s.operations)}, err
}

// end checks the totals.
func (s *streamed) end(ctx context.Context, end *step.Ending) error {
	ledger, err := s.next.Ledger(ctx)
	if err != nil {
		return err
	}
	held := ledger.SKUs[0].LinesReserved
	end.Check(fault.KindOf(s.refused) == fault.Unavailable && !fault.Ambiguous(s.refused), "lua-loses-memory.refused.claim", s.refused)
	end.Table(
		[]any{"", step.T("lesson.receipts"), step.T("lua-loses-memory.in-mysql"), step.T("lua-loses-memory.oversold"), step.T("lua-loses-memory.lost")},
		[]any{"redis-lua", s.receipts, held, max(0, held-luaUnits), s.lost},
	)
	end.Check(held == luaUnits, "lua-loses-memory.held.claim", held, luaUnits)
	end.Check(s.operations == luaUnrecorded && s.lost == s.receipts-held, "lua-loses-memory.lost.claim", s.receipts-held, s.operations, s.lost)
	err = s.pending.Confirm(ctx, s.unrecorded)
	end.Check(errors.Is(err, inventoryapi.ErrStockLost), "lua-loses-memory.refund.claim", err)
	end.Check(s.next.Confirm(ctx, s.recorded) == nil, "lua-loses-memory.confirmed.claim")
	return nil
}

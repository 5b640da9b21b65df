package lesson

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/fault"
)

func luaLosesMemory() Lesson {
	return Lesson{
		Name:  "lua-loses-memory",
		Title: "the counter is in Redis, and Redis loses it",
		Run:   runLuaLosesMemory,
	}
}

// The units of the lesson: the stock, the units sold before Redis loses its data, and the part of these that MySQL has
// not recorded.
const (
	luaUnits      = 100
	luaRecorded   = 20
	luaUnrecorded = 10
)

func runLuaLosesMemory(ctx context.Context, e *Env) error {
	server, err := e.OwnRedis(ctx)
	if err != nil {
		return err
	}
	client := e.Client(server.Addr)
	if err := forgetfulCounter(ctx, e, client); err != nil {
		return err
	}
	return countedLoss(ctx, e, client, server.Addr)
}

// forgetfulCounter shows the usual form: one script checks and subtracts, and a database records the sales later.
func forgetfulCounter(ctx context.Context, e *Env, client *redis.Client) error {
	e.Step("A counter and one Lua script. %d units, %d are sold, and the database has recorded %d of them.",
		luaUnits, luaRecorded+luaUnrecorded, luaRecorded)
	script := redis.NewScript(`
		local left = tonumber(redis.call('GET', KEYS[1]) or '0')
		if left < 1 then return 0 end
		redis.call('DECR', KEYS[1])
		return 1`)
	sold := 0
	sell := func(most int) (int, error) {
		for n := range most {
			ok, err := script.Run(ctx, client, []string{"stock"}).Int()
			if err != nil || ok == 0 {
				return n, err
			}
			sold++
		}
		return most, nil
	}
	if err := client.Set(ctx, "stock", luaUnits, 0).Err(); err != nil {
		return err
	}
	if _, err := sell(luaRecorded + luaUnrecorded); err != nil {
		return err
	}
	if err := client.FlushAll(ctx).Err(); err != nil {
		return err
	}
	e.Show("FLUSHALL: same effect as a restart without persistence, or as promoting a replica that lags behind")
	after, err := sell(1)
	if err != nil {
		return err
	}
	e.Check(after == 0, "the next buyer gets \"sold out\": the key is missing, and the script treats that as 0")
	if err := client.Set(ctx, "stock", luaUnits-luaRecorded, 0).Err(); err != nil {
		return err
	}
	e.Show("an operator loads the counter from the database: SET stock %d", luaUnits-luaRecorded)
	if _, err := sell(luaUnits); err != nil {
		return err
	}
	e.Check(sold == luaUnits+luaUnrecorded, "%d receipts for %d units: %d are oversold, and no record says which", sold, luaUnits, sold-luaUnits)
	return nil
}

// countedLoss shows the same loss with the strategy redis-lua.
func countedLoss(ctx context.Context, e *Env, client *redis.Client, addr string) error {
	e.Step("The same with redis-lua: an epoch, a stream, and MySQL applies the stream.")
	dsn, err := e.DSN(ctx)
	if err != nil {
		return err
	}
	open := func(idle bool) (*inventorylab.Lab, func() error, error) {
		lab, err := inventorylab.Open(ctx, inventorylab.Config{
			DSN: dsn, RedisAddrs: []string{addr}, Strategy: "redis-lua", LockTTL: time.Second, Idle: idle, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, nil, err
		}
		e.Clean(func(context.Context) error { return lab.Close() })
		return lab, lab.Close, nil
	}
	first, stop, err := open(false)
	if err != nil {
		return err
	}
	if err := first.Stock(ctx, sku, luaUnits, "first"); err != nil {
		return err
	}
	if err := sellLua(ctx, first, "RECORDED", luaRecorded); err != nil {
		return err
	}
	if _, err := first.Ledger(ctx); err != nil { // waits until MySQL has applied the stream
		return err
	}
	if err := stop(); err != nil {
		return err
	}
	pending, _, err := open(true)
	if err != nil {
		return err
	}
	if err := sellLua(ctx, pending, "UNRECORDED", luaUnrecorded); err != nil {
		return err
	}
	if err := client.FlushAll(ctx).Err(); err != nil {
		return err
	}
	_, err = pending.Reserve(ctx, "NEXT", []inventoryapi.Line{{SKU: sku, Quantity: 1}})
	e.Check(fault.KindOf(err) == fault.Unavailable && !fault.Ambiguous(err), "the next buyer gets a retryable error, not \"sold out\": %v", err)
	return afterLoss(ctx, e, pending, open)
}

// sellLua sells n units in n orders.
func sellLua(ctx context.Context, lab *inventorylab.Lab, name string, n int) error {
	for i := range n {
		if _, err := lab.Reserve(ctx, fmt.Sprintf("%s-%d", name, i), []inventoryapi.Line{{SKU: sku, Quantity: 1}}); err != nil {
			return err
		}
	}
	return nil
}

// afterLoss lets a replica rebuild Redis and sell all units, and then checks the totals.
func afterLoss(ctx context.Context, e *Env, pending *inventorylab.Lab, open func(idle bool) (*inventorylab.Lab, func() error, error)) error {
	next, _, err := open(false)
	if err != nil {
		return err
	}
	receipts := luaRecorded + luaUnrecorded
	start := time.Now()
	err = e.Until(ctx, "all is sold", func(ctx context.Context) (bool, error) {
		_, err := next.Reserve(ctx, fmt.Sprintf("AFTER-%d", receipts), []inventoryapi.Line{{SKU: sku, Quantity: 1}})
		switch {
		case err == nil:
			if receipts == luaRecorded+luaUnrecorded {
				e.Show("a replica has loaded a new epoch from MySQL; it sells again %v after it was started", time.Since(start).Round(10*time.Millisecond))
			}
			receipts++
		case errors.Is(err, inventoryapi.ErrOutOfStock):
			return true, nil
		case fault.KindOf(err) != fault.Unavailable:
			return false, err
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if _, err := pending.Reserve(ctx, "ONE-MORE", []inventoryapi.Line{{SKU: sku, Quantity: 1}}); !errors.Is(err, inventoryapi.ErrOutOfStock) {
		return fmt.Errorf("reserve a unit that does not exist: %w", err)
	}
	ledger, err := next.Ledger(ctx)
	if err != nil {
		return err
	}
	// The replica that was answered before the loss looks up each order in MySQL and reports the missing ones.
	var operations, units int64
	err = e.Until(ctx, "the loss is reported", func(ctx context.Context) (_ bool, err error) {
		operations, units, err = next.Lost(ctx)
		return operations >= luaUnrecorded, err
	})
	if err != nil {
		return err
	}
	held := ledger.SKUs[0].LinesReserved
	e.Table([]any{"", "receipts", "in MySQL", "oversold in MySQL", "recorded as lost"}, []any{"redis-lua", receipts, held, max(0, held-luaUnits), units})
	e.Check(held == luaUnits, "MySQL has sold %d of %d units, and no more", held, luaUnits)
	e.Check(operations == luaUnrecorded && units == int64(receipts)-held, "the %d other receipts are recorded as lost: %d operations, %d units", int64(receipts)-held, operations, units)
	err = pending.Confirm(ctx, "UNRECORDED-0")
	e.Check(errors.Is(err, inventoryapi.ErrStockLost), "a payment for one of them is refunded: %v", err)
	e.Check(next.Confirm(ctx, "RECORDED-0") == nil, "an order that MySQL had recorded is confirmed as usual")
	return nil
}

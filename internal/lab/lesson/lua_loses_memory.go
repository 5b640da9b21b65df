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
		Title: "the counter is in Redis, and Redis forgets",
		Run:   runLuaLosesMemory,
	}
}

// How many units there are, how many are sold before Redis forgets, and how many of those MySQL has not heard of.
const (
	luaUnits   = 100
	luaHeard   = 20
	luaUnheard = 10
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

// forgetfulCounter is the usual form: one script that looks and subtracts, and a database that hears of it later.
func forgetfulCounter(ctx context.Context, e *Env, client *redis.Client) error {
	e.Step("A counter and one Lua script. %d units, %d are sold, and the database has heard of %d of them.",
		luaUnits, luaHeard+luaUnheard, luaHeard)
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
	if _, err := sell(luaHeard + luaUnheard); err != nil {
		return err
	}
	if err := client.FlushAll(ctx).Err(); err != nil {
		return err
	}
	e.Show("FLUSHALL: what a restart without a file does, or a replica that is promoted while it is behind")
	after, err := sell(1)
	if err != nil {
		return err
	}
	e.Check(after == 0, "the next buyer hears \"sold out\": GET gave nothing, and nothing was taken for 0")
	if err := client.Set(ctx, "stock", luaUnits-luaHeard, 0).Err(); err != nil {
		return err
	}
	e.Show("somebody warms it up again from the database: SET stock %d", luaUnits-luaHeard)
	if _, err := sell(luaUnits); err != nil {
		return err
	}
	e.Check(sold == luaUnits+luaUnheard, "%d receipts for %d units: %d are oversold, and nobody knows which", sold, luaUnits, sold-luaUnits)
	return nil
}

// countedLoss is the same accident with the strategy redis-lua.
func countedLoss(ctx context.Context, e *Env, client *redis.Client, addr string) error {
	e.Step("The same with redis-lua: an epoch, a stream, and MySQL that follows.")
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
	if err := sellLua(ctx, first, "HEARD", luaHeard); err != nil {
		return err
	}
	if _, err := first.Ledger(ctx); err != nil { // waits until MySQL has followed
		return err
	}
	if err := stop(); err != nil {
		return err
	}
	behind, _, err := open(true)
	if err != nil {
		return err
	}
	if err := sellLua(ctx, behind, "UNHEARD", luaUnheard); err != nil {
		return err
	}
	if err := client.FlushAll(ctx).Err(); err != nil {
		return err
	}
	_, err = behind.Reserve(ctx, "NEXT", []inventoryapi.Line{{SKU: sku, Quantity: 1}})
	e.Check(fault.KindOf(err) == fault.Unavailable && !fault.Ambiguous(err), "the next buyer is told to ask again, and not that it is sold out: %v", err)
	return afterLoss(ctx, e, behind, open)
}

// sellLua sells n units, one an order.
func sellLua(ctx context.Context, lab *inventorylab.Lab, name string, n int) error {
	for i := range n {
		if _, err := lab.Reserve(ctx, fmt.Sprintf("%s-%d", name, i), []inventoryapi.Line{{SKU: sku, Quantity: 1}}); err != nil {
			return err
		}
	}
	return nil
}

// afterLoss has a replica rebuild Redis and sell everything, and adds up.
func afterLoss(ctx context.Context, e *Env, behind *inventorylab.Lab, open func(idle bool) (*inventorylab.Lab, func() error, error)) error {
	next, _, err := open(false)
	if err != nil {
		return err
	}
	receipts := luaHeard + luaUnheard
	start := time.Now()
	err = e.Until(ctx, "all is sold", func(ctx context.Context) (bool, error) {
		_, err := next.Reserve(ctx, fmt.Sprintf("AFTER-%d", receipts), []inventoryapi.Line{{SKU: sku, Quantity: 1}})
		switch {
		case err == nil:
			if receipts == luaHeard+luaUnheard {
				e.Show("a replica has filled a new epoch from MySQL; it sells again %v after it was started", time.Since(start).Round(10*time.Millisecond))
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
	if _, err := behind.Reserve(ctx, "ONE-MORE", []inventoryapi.Line{{SKU: sku, Quantity: 1}}); !errors.Is(err, inventoryapi.ErrOutOfStock) {
		return fmt.Errorf("one more than there is: %w", err)
	}
	ledger, err := next.Ledger(ctx)
	if err != nil {
		return err
	}
	// The replica that was answered before the loss looks in MySQL for each order, and reports those that are not there.
	var operations, units int64
	err = e.Until(ctx, "the loss is reported", func(ctx context.Context) (_ bool, err error) {
		operations, units, err = next.Lost(ctx)
		return operations >= luaUnheard, err
	})
	if err != nil {
		return err
	}
	held := ledger.SKUs[0].LinesReserved
	e.Table([]any{"", "receipts", "in MySQL", "oversold there", "recorded as lost"}, []any{"redis-lua", receipts, held, max(0, held-luaUnits), units})
	e.Check(held == luaUnits, "MySQL has sold %d of %d units, and not one more", held, luaUnits)
	e.Check(operations == luaUnheard && units == int64(receipts)-held, "the %d receipts beyond that are on record: %d operations, %d units", int64(receipts)-held, operations, units)
	err = behind.Confirm(ctx, "UNHEARD-0")
	e.Check(errors.Is(err, inventoryapi.ErrStockLost), "whoever pays for one of them gets the money back: %v", err)
	e.Check(next.Confirm(ctx, "HEARD-0") == nil, "an order of which MySQL had heard is confirmed as ever")
	return nil
}

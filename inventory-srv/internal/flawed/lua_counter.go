package flawed

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// luaCounter is what the flaws with Lua share: a counter in Redis before the stock row, which one script looks at and lowers. It is
// as atomic as can be; what is wrong lies around it.
type luaCounter struct {
	deps   Deps
	script *redis.Script
}

func newLuaCounter(d Deps) luaCounter {
	// KEYS: counter, order. ARGV: quantity, 1 to remember the order. Returns what was left before, or -1 for a known order.
	return luaCounter{d, redis.NewScript(`
		if ARGV[2] == '1' and redis.call('SET', KEYS[2], '1', 'NX') == false then return -1 end
		local left = tonumber(redis.call('GET', KEYS[1]))
		if left >= tonumber(ARGV[1]) then redis.call('DECRBY', KEYS[1], ARGV[1]) else redis.call('DEL', KEYS[2]) end
		return left`)}
}

func (c luaCounter) key(sku string) string { return c.deps.Prefix + "lua:" + sku }

// reserve takes the lines in Redis and tells MySQL, which believes what it is told.
func (c luaCounter) reserve(ctx context.Context, r stock.Request, remember string) (stock.Receipt, error) {
	for _, l := range r.Lines {
		if err := c.take(ctx, r.OrderNo, l, remember); err != nil {
			return stock.Receipt{}, err
		}
	}
	return c.deps.Ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		for _, l := range lines {
			err := tx.Exec("UPDATE stock SET available = GREATEST(available - ?, 0), reserved = reserved + ?, version = version + 1 WHERE sku = ?",
				l.Quantity, l.Quantity, l.SKU).Error
			if err != nil {
				return fmt.Errorf("follow %s: %w", l.SKU, err)
			}
		}
		return nil
	})
}

func (c luaCounter) take(ctx context.Context, orderNo string, l stock.Line, remember string) error {
	left, err := c.inMySQL(ctx, l.SKU)
	if err != nil {
		return err
	}
	if err := c.deps.Redis.SetNX(ctx, c.key(l.SKU), left, 0).Err(); err != nil {
		return fmt.Errorf("load the counter of %s: %w", l.SKU, err)
	}
	keys := []string{c.key(l.SKU), c.key(l.SKU) + ":" + orderNo}
	was, err := c.script.Run(ctx, c.deps.Redis, keys, l.Quantity, remember).Int64()
	if err != nil {
		return fmt.Errorf("take %s: %w", l.SKU, err)
	}
	if was >= 0 && was < l.Quantity {
		return stock.OutOfStock([]stock.ShortLine{{SKU: l.SKU, Requested: l.Quantity, Available: was}})
	}
	return nil
}

func (c luaCounter) inMySQL(ctx context.Context, sku string) (int64, error) {
	r, err := readRow(c.deps.DB.WithContext(ctx), sku, "")
	return r.Available, err
}

// luaTwice asks Redis without saying which order it is.
//
// Fault:    a script that knows no order takes again when it is asked again. Callers ask again when an answer is late.
// Seen:     in nearly every "atomic stock deduction with Lua", which ends at DECRBY.
// Goes:     the answer is lost on its way, the client repeats; two units are gone for one order, and the last buyer hears "sold out".
// Fixed by: redis-lua, whose script looks at the order's own key first.
type luaTwice struct{ luaCounter }

func newLuaTwice(d Deps) Reserver { return luaTwice{newLuaCounter(d)} }

// Reserve implements Reserver.
func (f luaTwice) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.reserve(ctx, r, "0")
}

// releaseInRedis gives back in Redis and leaves MySQL as it is.
//
// Fault:    two places know of the reservation, and one of them is told of its end.
// Seen:     in seckill demos whose timeout handler is one INCRBY.
// Goes:     the unit is sold again, and in MySQL two orders hold it.
// Fixed by: redis-lua, whose release is one entry of the same stream.
type releaseInRedis struct{ luaCounter }

func newReleaseInRedis(d Deps) Reserver { return releaseInRedis{newLuaCounter(d)} }

// Reserve implements Reserver.
func (f releaseInRedis) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.reserve(ctx, r, "1")
}

// Release gives the units of an order back.
func (f releaseInRedis) Release(ctx context.Context, orderNo string) error {
	known, ok, err := f.deps.Ledger.Known(ctx, orderNo)
	if err != nil || !ok {
		return errors.Join(err, stock.ErrUnknownOrder)
	}
	for _, l := range known.Lines {
		if err := f.deps.Redis.IncrBy(ctx, f.key(l.SKU), l.Quantity).Err(); err != nil {
			return fmt.Errorf("give %s back: %w", l.SKU, err)
		}
	}
	return nil // and MySQL?
}

// warmUp loads the counter from MySQL while it is in use.
//
// Fault:    a number that was read is written over a number that has gone on since.
// Seen:     in "cache warm-up" jobs that run at the start of a sale, at every start of the service, or on a timer.
// Goes:     ten are read, four are sold, ten are written: fourteen are sold.
// Fixed by: redis-lua, which adds what was never there before, and writes numbers only into an epoch that nobody has entered yet.
type warmUp struct{ luaCounter }

func newWarmUp(d Deps) Reserver { return warmUp{newLuaCounter(d)} }

// Reserve implements Reserver.
func (f warmUp) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.reserve(ctx, r, "1")
}

// WarmUp reads what MySQL has and returns how to write it to Redis: two steps, between which anything may happen.
func (f warmUp) WarmUp(ctx context.Context, sku string) (write func() error, err error) {
	left, err := f.inMySQL(ctx, sku)
	return func() error { return f.deps.Redis.Set(ctx, f.key(sku), left, 0).Err() }, err
}

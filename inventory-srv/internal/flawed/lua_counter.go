package flawed

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// luaCounter is what the flaws with Lua share: a counter in Redis in front of the stock row, which one script reads and
// lowers. The script is atomic; the faults are in the code around it.
type luaCounter struct {
	deps   Deps
	script *redis.Script
}

func newLuaCounter(d Deps) luaCounter {
	// KEYS: counter, order. ARGV: quantity, 1 to record the order. Returns what was left before, or -1 for a known order.
	return luaCounter{d, redis.NewScript(`
		if ARGV[2] == '1' and redis.call('SET', KEYS[2], '1', 'NX') == false then return -1 end
		local left = tonumber(redis.call('GET', KEYS[1]))
		if left >= tonumber(ARGV[1]) then redis.call('DECRBY', KEYS[1], ARGV[1]) else redis.call('DEL', KEYS[2]) end
		return left`)}
}

func (c luaCounter) key(sku string) string { return c.deps.Prefix + "lua:" + sku }

// reserve takes the lines in Redis and then writes them to MySQL, without a condition.
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

// luaTwice runs a script that does not have the order's number.
//
// Fault:    without the number the script deducts again when the caller retries. Callers retry when an answer is late.
// Seen:     in nearly every "atomic stock deduction with Lua", which ends with DECRBY.
// Goes:     the answer is lost and the client retries. One order has deducted two units, and the last buyer gets "sold
// out".
// Fixed by: redis-lua, whose script reads the order's own key first.
type luaTwice struct{ luaCounter }

func newLuaTwice(d Deps) Reserver { return luaTwice{newLuaCounter(d)} }

// Reserve implements Reserver.
func (f luaTwice) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.reserve(ctx, r, "0")
}

// releaseInRedis returns the units in Redis and does not change MySQL.
//
// Fault:    two stores have recorded the reservation, and one of them records its end.
// Seen:     in flash-sale demos whose timeout handler is one INCRBY.
// Goes:     the unit is sold again, and in MySQL two orders hold it.
// Fixed by: redis-lua, whose release is one entry of the same stream.
type releaseInRedis struct{ luaCounter }

func newReleaseInRedis(d Deps) Reserver { return releaseInRedis{newLuaCounter(d)} }

// Reserve implements Reserver.
func (f releaseInRedis) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.reserve(ctx, r, "1")
}

// Release returns the units of an order to the counter in Redis.
func (f releaseInRedis) Release(ctx context.Context, orderNo string) error {
	known, ok, err := f.deps.Ledger.Known(ctx, orderNo)
	if err != nil || !ok {
		return errors.Join(err, stock.ErrUnknownOrder)
	}
	for _, l := range known.Lines {
		if err := f.deps.Redis.IncrBy(ctx, f.key(l.SKU), l.Quantity).Err(); err != nil {
			return fmt.Errorf("return %s: %w", l.SKU, err)
		}
	}
	return nil // the fault: MySQL is not changed
}

// warmUp loads the counter from MySQL while the counter is in use.
//
// Fault:    a number that was read earlier overwrites a number that has changed since.
// Seen:     in "cache warm-up" jobs that run at the start of a sale, at every start of the service, or on a timer.
// Goes:     ten are read, four are sold, ten are written: fourteen are sold.
// Fixed by: redis-lua, which adds units that were not in Redis before, and sets numbers only in a new epoch before it
// opens.
type warmUp struct{ luaCounter }

func newWarmUp(d Deps) Reserver { return warmUp{newLuaCounter(d)} }

// Reserve implements Reserver.
func (f warmUp) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.reserve(ctx, r, "1")
}

// WarmUp reads the number from MySQL and returns a function that writes it to Redis. Orders may come between the two.
func (f warmUp) WarmUp(ctx context.Context, sku string) (write func() error, err error) {
	left, err := f.inMySQL(ctx, sku)
	return func() error { return f.deps.Redis.Set(ctx, f.key(sku), left, 0).Err() }, err
}

package redisstock

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/inventory-srv/internal/stock"
)

// fillChunk is how many counters one script writes.
const fillChunk = 500

// rebuild begins a new epoch from MySQL. First it applies the rest of the old epoch's log. MySQL then numbers the new
// epoch, and older writers apply nothing any more. Redis is shut under the new number, and callers of the old epoch
// change nothing any more. Now the counters in MySQL stand still and are copied, and MySQL and then Redis open. A
// writer that dies in between leaves an epoch that is not open, and the next writer begins another one.
func (w *writer) rebuild(ctx context.Context, loss *Loss) error {
	start := time.Now()
	if loss != nil {
		w.applyRest(ctx)
	}
	inRedis, err := w.redisEpoch(ctx)
	if err != nil {
		return err
	}
	was := w.position.Epoch
	w.position = Position{Fence: w.token, Epoch: max(was, inRedis) + 1}
	if err := w.BeginEpoch(ctx, w.token, w.position.Epoch, loss); err != nil {
		return fmt.Errorf("begin epoch %d: %w", w.position.Epoch, err)
	}
	id, err := w.begin(ctx, was > 0)
	if err != nil {
		return err
	}
	counters, err := w.fill(ctx)
	if err != nil {
		return err
	}
	if err := w.OpenEpoch(ctx, w.token, w.position.Epoch, id); err != nil {
		return fmt.Errorf("open epoch %d: %w", w.position.Epoch, err)
	}
	w.position.AppliedID, w.position.Open = id, true
	if err := w.runOK(ctx, w.scripts.open); err != nil {
		return err
	}
	w.metrics.rebuilds.WithLabelValues(strconv.FormatBool(loss != nil)).Inc()
	w.cfg.Log.WarnContext(ctx, "stock in Redis is open", "epoch", w.position.Epoch, "counters", counters, "loss", loss != nil, "took", time.Since(start))
	if err := w.refresh(ctx); err != nil {
		return err
	}
	return w.removeEpoch(ctx, was)
}

// applyRest applies the log if it is the one that MySQL has followed. Its entries are not lost.
func (w *writer) applyRest(ctx context.Context) {
	for {
		n, err := w.follow(ctx, true)
		if err != nil {
			w.cfg.Log.WarnContext(ctx, "the rest of the log is lost", "err", err)
			return
		}
		if n == 0 {
			return
		}
	}
}

// redisEpoch returns the epoch of Redis, 0 for none. It is greater than MySQL's after MySQL was restored from a backup.
func (w *writer) redisEpoch(ctx context.Context) (int64, error) {
	epoch, err := w.cfg.Client.HGet(ctx, w.keys[0], "epoch").Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the epoch of Redis: %w", err)
	}
	return epoch, nil
}

// begin shuts Redis under the new number and returns the first entry of the log. With check, Redis asks MySQL for
// orders of earlier epochs while they may be repeated.
func (w *writer) begin(ctx context.Context, check bool) (string, error) {
	checkFor := int64(0)
	if check {
		checkFor = w.life()
	}
	answer, err := w.run(ctx, w.scripts.begin, checkFor)
	if err != nil {
		return "", fmt.Errorf("begin epoch %d in Redis: %w", w.position.Epoch, err)
	}
	if answer[0] != verdictOK {
		return "", fmt.Errorf("begin epoch %d in Redis: it answered %q", w.position.Epoch, answer)
	}
	return answer[1], nil
}

// fill copies MySQL's counters, which do not change: no entry of the old epoch is applied any more, and the new one has
// none. Units that are allocated meanwhile are allocated in Redis by a later call.
func (w *writer) fill(ctx context.Context) (int, error) {
	rows, err := w.RedisRows(ctx)
	if err != nil {
		return 0, err
	}
	for first := 0; first < len(rows); first += fillChunk {
		var args []any
		for _, r := range rows[first:min(len(rows), first+fillChunk)] {
			args = append(args, r.SKU, r.Available, r.Allocated, r.Opening, flag(r.Layout != stock.LayoutRedis))
		}
		if err := w.runOK(ctx, w.scripts.fill, args...); err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}

// runOK is run for scripts with the single verdict ok.
func (w *writer) runOK(ctx context.Context, script *redis.Script, args ...any) error {
	answer, err := w.run(ctx, script, args...)
	if err == nil && answer[0] != verdictOK {
		err = fmt.Errorf("rebuild epoch %d: Redis answered %q", w.position.Epoch, answer)
	}
	return err
}

// removeEpoch removes the keys of an epoch that has ended.
func (w *writer) removeEpoch(ctx context.Context, epoch int64) error {
	if epoch == 0 {
		return nil
	}
	return w.remove(ctx, w.prefix(epoch))
}

// Drop removes all keys from Redis, for tests and comparisons that also drop their database.
func (c *Counters) Drop(ctx context.Context) error { return c.remove(ctx, c.cfg.Prefix) }

func (c *Counters) remove(ctx context.Context, prefix string) error {
	client := c.cfg.Client
	if cluster, ok := client.(*redis.ClusterClient); ok {
		node, err := cluster.MasterForKey(ctx, c.keys[0])
		if err != nil {
			return fmt.Errorf("find the node of the stock: %w", err)
		}
		client = node
	}
	for cursor := uint64(0); ; {
		keys, next, err := client.Scan(ctx, cursor, prefix+"*", fillChunk).Result()
		if err == nil && len(keys) > 0 {
			err = client.Unlink(ctx, keys...).Err()
		}
		if err != nil {
			return fmt.Errorf("remove the keys %s*: %w", prefix, err)
		}
		if next == 0 {
			return nil
		}
		cursor = next
	}
}

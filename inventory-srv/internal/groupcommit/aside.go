package groupcommit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/batch"
)

const (
	// asidePause is the shortest time between two flushes of orders that were set aside, that is between two checks of a
	// locked row.
	asidePause = 50 * time.Millisecond
	// asideTimeout is how long an order that was set aside waits for its rows: as long as the other strategies do.
	asideTimeout = 2 * time.Second
	// blockedFor is how long a row counts as locked after the last flush that found it locked. The next order that needs
	// the row checks it again.
	blockedFor = 10 * time.Second
	// maxBlocked is the largest number of rows that are recorded as locked.
	maxBlocked = 10_000
)

// operation is one of reserve, confirm and release with its two batchers. A flush of main waits for rows that other
// sessions have locked, until one lock wait times out. Then it executes the calls that need no locked row and moves the
// others to aside, whose flushes wait for no row. So a locked row delays the orders for other rows by one lock wait,
// however long it stays locked.
type operation[T, R any] struct {
	ledger  *store.Ledger
	try     try[T, R]
	orderNo func(T) string
	weight  func(T) int
	blocked *blockedRows

	main, aside *batch.Batcher[T, R]
	asideBegan  time.Time // the last flush of aside; only its goroutine uses it
}

// init makes the batchers.
func (o *operation[T, R]) init(name string, m metrics) {
	options := func(operation string) []batch.Option {
		return []batch.Option{
			batch.WithMaxWeight(maxBatch), batch.WithTimeout(flushTimeout), batch.WithPatience(answerGrace),
			batch.WithObserver(m.of(operation)),
		}
	}
	o.main = batch.New(o.flush, options(name)...)
	o.aside = batch.New(o.flushAside, options(name+"_aside")...)
	m.waiting(name, o.main.Queued)
	m.waiting(name+"_aside", o.aside.Queued)
}

// do executes items, in one batch if it has room for them.
// Errors: those of [batch.Batcher.Do], and stock.ErrContended when a row stays locked for asideTimeout.
func (o *operation[T, R]) do(ctx context.Context, items ...T) []batch.Result[R] {
	results := o.main.DoAll(ctx, items, o.weight)
	for began := time.Now(); ; {
		var again []T
		var of []int // again's places in items
		for i, r := range results {
			if errors.Is(r.Err, errSetAside) {
				again, of = append(again, items[i]), append(of, i)
			}
		}
		if len(again) == 0 {
			return results
		}
		if time.Since(began) > asideTimeout {
			for _, i := range of {
				results[i].Err = stock.ErrContended.Wrap(results[i].Err)
			}
			return results
		}
		for n, r := range o.aside.DoAll(ctx, again, o.weight) {
			results[of[n]] = r
		}
	}
}

func (o *operation[T, R]) close() error { return errors.Join(o.main.Close(), o.aside.Close()) }

func (o *operation[T, R]) flush(ctx context.Context, b *batch.Batch[T, R]) {
	f := &flushing[T, R]{operation: o, batch: b}
	f.answer(ctx, b.Calls(), waiting)
}

func (o *operation[T, R]) flushAside(ctx context.Context, b *batch.Batch[T, R]) {
	calls := b.Open(b.Calls()) // callers may leave during the pause
	pause := time.NewTimer(asidePause - time.Since(o.asideBegan))
	defer pause.Stop()
	select {
	case <-ctx.Done():
	case <-pause.C:
	}
	o.asideBegan = time.Now()
	f := &flushing[T, R]{operation: o, batch: b}
	f.answer(ctx, calls, skipping)
}

func (o *operation[T, R]) orderNos(calls []*batch.Call[T, R]) []string {
	orderNos := make([]string, len(calls))
	for i, c := range calls {
		orderNos[i] = o.orderNo(c.Item)
	}
	return orderNos
}

// blockedRows are the rows that another session had locked when a flush last checked them.
type blockedRows struct{ skus, orders *blockedKeys }

func newBlockedRows(log *slog.Logger) *blockedRows {
	return &blockedRows{skus: newBlockedKeys(log, "sku"), orders: newBlockedKeys(log, "order_no")}
}

// blockedKeys are the blocked rows of one table. It is safe for concurrent use.
type blockedKeys struct {
	log  *slog.Logger
	name string // of the key, in the log

	mu   sync.Mutex
	seen map[string]time.Time // when a flush last found it locked
}

func newBlockedKeys(log *slog.Logger, name string) *blockedKeys {
	return &blockedKeys{log: log, name: name, seen: map[string]time.Time{}}
}

// update records the rows that a flush found locked and free.
func (b *blockedKeys) update(blocked, free []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range free {
		delete(b.seen, key)
	}
	for _, key := range blocked {
		_, known := b.seen[key]
		if !known && len(b.seen) >= maxBlocked {
			return
		}
		b.seen[key] = time.Now()
		if !known {
			b.log.Warn("row is locked by another session, its orders were set aside", b.name, key)
		}
	}
}

// has reports whether one of the keys is recorded as locked.
func (b *blockedKeys) has(keys ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		if seen, ok := b.seen[key]; ok && time.Since(seen) < blockedFor {
			return true
		}
	}
	return false
}

// empty reports whether no key is recorded as locked. It deletes the keys that no flush has checked for blockedFor.
func (b *blockedKeys) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, seen := range b.seen {
		if time.Since(seen) >= blockedFor {
			delete(b.seen, key)
		}
	}
	return len(b.seen) == 0
}

package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
)

// TestRedisLock_ManyLines: an order of ten lines is sold within 3 s each time, though two other instances never stop
// selling single lines of the same hot SKUs.
func TestRedisLock_ManyLines(t *testing.T) {
	t.Parallel()
	const skus, lines, rivals, rounds, bar = 40, 10, 16, 4, 3 * time.Second
	w := replicatest.NewWorld(t)
	for i := range skus {
		w.Has(t, fmt.Sprintf("HOT-%02d", i), 1_000_000)
	}
	ctx, stop := context.WithCancel(t.Context())
	var sold atomic.Int64
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for i, at := range []replicatest.Instance{w.Two, w.Instance(t, w.DSN)} {
		s := realLock(t, at)
		for j := range rivals {
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					r := replicatest.Order(fmt.Sprintf("RIVAL-%d-%d-%d", i, j, n), "redis-lock", replicatest.Line(fmt.Sprintf("HOT-%02d", rand.N(skus)), 1))
					if _, err := s.Reserve(ctx, r); err == nil {
						sold.Add(1)
					} else if ctx.Err() == nil {
						t.Errorf("a rival: %v", err)
						return
					}
				}
			})
		}
	}
	replicatest.Eventually(t, "the rivals sell", func() bool { return sold.Load() > skus })

	s := realLock(t, w.One)
	contended := 0
	var waits []time.Duration
	for i := range rounds {
		var many []stock.Line
		for j := range lines {
			many = append(many, replicatest.Line(fmt.Sprintf("HOT-%02d", j*skus/lines), 1))
		}
		round, cancel := context.WithTimeout(ctx, bar)
		start := time.Now()
		_, err := s.Reserve(round, replicatest.Order(fmt.Sprintf("MANY-%d", i), "redis-lock", many...))
		waits = append(waits, time.Since(start).Round(time.Millisecond))
		cancel()
		if errors.Is(err, stock.ErrContended) {
			contended++
		} else if err != nil {
			t.Errorf("ten lines: %v", err)
		}
	}
	t.Logf("%d lines took %v; meanwhile and before %d single lines were sold", lines, waits, sold.Load())
	if contended > 0 {
		t.Errorf("%d of %d orders of %d lines were contended after %v", contended, rounds, lines, bar)
	}
}

package inventorylab_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/stack/stacktest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/database/dbtest"
)

// cellTime is how long one strategy is measured at a time. Short cells that alternate share the moods of the machine.
const cellTime = 2 * time.Second

// rival is a strategy with a size of its connection pool.
type rival struct {
	strategy string
	pool     int
}

// BenchmarkGroupCommit prints, for each number of SKUs and callers, the orders per second of for-update and group-commit
// and their ratio, measured in turns. One iteration is one turn of each: -benchtime=5x makes five, whose medians count.
// Callers are a closed loop: each reserves one unit of one SKU under a fresh order number, then the next.
func BenchmarkGroupCommit(b *testing.B) {
	rivals := []rival{{"for-update", 64}, {"for-update", 8}, {"group-commit", 64}}
	for _, skus := range []int{1, 100} {
		for _, callers := range []int{1, 64, 256, 1024} {
			b.Run(fmt.Sprintf("skus=%d/callers=%d", skus, callers), func(b *testing.B) {
				speeds := measure(b, rivals, skus, callers)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(speeds[0], "for-update/s")
				b.ReportMetric(speeds[1], "for-update-8/s")
				b.ReportMetric(speeds[2], "group-commit/s")
				b.ReportMetric(speeds[2]/speeds[0], "ratio")
				b.ReportMetric(speeds[2]/speeds[1], "ratio-8")
			})
		}
	}
}

// measure returns the median orders per second of each rival.
func measure(b *testing.B, rivals []rival, skus, callers int) []float64 {
	b.Helper()
	cfg := inventorylab.Config{DSN: dbtest.NewDSN(b, nil), RedisAddrs: []string{stacktest.Redis(b)}, Log: slog.New(slog.DiscardHandler)}
	labs := make([]*inventorylab.Lab, len(rivals))
	for i, r := range rivals {
		cfg.Strategy, cfg.MaxOpen = r.strategy, r.pool
		labs[i] = open(b, cfg)
	}
	for i := range skus {
		if err := labs[0].Stock(b.Context(), sku(i), 1_000_000_000, sku(i)); err != nil {
			b.Fatal(err)
		}
	}
	speeds := make([][]float64, len(rivals))
	var orders atomic.Int64
	for b.Loop() {
		for i, lab := range labs {
			speeds[i] = append(speeds[i], sell(b, lab, &orders, skus, callers))
		}
	}
	medians := make([]float64, len(rivals))
	for i, s := range speeds {
		slices.Sort(s)
		medians[i] = s[len(s)/2]
	}
	return medians
}

func sku(i int) string { return fmt.Sprintf("SKU-%03d", i) }

// sell runs one cell and returns the orders per second.
func sell(b testing.TB, lab *inventorylab.Lab, orders *atomic.Int64, skus, callers int) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	var sold atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range callers {
		wg.Go(func() {
			for time.Since(began) < cellTime {
				no := orders.Add(1)
				_, err := lab.Reserve(ctx, fmt.Sprintf("%026d", no), []inventoryapi.Line{{SKU: sku(int(no) % skus), Quantity: 1}})
				if err != nil && !errors.Is(err, inventoryapi.ErrContended) {
					b.Errorf("order %d: %v", no, err)
					return
				}
				if err == nil {
					sold.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return float64(sold.Load()) / time.Since(began).Seconds()
}

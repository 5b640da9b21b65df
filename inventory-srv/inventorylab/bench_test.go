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

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/database"
	"holdfast/sql"
)

// cellTime is how long one strategy is measured at a time. Short cells that alternate share the moods of the machine.
const cellTime = 2 * time.Second

// rival is a strategy with a size of its connection pool.
type rival struct {
	strategy string
	pool     int
}

// defaultPool is pkg/database's.
const defaultPool = 64

// BenchmarkGroupCommit prints, for each number of SKUs and callers, the orders per second of for-update and
// group-commit and their ratio, measured in turns, on equal pools and against for-update on a small pool, which suits
// it better when there are many callers. One iteration is one turn of each: -benchtime=5x makes five, whose medians
// count. Callers are a closed loop: each reserves one unit of one SKU under a fresh order number, then the next.
func BenchmarkGroupCommit(b *testing.B) {
	rivals := []rival{{"for-update", defaultPool}, {"for-update", 8}, {"group-commit", defaultPool}}
	for _, skus := range []int{1, 100} {
		for _, callers := range []int{64, 256, 1024} {
			b.Run(fmt.Sprintf("skus=%d/callers=%d", skus, callers), func(b *testing.B) {
				speeds := measure(b, rivals, skus, callers)
				b.ReportMetric(speeds[0], "for-update/s")
				b.ReportMetric(speeds[1], "for-update-pool-8/s")
				b.ReportMetric(speeds[2], "group-commit/s")
				b.ReportMetric(speeds[2]/speeds[0], "ratio")
				b.ReportMetric(speeds[2]/speeds[1], "ratio-pool-8")
			})
		}
	}
}

// BenchmarkGroupCommit_Idle prints the latency of a lone caller with group-commit, as a ratio to conditional's.
func BenchmarkGroupCommit_Idle(b *testing.B) {
	speeds := measure(b, []rival{{"conditional", defaultPool}, {"group-commit", defaultPool}}, 1, 1)
	b.ReportMetric(1e6/speeds[0], "conditional-us")
	b.ReportMetric(1e6/speeds[1], "group-commit-us")
	b.ReportMetric(speeds[0]/speeds[1], "ratio")
}

// BenchmarkForUpdate_Pool prints how many connections suit for-update best when 1,024 callers want one SKU.
func BenchmarkForUpdate_Pool(b *testing.B) {
	var rivals []rival
	for _, pool := range []int{2, 4, 8, 16, 32, 64} {
		rivals = append(rivals, rival{"for-update", pool})
	}
	for i, speed := range measure(b, rivals, 1, 1024) {
		b.ReportMetric(speed, fmt.Sprintf("pool-%d/s", rivals[i].pool))
	}
}

// BenchmarkRedisLua prints what redis-lua sells while MySQL follows, beside group-commit, which has it all in MySQL.
func BenchmarkRedisLua(b *testing.B) {
	for _, callers := range []int{64, 256, 1024} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			speeds := measure(b, []rival{{"redis-lua", defaultPool}, {"group-commit", defaultPool}}, 1, callers)
			b.ReportMetric(speeds[0], "redis-lua/s")
			b.ReportMetric(speeds[1], "group-commit/s")
			b.ReportMetric(speeds[1]/speeds[0], "ratio")
		})
	}
}

// BenchmarkLimit prints how many reservations of one line full batches of group-commit write on one connection, in one
// row each and in two tables each, as the version before wrote them.
func BenchmarkLimit(b *testing.B) {
	labs := []*inventorylab.Lab{limitLab(b, false), limitLab(b, true)}
	b.ReportMetric(0, "ns/op") // of a turn, which says nothing
	speeds := make([][]float64, len(labs))
	var orders atomic.Int64
	for b.Loop() {
		for i, lab := range labs {
			speeds[i] = append(speeds[i], fullBatches(b, lab, &orders))
		}
	}
	for _, s := range speeds {
		slices.Sort(s)
	}
	full, compact := speeds[0][len(speeds[0])/2], speeds[1][len(speeds[1])/2]
	b.ReportMetric(full, "two-tables/s")
	b.ReportMetric(compact, "one-row/s")
	b.ReportMetric(compact/full, "ratio")
}

// limitLab opens group-commit on a database of its own.
func limitLab(b *testing.B, compact bool) *inventorylab.Lab {
	b.Helper()
	cfg := inventorylab.Config{
		DSN: dbtest.NewDSN(b, sql.Inventory()), RedisAddrs: []string{stacktest.Redis(b)}, Strategy: "group-commit", Log: slog.New(slog.DiscardHandler),
	}
	db := dbtest.Open(b, cfg.DSN, database.Options{MaxOpen: 1})
	if err := db.Exec("UPDATE reservation_form SET compact = ?", compact).Error; err != nil {
		b.Fatal(err)
	}
	lab := open(b, cfg)
	if err := lab.Stock(b.Context(), "A", 1_000_000_000, "A"); err != nil {
		b.Fatal(err)
	}
	return lab
}

// fullBatches reserves full batches for the time of a cell and returns the orders per second.
func fullBatches(b *testing.B, lab *inventorylab.Lab, orders *atomic.Int64) float64 {
	b.Helper()
	batch := make([]inventoryapi.ReserveOrder, lab.FullBatch())
	sold := 0
	began := time.Now()
	for time.Since(began) < cellTime {
		for i := range batch {
			batch[i] = inventoryapi.ReserveOrder{
				OrderNo: fmt.Sprintf("%026d", orders.Add(1)), Lines: []inventoryapi.Line{{SKU: "A", Quantity: 1}},
			}
		}
		if err := lab.ReserveBatch(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		sold += len(batch)
	}
	return float64(sold) / time.Since(began).Seconds()
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
	for rival, lab := range labs { // each has its own, in the layout that it works on
		for i := range skus {
			if err := lab.Stock(b.Context(), sku(rival, i), 1_000_000_000, sku(rival, i)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(0, "ns/op") // of a turn, which says nothing
	speeds := make([][]float64, len(rivals))
	var orders atomic.Int64
	for b.Loop() {
		for i, lab := range labs {
			speeds[i] = append(speeds[i], sell(b, lab, &orders, func(n int) string { return sku(i, n%skus) }, callers))
		}
	}
	medians := make([]float64, len(rivals))
	for i, s := range speeds {
		slices.Sort(s)
		medians[i] = s[len(s)/2]
	}
	return medians
}

func sku(rival, i int) string { return fmt.Sprintf("R%d-SKU-%03d", rival, i) }

// sell runs one cell and returns the orders per second. sku names the product of the nth order.
func sell(b testing.TB, lab *inventorylab.Lab, orders *atomic.Int64, sku func(n int) string, callers int) float64 {
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
				_, err := lab.Reserve(ctx, fmt.Sprintf("%026d", no), []inventoryapi.Line{{SKU: sku(int(no)), Quantity: 1}})
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

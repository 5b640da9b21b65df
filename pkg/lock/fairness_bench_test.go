package lock_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/stack/stacktest"
)

// BenchmarkFairness lets several processes (Lockers with connections of their own) acquire one key again and again,
// four callers in each, and reports how the leases were shared and how long callers waited. A perfect queue gives each
// process the same share and lets everybody wait for the same time: callers - 1 holds. The figures in doc.go come from
//
//	go test -run '^$' -bench Fairness -benchtime 4000x ./pkg/lock
func BenchmarkFairness(b *testing.B) {
	addr := stacktest.Redis(b)
	for _, processes := range []int{2, 3, 4} {
		for _, hold := range []time.Duration{0, 2 * time.Millisecond} {
			b.Run(fmt.Sprintf("processes=%d/hold=%v", processes, hold), func(b *testing.B) { fairness(b, addr, processes, hold) })
		}
	}
}

func fairness(b *testing.B, addr string, processes int, hold time.Duration) {
	const callers = 4
	s := newServer(b, addr)
	var left atomic.Int64
	left.Store(int64(b.N))
	shares := make([]float64, processes)
	var waits []time.Duration // guarded by the lock under test, like the shares
	var all sync.WaitGroup
	for p := range processes {
		locker := s.locker(b)
		for range callers {
			all.Go(func() {
				for left.Add(-1) >= 0 {
					asked := time.Now()
					lease, err := locker.Acquire(b.Context(), "k")
					if err != nil {
						b.Error(err)
						return
					}
					waits = append(waits, time.Since(asked))
					shares[p] += 100 / float64(b.N)
					time.Sleep(hold)
					if err := lease.Release(b.Context()); err != nil {
						b.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	slices.Sort(waits)
	quantile := func(q float64) float64 {
		return float64(waits[int(q*float64(len(waits)-1))]) / float64(time.Millisecond)
	}
	b.ReportMetric(slices.Min(shares), "%least")
	b.ReportMetric(slices.Max(shares), "%most")
	b.ReportMetric(quantile(0.5), "ms/p50")
	b.ReportMetric(quantile(0.99), "ms/p99")
	b.ReportMetric(quantile(1), "ms/max")
}

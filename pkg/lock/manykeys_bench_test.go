package lock_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
)

// BenchmarkManyKeys measures what a waiter for ten of forty keys costs the callers that want one key each: 64 of them
// in two other processes, which hold it for 5 ms and never stop. It reports their leases per second with and without
// the waiter, the ratio, and the waiter's. One iteration is 2 s of each.
//
//	go test -run '^$' -bench ManyKeys -benchtime 3x ./pkg/lock
func BenchmarkManyKeys(b *testing.B) {
	const keys, many, rivals = 40, 10, 32
	s := newServer(b, stacktest.Redis(b))
	name := func(i int) string { return fmt.Sprintf("k%02d", i) }
	var single, whole atomic.Int64
	var done atomic.Bool
	var all sync.WaitGroup
	loop := func(l *lock.Redis, count *atomic.Int64, end *atomic.Bool, choose func() []string) {
		for !end.Load() {
			lease, err := l.Acquire(b.Context(), choose()...)
			if err != nil {
				b.Error(err)
				return
			}
			time.Sleep(5 * time.Millisecond)
			if err := lease.Release(b.Context()); err != nil {
				b.Error(err)
			}
			count.Add(1)
		}
	}
	for range 2 {
		l := s.locker(b)
		for range rivals {
			all.Go(func() { loop(l, &single, &done, func() []string { return []string{name(rand.N(keys))} }) })
		}
	}
	big := s.locker(b)
	ten := make([]string, many)
	for i := range ten {
		ten[i] = name(i * keys / many)
	}
	var without, with time.Duration
	var alone, beside int64
	measure := func() (int64, time.Duration) {
		before, start := single.Load(), time.Now()
		time.Sleep(2 * time.Second)
		return single.Load() - before, time.Since(start)
	}
	for b.Loop() {
		n, d := measure()
		alone, without = alone+n, without+d
		var end atomic.Bool
		var waiter sync.WaitGroup
		waiter.Go(func() { loop(big, &whole, &end, func() []string { return ten }) })
		n, d = measure()
		beside, with = beside+n, with+d
		end.Store(true)
		waiter.Wait()
	}
	done.Store(true)
	all.Wait()
	a, c := float64(alone)/without.Seconds(), float64(beside)/with.Seconds()
	b.ReportMetric(a, "alone/s")
	b.ReportMetric(c, "beside/s")
	b.ReportMetric(c/a, "ratio")
	b.ReportMetric(float64(whole.Load())/with.Seconds(), "waiter/s")
}

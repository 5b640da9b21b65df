package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// requestTimeout is how long a request waits before it counts as failed.
const requestTimeout = 30 * time.Second

// outcome is what a load has met.
type outcome struct {
	waits  []time.Duration // of the requests that got the lock, sorted
	took   time.Duration   // from the first arrival to the last release
	failed int
}

// wait returns a quantile of the waits, by the nearest rank.
func (o outcome) wait(q float64) time.Duration {
	if len(o.waits) == 0 {
		return 0
	}
	i := int(q*float64(len(o.waits))+0.999999) - 1
	return o.waits[max(0, min(i, len(o.waits)-1))]
}

// poisson returns n arrival times with the mean distance between them; the same seed gives the same times.
func poisson(seed uint64, n int, mean time.Duration) []time.Duration {
	random := rand.New(rand.NewPCG(seed, 1))
	arrivals := make([]time.Duration, n)
	var at time.Duration
	for i := range arrivals {
		at += time.Duration(random.ExpFloat64() * float64(mean))
		arrivals[i] = at
	}
	return arrivals
}

// burst returns n arrivals at once.
func burst(n int) []time.Duration { return make([]time.Duration, n) }

// load sends each request at its time, to the clients in turn, and waits for all of them. A request that the library
// gives up is counted; one that it fails to give back is an error.
func load(ctx context.Context, lockers []locker, arrivals []time.Duration, hold time.Duration) (outcome, error) {
	var mu sync.Mutex
	var out outcome
	var faults []error
	var all sync.WaitGroup
	start := time.Now()
	for i, at := range arrivals {
		if d := time.Until(start.Add(at)); d > 0 {
			time.Sleep(d)
		}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			wait, failed, err := request(ctx, lockers[i%len(lockers)], hold)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				faults = append(faults, err)
			case failed:
				out.failed++
			default:
				out.waits = append(out.waits, wait)
			}
		})
	}
	all.Wait()
	out.took = time.Since(start)
	slices.Sort(out.waits)
	return out, errors.Join(append(faults, ctx.Err())...)
}

// request is one client's visit.
func request(ctx context.Context, l locker, hold time.Duration) (wait time.Duration, failed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	asked := time.Now()
	release, err := l.acquire(ctx)
	if err != nil {
		return 0, true, nil
	}
	wait = time.Since(asked)
	time.Sleep(hold)
	return wait, false, release()
}

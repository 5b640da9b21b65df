package batch_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/pkg/batch"
)

// group is a piece of work of which a part takes the same time for one call as for a thousand.
type group struct{ fixed, each time.Duration }

// crowd is callers that call again a while after each answer.
type crowd struct {
	callers int
	back    time.Duration // until the first one calls again
	apart   time.Duration // until the next one does: they come back through one door
	pause   time.Duration // if not 0, each waits for up to so much longer, by chance
}

// lingered lets the crowd call for 15 s and returns how many calls were answered, and how long a call took on
// average.
func lingered(t *testing.T, work group, c crowd, linger time.Duration) (calls int, latency time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
			time.Sleep(work.fixed + time.Duration(len(b.Calls()))*work.each)
			for _, c := range b.Calls() {
				c.Answer(2*c.Item, nil)
			}
		}, batch.WithLinger(linger))
		defer closed(t, b)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		var running sync.WaitGroup
		var mu sync.Mutex
		door := make(chan struct{}, 1) // not a mutex: time stands still while one waits for it
		chance := rand.New(rand.NewPCG(1, 2))
		for i := range c.callers {
			running.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				for ctx.Err() == nil {
					mu.Lock()
					pause := time.Duration(chance.Float64() * float64(c.pause))
					mu.Unlock()
					time.Sleep(c.back + pause)
					if c.apart > 0 {
						door <- struct{}{}
						time.Sleep(c.apart)
						<-door
					}
					began := time.Now()
					if _, err := b.Do(context.WithoutCancel(ctx), i, 1); err != nil {
						t.Errorf("call: %v", err)
						return
					}
					mu.Lock()
					calls++
					latency += time.Since(began)
					mu.Unlock()
				}
			})
		}
		running.Wait()
		latency /= time.Duration(calls)
	})
	return calls, latency
}

// TestBatcher_Linger: a crowd that calls again at once is served in one batch and not in two halves, where that pays.
// Nobody waits for callers that do not come back, and a crowd for which the halves are better keeps them.
func TestBatcher_Linger(t *testing.T) {
	t.Parallel()
	order := group{fixed: 11500 * time.Microsecond, each: 70 * time.Microsecond}
	for _, tt := range []struct {
		name        string
		work        group
		crowd       crowd
		least, most float64 // calls with linger, as a ratio to those without
		slower      float64 // latency with linger, as a ratio: at most
	}{
		{"64 callers", order, crowd{callers: 64, back: 1500 * time.Microsecond, apart: 80 * time.Microsecond}, 1.1, 9, 0.95},
		{"two callers", order, crowd{callers: 2, back: time.Millisecond}, 1.4, 9, 0.75},
		{"one caller", order, crowd{callers: 1, back: time.Millisecond}, 1, 1, 1},
		{"256 callers", order, crowd{callers: 256, back: 1500 * time.Microsecond, apart: 150 * time.Microsecond}, 0.97, 1.1, 1.05},
		{"256 callers that take a second", order, crowd{callers: 256, pause: 2 * time.Second}, 0.99, 1.01, 1.1},
		{"20 callers that take a second", order, crowd{callers: 20, pause: 2 * time.Second}, 0.99, 1.01, 1.1},
		{"work without a fixed part", group{each: time.Millisecond}, crowd{callers: 16, back: 500 * time.Microsecond, apart: 100 * time.Microsecond}, 0.95, 1.1, 1.1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			without, plain := lingered(t, tt.work, tt.crowd, 0)
			with, waited := lingered(t, tt.work, tt.crowd, 25*time.Millisecond)
			ratio, slower := float64(with)/float64(without), float64(waited)/float64(plain)
			t.Logf("%d and %d calls, %.2f times; %v and %v, %.2f times", without, with, ratio, plain, waited, slower)
			if ratio < tt.least || ratio > tt.most || slower > tt.slower {
				t.Errorf("%.2f times the calls, want %.2f to %.2f; %.2f times the latency, want at most %.2f", ratio, tt.least, tt.most, slower, tt.slower)
			}
		})
	}
}

// TestBatcher_Linger_forgets: who stays behind when the others leave waits for them a few times, no longer than the
// option says, and then never again.
func TestBatcher_Linger_forgets(t *testing.T) {
	t.Parallel()
	const took, most, back = 20 * time.Millisecond, 10 * time.Millisecond, time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
			time.Sleep(took)
			for _, c := range b.Calls() {
				b.Deliver(c, 2*c.Item, nil)
			}
		}, batch.WithLinger(most))
		var running sync.WaitGroup
		caller := func(calls int, each func(latency time.Duration)) {
			running.Go(func() {
				for range calls {
					began := time.Now()
					if _, err := b.Do(t.Context(), 1, 1); err != nil {
						t.Errorf("call: %v", err)
					}
					each(time.Since(began))
					time.Sleep(back)
				}
			})
		}
		var latencies []time.Duration
		caller(200, func(latency time.Duration) { latencies = append(latencies, latency) })
		time.Sleep(5 * time.Millisecond) // the second caller is in the other half
		caller(100, func(time.Duration) {})
		running.Wait()
		closed(t, b)
		if got := latencies[90]; got != took {
			t.Errorf("with company a call took %v, want %v: both are in one batch", got, took)
		}
		if got := slices.Max(latencies[90:]); got > took+most {
			t.Errorf("a call took %v, want at most %v", got, took+most)
		}
		if got := slices.Max(latencies[150:]); got != took {
			t.Errorf("a call without company took %v, want %v", got, took)
		}
	})
}

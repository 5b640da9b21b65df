package admit_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func acquire(tb testing.TB, l *admit.Limiter) admit.Slot {
	tb.Helper()
	s, err := l.Acquire(context.Background())
	if err != nil {
		tb.Fatalf("acquire: %v", err)
	}
	return s
}

func wantOverloaded(tb testing.TB, err error) {
	tb.Helper()
	f := fault.From(err)
	if !errors.Is(err, admit.ErrOverloaded) || f.Kind != fault.Limited || f.Ambiguous {
		tb.Errorf("got %v, want overloaded, kind limited, not executed", err)
	}
}

func TestLimiter_nilAdmitsEverything(t *testing.T) {
	t.Parallel()
	var l *admit.Limiter
	s := acquire(t, l)
	s.Release(admit.Served)
}

func TestLimiter_Acquire_waitsForASlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := admit.New(admit.Config{Max: 1})
		first := acquire(t, l)
		var got atomic.Bool
		go func() {
			s := acquire(t, l)
			got.Store(true)
			s.Release(admit.Served)
		}()
		synctest.Wait()
		if got.Load() {
			t.Fatal("two requests hold the only slot")
		}
		time.Sleep(20 * time.Millisecond)
		first.Release(admit.Served)
		synctest.Wait()
		if !got.Load() {
			t.Error("the slot was returned and nobody got it")
		}
	})
}

func TestLimiter_Acquire_firstComeFirstServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := admit.New(admit.Config{Max: 4})
		var held []admit.Slot
		for range 4 {
			held = append(held, acquire(t, l))
		}
		var mu sync.Mutex
		var order []int
		for i := range 3 {
			go func() {
				s := acquire(t, l)
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				s.Release(admit.Served)
			}()
			synctest.Wait()
		}
		for _, s := range held {
			s.Release(admit.Served)
			synctest.Wait()
		}
		if len(order) != 3 || order[0] != 0 || order[1] != 1 || order[2] != 2 {
			t.Errorf("served in the order %v", order)
		}
	})
}

// A request that finds the slots stuck waits for MaxWait, and newcomers behind it are refused at once.
func TestLimiter_Acquire_nothingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := admit.New(admit.Config{Max: 1, Target: 50 * time.Millisecond})
		held := acquire(t, l)
		defer held.Release(admit.Served)
		begin := time.Now()
		_, err := l.Acquire(t.Context())
		wantOverloaded(t, err)
		if took := time.Since(begin); took != 200*time.Millisecond {
			t.Errorf("refused after %v, want MaxWait", took)
		}
	})
}

func TestLimiter_Acquire_queueIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := admit.New(admit.Config{Max: 3})
		for range 3 {
			acquire(t, l)
		}
		for range 3 {
			go func() { _, _ = l.Acquire(t.Context()) }()
		}
		synctest.Wait()
		begin := time.Now()
		_, err := l.Acquire(t.Context())
		wantOverloaded(t, err)
		if took := time.Since(begin); took != 0 {
			t.Errorf("refused after %v, want at once", took)
		}
		time.Sleep(time.Second)
	})
}

func TestLimiter_Acquire_callerGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := admit.New(admit.Config{Max: 1})
		held := acquire(t, l)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := l.Acquire(ctx)
		if f := fault.From(err); f == nil || f.Kind != fault.Timeout || f.Ambiguous {
			t.Errorf("got %v, want a timeout that was not executed", err)
		}
		held.Release(admit.Served)
		acquire(t, l).Release(admit.Served) // the slot did not go to the waiter that left
	})
}

// A deadline that is nearer than the recent service time is refused at once, while something is in flight; an idle
// limiter tries, because it has no other way to renew the measurement.
func TestLimiter_Acquire_deadlineCannotBeMet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := admit.New(admit.Config{Max: 4})
		for range 10 {
			s := acquire(t, l)
			time.Sleep(100 * time.Millisecond)
			s.Release(admit.Served)
		}
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		probe, err := l.Acquire(short)
		if err != nil {
			t.Fatalf("an idle limiter refused: %v", err)
		}
		_, err = l.Acquire(short)
		wantOverloaded(t, err)
		long, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		other, err := l.Acquire(long)
		if err != nil {
			t.Fatalf("there was time enough: %v", err)
		}
		other.Release(admit.Served)
		probe.Release(admit.Served)
	})
}

// A fixed limiter bounds what is in flight, and nothing else: neither slow requests nor short deadlines are refused
// while there is a slot.
func TestLimiter_fixed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := admit.New(admit.Config{Max: 300, Fixed: true})
		for range 5 {
			s := acquire(t, l)
			time.Sleep(2 * time.Second)
			s.Release(admit.Served)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		for range 300 {
			s, err := l.Acquire(ctx)
			if err != nil {
				t.Fatalf("a slot was free: %v", err)
			}
			defer s.Release(admit.Served)
		}
		_, err := l.Acquire(ctx)
		wantOverloaded(t, err)
	})
}

// wantLimit fails unless the metric has this limit.
func wantLimit(t *testing.T, r *prometheus.Registry, want string) {
	t.Helper()
	want = "# HELP admit_limit Slots there are now.\n# TYPE admit_limit gauge\nadmit_limit{kind=\"placing\"} " + want + "\n"
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "admit_limit"); err != nil {
		t.Error(err)
	}
}

// shop is a service that completes rate requests a second, however many are in flight: what each of them takes longer
// is their number.
type shop struct {
	mu   sync.Mutex
	free time.Time
	rate int
}

func (s *shop) serve() {
	s.mu.Lock()
	now := time.Now()
	if s.free.Before(now) {
		s.free = now
	}
	s.free = s.free.Add(time.Second / time.Duration(s.rate))
	end := s.free
	s.mu.Unlock()
	time.Sleep(time.Until(end))
}

type tally struct {
	served, refused, late atomic.Int64

	mu    sync.Mutex
	worst time.Duration // wait and service
	sum   time.Duration // of all that got a slot
}

// offer sends requests at a constant rate for d, with a deadline each.
func offer(t *testing.T, l *admit.Limiter, s *shop, rate int, d, deadline time.Duration) *tally {
	t.Helper()
	var out tally
	var running sync.WaitGroup
	for range int(d.Seconds() * float64(rate)) {
		running.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			begin := time.Now()
			slot, err := l.Acquire(ctx)
			if err != nil {
				out.refused.Add(1)
				return
			}
			s.serve()
			slot.Release(admit.Served)
			took := time.Since(begin)
			out.mu.Lock()
			out.worst = max(out.worst, took)
			out.sum += took
			out.mu.Unlock()
			if took > deadline {
				out.late.Add(1)
				return
			}
			out.served.Add(1)
		})
		time.Sleep(time.Second / time.Duration(rate))
	}
	running.Wait()
	return &out
}

// TestLimiter_overload offers ten times of what a service can do, to a slow service and to a fast one, with the same
// settings: nearly all of its capacity is still used, and what is served is served in time.
func TestLimiter_overload(t *testing.T) {
	t.Parallel()
	for name, capacity := range map[string]int{"slow": 60, "of two cores": 700, "fast": 1500} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const seconds = 10
				l := admit.New(admit.Config{})
				got := offer(t, l, &shop{rate: capacity}, 10*capacity, seconds*time.Second, 4*time.Second)
				if want := int64(capacity * seconds * 9 / 10); got.served.Load() < want {
					t.Errorf("served %d of a capacity of %d", got.served.Load(), capacity*seconds)
				}
				// The first requests find all of Max free; on the slow service they are too many, until the limit has followed.
				if late := got.late.Load(); late > 64 {
					t.Errorf("%d requests were late", late)
				}
				t.Logf("served %d, refused %d, late %d, worst %v", got.served.Load(), got.refused.Load(), got.late.Load(), got.worst)
			})
		})
	}
}

// call has each of callers call again and again for d, with a pause after a refusal. It returns the refusals of the
// last second.
func call(l *admit.Limiter, s *shop, callers int, d time.Duration) (refused int64) {
	var last atomic.Int64
	var running sync.WaitGroup
	begin := time.Now()
	for range callers {
		running.Go(func() {
			for time.Since(begin) < d {
				slot, err := l.Acquire(context.Background())
				if err != nil {
					if d-time.Since(begin) < time.Second {
						last.Add(1)
					}
					time.Sleep(50 * time.Millisecond)
					continue
				}
				s.serve()
				slot.Release(admit.Served)
			}
		})
	}
	running.Wait()
	return last.Load()
}

// A fast service gets more slots than the limiter starts with. After a pause it starts again: a service that has become
// slow meanwhile would answer few of Max in time.
func TestLimiter_start(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewRegistry()
		l := admit.New(admit.Config{Kind: "placing", Metrics: admit.NewMetrics(r)})
		s := &shop{rate: 5000}
		wantLimit(t, r, "256")
		if refused := call(l, s, 1024, 4*time.Second); refused > 0 {
			t.Errorf("the service answers 1024 callers in 205ms, and %d were refused", refused)
		}
		wantLimit(t, r, "1024")
		time.Sleep(time.Second)
		l.Refuses() // begins the next interval
		wantLimit(t, r, "256")
		s.rate = 60
		if got := offer(t, l, s, 600, 5*time.Second, 4*time.Second); got.late.Load() > 100 {
			t.Errorf("%d requests were late, with 1024 slots there would be 644", got.late.Load())
		}
	})
}

// A pause does not make a service faster: what was learned is not forgotten at once.
func TestLimiter_pause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := admit.New(admit.Config{})
		s := &shop{rate: 30}
		offer(t, l, s, 300, 15*time.Second, 4*time.Second)
		time.Sleep(5 * time.Second)
		got := offer(t, l, s, 300, 5*time.Second, 4*time.Second)
		if got.late.Load() > 0 {
			t.Errorf("after the pause %d requests were late, the slowest took %v", got.late.Load(), got.worst)
		}
	})
}

// After the limit has followed a slow service, what is served takes the target's time and a short wait, not the
// deadline's.
func TestLimiter_limitFollowsTheServiceTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewRegistry()
		l := admit.New(admit.Config{Kind: "placing", Metrics: admit.NewMetrics(r)})
		s := &shop{rate: 200}
		offer(t, l, s, 2000, 10*time.Second, 4*time.Second)
		got := offer(t, l, s, 2000, 5*time.Second, 4*time.Second)
		if worst := got.worst; worst > 900*time.Millisecond || got.late.Load() > 0 {
			t.Errorf("the slowest took %v, %d were late", worst, got.late.Load())
		}
		time.Sleep(time.Second)
		s.rate = 5000
		if got := offer(t, l, s, 1000, 5*time.Second, 4*time.Second); got.refused.Load() > 0 {
			t.Errorf("the service is fast again, and %d were refused", got.refused.Load())
		}
	})
}

// A burst waits; what waits all the time is a queue that adds delay and absorbs nothing, and is not let in.
func TestLimiter_standingQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := admit.New(admit.Config{Max: 40})
		s := &shop{rate: 200} // 200 ms with 40 in flight
		offer(t, l, s, 600, 5*time.Second, 4*time.Second)
		got := offer(t, l, s, 600, 5*time.Second, 4*time.Second)
		if mean := got.sum / time.Duration(got.served.Load()); mean > 300*time.Millisecond {
			t.Errorf("mean time %v, want the service time of 200ms and a wait of little more than Target, 50ms", mean)
		}
		t.Logf("mean %v", got.sum/time.Duration(got.served.Load()))
	})
}

// A refusal by a service behind this one makes the limit fall, by the share of the requests that were refused.
func TestLimiter_Release_overloadBehind(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		served, refused int // in each of two intervals
		want            string
	}{
		"all refused":          {0, 4, "25"},
		"three of ten refused": {7, 3, "49"},
		"one of fifty":         {49, 1, "81"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := prometheus.NewRegistry()
				l := admit.New(admit.Config{Kind: "placing", Max: 100, Metrics: admit.NewMetrics(r)})
				for range 2 {
					var slots []admit.Slot
					for range c.served + c.refused {
						slots = append(slots, acquire(t, l))
					}
					time.Sleep(100 * time.Millisecond)
					for i, s := range slots {
						if i < c.refused {
							s.Release(admit.Overload)
						} else {
							s.Release(admit.Served)
						}
					}
					time.Sleep(150 * time.Millisecond)
					acquire(t, l).Release(admit.Malformed) // begins the next interval
				}
				wantLimit(t, r, c.want)
			})
		})
	}
}

// Refuses is true only when Acquire would refuse at once, and takes no slot.
func TestLimiter_Refuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := admit.New(admit.Config{Max: 1, MaxWait: 50 * time.Millisecond})
		first := acquire(t, l)
		time.Sleep(100 * time.Millisecond)
		first.Release(admit.Served)
		if l.Refuses() {
			t.Error("it refuses with a free slot")
		}
		second := acquire(t, l)
		if !l.Refuses() {
			t.Error("it does not refuse although a slot takes 100ms to become free and a wait may take 50ms")
		}
		_, err := l.Acquire(t.Context())
		wantOverloaded(t, err)
		second.Release(admit.Served)
		if l.Refuses() {
			t.Error("it refuses after the slot became free")
		}
	})
}

// A malformed request is answered at once. Its time must not have the limiter believe that orders are fast.
func TestLimiter_Release_malformed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := admit.New(admit.Config{Max: 4})
		for range 5 {
			s := acquire(t, l)
			time.Sleep(100 * time.Millisecond)
			s.Release(admit.Served)
		}
		held := acquire(t, l)
		for range 1000 {
			acquire(t, l).Release(admit.Malformed)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := l.Acquire(ctx)
		wantOverloaded(t, err)
		held.Release(admit.Served)
	})
}

package batch_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/batch"
)

// slow is a flush that takes a second, doubles numbers and remembers its batches.
type slow struct {
	mu      sync.Mutex
	batches [][]int
}

func (s *slow) flush(ctx context.Context, b *batch.Batch[int, int]) {
	var items []int
	for _, c := range b.Calls() {
		items = append(items, c.Item)
		c.Answer(2*c.Item, nil)
	}
	s.mu.Lock()
	s.batches = append(s.batches, items)
	s.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
}

// call starts Do in a goroutine and waits until it is queued, so that calls arrive in a known order.
func call(t *testing.T, wg *sync.WaitGroup, b *batch.Batcher[int, int], ctx context.Context, item, weight int, check func(int, error)) {
	t.Helper()
	wg.Go(func() { check(b.Do(ctx, item, weight)) })
	synctest.Wait()
}

func doubled(t *testing.T, item int) func(int, error) {
	return func(got int, err error) {
		if err != nil || got != 2*item {
			t.Errorf("call %d: got %d, %v; want %d", item, got, err, 2*item)
		}
	}
}

func failsWith(t *testing.T, item int, want error) func(int, error) {
	return func(got int, err error) {
		if !errors.Is(err, want) || got != 0 {
			t.Errorf("call %d: got %d, %v; want %v", item, got, err, want)
		}
	}
}

func TestBatcher_Do_ArrivalsFormTheNextBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s slow
		b := batch.New(s.flush)
		defer closed(t, b)
		var wg sync.WaitGroup
		began := time.Now()
		for i := range 5 {
			call(t, &wg, b, t.Context(), i, 1, doubled(t, i))
		}
		wg.Wait()
		if diff := cmp.Diff([][]int{{0}, {1, 2, 3, 4}}, s.batches); diff != "" {
			t.Errorf("the batches (-want +got):\n%s", diff)
		}
		// An idle batcher starts at once and adds no waiting of its own: two flushes of a second are all there is.
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestBatcher_Do_MaxWeight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s slow
		b := batch.New(s.flush, batch.WithMaxWeight(10))
		defer closed(t, b)
		var wg sync.WaitGroup
		for i, weight := range []int{1, 4, 6, 1, 25, 3, 7, 1} { // the first is flushed at once
			call(t, &wg, b, t.Context(), i, weight, doubled(t, i))
		}
		wg.Wait()
		if diff := cmp.Diff([][]int{{0}, {1, 2}, {3}, {4}, {5, 6}, {7}}, s.batches); diff != "" {
			t.Errorf("the batches (-want +got):\n%s", diff)
		}
	})
}

// TestBatcher_Do_Everybody has many callers come and go on real time: each gets its own answer, no two flushes run at
// the same time, and the calls of one caller are executed in its order.
func TestBatcher_Do_Everybody(t *testing.T) {
	t.Parallel()
	const callers, each = 64, 200
	var busy sync.Mutex
	last := map[int]int{}
	flushes := 0
	b := batch.New(func(_ context.Context, b *batch.Batch[[2]int, string]) {
		if !busy.TryLock() {
			t.Error("two flushes at the same time")
			return
		}
		defer busy.Unlock()
		flushes++
		for _, c := range b.Calls() {
			if c.Item[1] != last[c.Item[0]]+1 {
				t.Errorf("caller %d: call %d follows %d", c.Item[0], c.Item[1], last[c.Item[0]])
			}
			last[c.Item[0]] = c.Item[1]
			c.Answer(fmt.Sprint(c.Item), nil)
		}
		runtime.Gosched()
	}, batch.WithMaxWeight(20))
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := 1; i <= each; i++ {
				item := [2]int{caller, i}
				if got, err := b.Do(t.Context(), item, 1); err != nil || got != fmt.Sprint(item) {
					t.Errorf("%v: got %q, %v", item, got, err)
				}
			}
		})
	}
	wg.Wait()
	closed(t, b)
	if most := callers * each; flushes > most || flushes < most/20 {
		t.Errorf("%d flushes for %d calls of which 20 fit into one", flushes, most)
	}
}

// TestBatcher_Do_AllWhoWereAnswered is about the callers of a closed loop: they come back before the next flush begins,
// and not one of them alone and then the others.
func TestBatcher_Do_AllWhoWereAnswered(t *testing.T) {
	t.Parallel()
	const callers, rounds = 32, 20
	var sizes []int
	b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
		sizes = append(sizes, len(b.Calls()))
		time.Sleep(2 * time.Millisecond) // the work
		for _, c := range b.Calls() {
			c.Answer(c.Item, nil)
		}
	})
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for range rounds {
				_, _ = b.Do(t.Context(), i, 1)
			}
		})
	}
	wg.Wait()
	closed(t, b)
	t.Logf("%d flushes: %v", len(sizes), sizes)
	if len(sizes) > rounds*9/5 { // twice as many would be one alone and the others, in turns
		t.Errorf("%d rounds of %d callers took %d flushes", rounds, callers, len(sizes))
	}
}

func TestBatcher_Do_NoAnswer(t *testing.T) {
	t.Parallel()
	b := batch.New(func(context.Context, *batch.Batch[int, int]) {})
	defer closed(t, b)
	_, err := b.Do(t.Context(), 1, 1)
	failsWith(t, 1, batch.ErrNoAnswer)(0, err)
}

func TestBatcher_Do_ErrorsAreEachOnes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		odd := errors.New("odd")
		b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
			time.Sleep(time.Second)
			for _, c := range b.Calls() {
				if c.Item%2 == 1 {
					c.Answer(0, odd)
					continue
				}
				c.Answer(-1, odd)
				c.Answer(2*c.Item, nil) // the last answer counts
			}
		})
		defer closed(t, b)
		var wg sync.WaitGroup
		call(t, &wg, b, t.Context(), 0, 1, doubled(t, 0))
		call(t, &wg, b, t.Context(), 1, 1, failsWith(t, 1, odd))
		call(t, &wg, b, t.Context(), 2, 1, doubled(t, 2))
		wg.Wait()
	})
}

// TestBatcher_Panics has a flush panic and another end its goroutine, with callers in it and callers behind it.
func TestBatcher_Panics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
			time.Sleep(time.Second)
			for _, c := range b.Calls() {
				c.Answer(2*c.Item, nil)
				switch c.Item {
				case 1:
					panic("one")
				case 3:
					runtime.Goexit()
				}
			}
		}, batch.WithMaxWeight(2))
		defer closed(t, b)
		var wg sync.WaitGroup
		call(t, &wg, b, t.Context(), 0, 2, doubled(t, 0))
		panicked := func(value any) func(int, error) {
			return func(got int, err error) {
				p, ok := errors.AsType[*batch.PanicError](err)
				if !ok || got != 0 || p.Value != value || (value != nil) != (len(p.Stack) > 0) || err.Error() == "" {
					t.Errorf("got %d, %v; want a PanicError of %v", got, err, value)
				}
			}
		}
		for i := range 2 {
			call(t, &wg, b, t.Context(), i, 1, panicked("one"))
		}
		for i := range 2 {
			call(t, &wg, b, t.Context(), i+2, 1, panicked(nil))
		}
		call(t, &wg, b, t.Context(), 4, 1, doubled(t, 4))
		wg.Wait()
	})
}

func TestBatcher_Close(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s slow
		b := batch.New(s.flush, batch.WithMaxWeight(1))
		var wg sync.WaitGroup
		for i := range 3 {
			call(t, &wg, b, t.Context(), i, 1, doubled(t, i))
		}
		began := time.Now()
		for range 2 {
			wg.Go(func() {
				closed(t, b)
				if took := time.Since(began); took != 3*time.Second || len(s.batches) != 3 {
					t.Errorf("closed after %v and %d flushes; want all three that were queued", took, len(s.batches))
				}
			})
		}
		synctest.Wait()
		call(t, &wg, b, t.Context(), 9, 1, failsWith(t, 9, batch.ErrClosed))
		wg.Wait()
		closed(t, b)
	})
}

func TestNew_Panics(t *testing.T) {
	t.Parallel()
	for name, option := range map[string]batch.Option{
		"no weight": batch.WithMaxWeight(0), "no time": batch.WithTimeout(0),
		"negative patience": batch.WithPatience(-1), "nil observer": batch.WithObserver(nil),
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: New did not panic", name)
				}
			}()
			batch.New(func(context.Context, *batch.Batch[int, int]) {}, option)
		}()
	}
}

type observed struct{ flushes []batch.Flush }

func (o *observed) Flushed(f batch.Flush) { o.flushes = append(o.flushes, f) }

func TestBatcher_Observer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s slow
		var o observed
		b := batch.New(s.flush, batch.WithObserver(&o))
		var wg sync.WaitGroup
		call(t, &wg, b, t.Context(), 1, 3, doubled(t, 1))
		time.Sleep(400 * time.Millisecond)
		call(t, &wg, b, t.Context(), 2, 4, doubled(t, 2))
		call(t, &wg, b, t.Context(), 3, 5, doubled(t, 3))
		wg.Wait()
		closed(t, b)
		want := []batch.Flush{
			{Calls: 1, Weight: 3, Took: time.Second},
			{Calls: 2, Weight: 9, Queued: 600 * time.Millisecond, Took: time.Second},
		}
		if diff := cmp.Diff(want, o.flushes); diff != "" {
			t.Errorf("the flushes (-want +got):\n%s", diff)
		}
	})
}

func closed[T, R any](t *testing.T, b *batch.Batcher[T, R]) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

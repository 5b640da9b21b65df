package batch_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/batch"
)

// within returns a context that ends after d of the bubble's time.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestBatcher_Do_LeavesTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s slow
		b := batch.New(s.flush, batch.WithPatience(time.Hour))
		defer closed(t, b)
		var wg sync.WaitGroup
		began := time.Now()
		call(t, &wg, b, t.Context(), 0, 1, doubled(t, 0))
		call(t, &wg, b, t.Context(), 1, 1, doubled(t, 1))
		call(t, &wg, b, within(t, 300*time.Millisecond), 2, 1, func(got int, err error) {
			failsWith(t, 2, batch.ErrWithdrawn)(got, err)
			failsWith(t, 2, context.DeadlineExceeded)(got, err)
			if took := time.Since(began); took != 300*time.Millisecond {
				t.Errorf("a caller who left the queue waited %v", took)
			}
		})
		call(t, &wg, b, t.Context(), 3, 1, doubled(t, 3))
		wg.Wait()
		if diff := cmp.Diff([][]int{{0}, {1, 3}}, s.batches); diff != "" {
			t.Errorf("the batches (-want +got):\n%s", diff)
		}
	})
}

func TestBatcher_Do_HasLeftBefore(t *testing.T) {
	t.Parallel()
	var s slow
	b := batch.New(s.flush)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("tired")
	cancel(why)
	_, err := b.Do(ctx, 1, 1)
	failsWith(t, 1, batch.ErrWithdrawn)(0, err)
	failsWith(t, 1, why)(0, err)
	closed(t, b)
	_, err = b.Do(ctx, 1, 1) // it is not even asked whether the batcher is closed
	failsWith(t, 1, batch.ErrWithdrawn)(0, err)
	if len(s.batches) != 0 {
		t.Errorf("it was executed: %v", s.batches)
	}
}

// TestBatcher_Do_GivesUp has callers give up in a flush that never opened its batch: they wait for as long as their
// patience lasts, and the outcome that they get is true.
func TestBatcher_Do_GivesUp(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		patience, waits time.Duration
		check           func(*testing.T, int) func(int, error)
	}{
		"no patience": {0, 100 * time.Millisecond, unanswered},
		"too little":  {500 * time.Millisecond, 600 * time.Millisecond, unanswered},
		"enough":      {2 * time.Second, time.Second, doubled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var s slow
				b := batch.New(s.flush, batch.WithPatience(c.patience))
				defer closed(t, b)
				began := time.Now()
				got, err := b.Do(within(t, 100*time.Millisecond), 1, 1)
				c.check(t, 1)(got, err)
				if took := time.Since(began); took != c.waits {
					t.Errorf("it waited %v, want %v", took, c.waits)
				}
			})
		})
	}
}

func unanswered(t *testing.T, item int) func(int, error) {
	return func(got int, err error) {
		failsWith(t, item, batch.ErrUnanswered)(got, err)
		failsWith(t, item, context.DeadlineExceeded)(got, err)
	}
}

// TestBatch_Open has three callers in a flush that waits a second for a lock, then works for a second. A call whose
// caller gives up during the wait is not executed, and the others are not disturbed.
func TestBatch_Open(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var executed []int
		b := batch.New(func(ctx context.Context, b *batch.Batch[int, int]) {
			calls := b.Open(b.Calls())
			time.Sleep(time.Second)
			calls = b.Seal(calls)
			if ctx.Err() != nil {
				t.Error("somebody's leaving ended the flush")
			}
			time.Sleep(time.Second)
			for _, c := range calls {
				executed = append(executed, c.Item)
				c.Answer(2*c.Item, nil)
			}
		}, batch.WithPatience(time.Minute))
		defer closed(t, b)
		var wg sync.WaitGroup
		call(t, &wg, b, t.Context(), 0, 1, doubled(t, 0)) // a flush of its own: the others form the next
		began := time.Now()
		call(t, &wg, b, within(t, 2500*time.Millisecond), 1, 1, func(got int, err error) {
			failsWith(t, 1, batch.ErrWithdrawn)(got, err)
			if took := time.Since(began); took != 2500*time.Millisecond {
				t.Errorf("who left an open batch waited %v", took)
			}
		})
		call(t, &wg, b, within(t, 3500*time.Millisecond), 2, 1, doubled(t, 2)) // too late to leave: gets its answer
		call(t, &wg, b, t.Context(), 3, 1, doubled(t, 3))
		wg.Wait()
		if diff := cmp.Diff([]int{0, 2, 3}, executed); diff != "" {
			t.Errorf("executed (-want +got):\n%s", diff)
		}
	})
}

// TestBatch_OpenAgain has a flush undo its first attempt. A caller that left before that
// attempt did anything is not executed by the second one. A caller that gave up during it gets "not executed", whatever
// answer had been staged.
func TestBatch_OpenAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var second []int
		b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
			calls := b.Open(b.Calls())
			time.Sleep(time.Second)
			for _, c := range b.Seal(calls) {
				c.Answer(-1, nil)
			}
			time.Sleep(time.Second) // and then it is rolled back
			for _, c := range b.Seal(b.Open(b.Calls())) {
				second = append(second, c.Item)
				c.Answer(2*c.Item, nil)
			}
			for _, c := range b.Calls() {
				if c.Item == 1 || c.Item == 2 {
					c.Answer(-2, nil) // must not touch what its caller reads
				}
			}
		}, batch.WithPatience(time.Minute))
		defer closed(t, b)
		var wg sync.WaitGroup
		call(t, &wg, b, t.Context(), 0, 1, doubled(t, 0)) // two seconds of its own
		call(t, &wg, b, within(t, 2500*time.Millisecond), 1, 1, failsWith(t, 1, batch.ErrWithdrawn))
		call(t, &wg, b, within(t, 3500*time.Millisecond), 2, 1, func(got int, err error) {
			failsWith(t, 2, batch.ErrWithdrawn)(got, err)
			failsWith(t, 2, context.DeadlineExceeded)(got, err)
		})
		call(t, &wg, b, t.Context(), 3, 1, doubled(t, 3))
		wg.Wait()
		if diff := cmp.Diff([]int{0, 3}, second); diff != "" {
			t.Errorf("executed (-want +got):\n%s", diff)
		}
	})
}

// TestBatch_AllLeft has all callers leave: the flush's context ends, and the next caller does not wait for that flush.
func TestBatch_AllLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := batch.New(func(ctx context.Context, b *batch.Batch[int, int]) {
			calls := b.Open(b.Calls())
			if calls[0].Item == 1 {
				<-ctx.Done()
			}
			for _, c := range b.Seal(calls) {
				c.Answer(2*c.Item, nil)
			}
		}, batch.WithTimeout(time.Hour))
		defer closed(t, b)
		var wg sync.WaitGroup
		began := time.Now()
		call(t, &wg, b, within(t, time.Second), 1, 1, failsWith(t, 1, batch.ErrWithdrawn))
		call(t, &wg, b, t.Context(), 2, 1, doubled(t, 2))
		wg.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("the next caller waited %v", took)
		}
	})
}

func TestBatcher_Timeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := batch.New(func(ctx context.Context, b *batch.Batch[int, int]) {
			<-ctx.Done()
			for _, c := range b.Calls() {
				c.Answer(0, ctx.Err())
			}
		}, batch.WithTimeout(3*time.Second))
		defer closed(t, b)
		began := time.Now()
		got, err := b.Do(t.Context(), 1, 1)
		failsWith(t, 1, context.DeadlineExceeded)(got, err)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the flush's time was %v", took)
		}
	})
}

// TestBatcher_Leaving has many callers give up at any moment, in flushes that open, seal and undo. Each call is
// executed exactly if its caller was answered, or got ErrUnanswered.
func TestBatcher_Leaving(t *testing.T) {
	t.Parallel()
	const callers, each = 32, 100
	var mu sync.Mutex
	executed := map[int]bool{}
	b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
		calls := b.Calls()
		for attempt := range 3 {
			calls = b.Open(calls)
			time.Sleep(50 * time.Microsecond)
			calls = b.Seal(calls)
			for _, c := range calls {
				c.Answer(2*c.Item, nil)
			}
			time.Sleep(50 * time.Microsecond)
			if attempt < len(calls)%3 {
				continue // undone
			}
			break
		}
		mu.Lock()
		defer mu.Unlock()
		for _, c := range calls {
			executed[c.Item] = true
		}
	}, batch.WithPatience(100*time.Microsecond))
	type told struct{ done, not, unknown int }
	var sum told
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			var mine told
			for i := range each {
				item := caller*each + i
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(item%40)*20*time.Microsecond)
				got, err := b.Do(ctx, item, 1)
				cancel()
				mu.Lock()
				was := executed[item]
				mu.Unlock()
				switch {
				case err == nil && was && got == 2*item:
					mine.done++
				case errors.Is(err, batch.ErrWithdrawn) && !was:
					mine.not++
				case errors.Is(err, batch.ErrUnanswered):
					mine.unknown++
				default:
					t.Errorf("call %d: got %d, %v; executed: %v", item, got, err, was)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			sum.done, sum.not, sum.unknown = sum.done+mine.done, sum.not+mine.not, sum.unknown+mine.unknown
		})
	}
	wg.Wait()
	closed(t, b)
	t.Logf("executed %d, withdrawn %d, unknown %d", sum.done, sum.not, sum.unknown)
	if sum.not == 0 || sum.done == 0 {
		t.Error("this run has shown nothing")
	}
}

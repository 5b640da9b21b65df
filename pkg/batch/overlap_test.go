package batch_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/batch"
)

// TestBatcher_Overlap: a flush that takes long lets the next begin, and one that is quick does not.
func TestBatcher_Overlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var mu sync.Mutex
		begins := map[int]time.Duration{}
		b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
			mu.Lock()
			begins[b.Calls()[0].Item] = time.Since(began)
			mu.Unlock()
			for _, c := range b.Calls() {
				time.Sleep(time.Duration(c.Item) * time.Millisecond)
				c.Answer(2*c.Item, nil)
			}
		}, batch.WithOverlap(100*time.Millisecond), batch.WithMaxWeight(1))
		var wg sync.WaitGroup
		for _, item := range []int{1000, 50, 1001} {
			call(t, &wg, b, t.Context(), item, 1, doubled(t, item))
		}
		wg.Wait()
		closed(t, b)
		want := map[int]time.Duration{1000: 0, 50: 100 * time.Millisecond, 1001: 150 * time.Millisecond}
		if diff := cmp.Diff(want, begins); diff != "" {
			t.Errorf("when each flush began (-want +got):\n%s", diff)
		}
	})
}

// TestBatcher_Flushes: so many flushes run at the same time and not one more. What comes meanwhile forms the next one,
// and what does not fit into it the one after it.
func TestBatcher_Flushes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s slow
		b := batch.New(s.flush, batch.WithFlushes(2), batch.WithMaxWeight(3))
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 9 {
			call(t, &wg, b, t.Context(), i, 1, doubled(t, i))
		}
		if n := b.Queued(); n != 7 {
			t.Errorf("%d calls wait, want 7: two flushes run", n)
		}
		wg.Wait()
		closed(t, b)
		slices.SortFunc(s.batches, slices.Compare) // two begin at the same time
		if diff := cmp.Diff([][]int{{0}, {1}, {2, 3, 4}, {5, 6, 7}, {8}}, s.batches); diff != "" {
			t.Errorf("the batches (-want +got):\n%s", diff)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %v, want 3 s: two flushes of a second at the same time", took)
		}
	})
}

// TestBatch_Deliver answers a call before the flush ends. Later answers to it change nothing.
func TestBatch_Deliver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
			for _, c := range b.Calls() {
				b.Deliver(c, 2*c.Item, nil)
				b.Deliver(c, -1, nil)
				c.Answer(-1, nil)
			}
			time.Sleep(time.Second)
		})
		if got, err := b.Do(t.Context(), 4, 1); got != 8 || err != nil || time.Since(began) != 0 {
			t.Errorf("got %d, %v after %v; want 8 at once", got, err, time.Since(began))
		}
		closed(t, b)
		if took := time.Since(began); took != time.Second {
			t.Errorf("closed after %v, want the flush to end", took)
		}
	})
}

// TestBatcher_Limit changes what a batch may hold between two flushes.
func TestBatcher_Limit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s slow
		limit := 2
		b := batch.New(func(ctx context.Context, calls *batch.Batch[int, int]) {
			limit++ // no other flush runs
			s.flush(ctx, calls)
		}, batch.WithLimit(func() int { return limit }), batch.WithMaxWeight(4))
		var wg sync.WaitGroup
		for i := range 12 {
			call(t, &wg, b, t.Context(), i, 1, doubled(t, i))
		}
		wg.Wait()
		closed(t, b)
		if diff := cmp.Diff([][]int{{0}, {1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}}, s.batches); diff != "" {
			t.Errorf("the batches (-want +got):\n%s", diff)
		}
	})
}

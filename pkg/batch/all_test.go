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

func each(int) int { return 1 }

// TestBatcher_DoAll has items come together: they share the batches that have room for them, in their order.
func TestBatcher_DoAll(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		room int
		want [][]int
	}{
		"one batch": {10, [][]int{{7}, {0, 1, 2, 3, 4}}},
		"two":       {3, [][]int{{7}, {0, 1, 2}, {3, 4}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var s slow
				b := batch.New(s.flush, batch.WithMaxWeight(c.room))
				defer closed(t, b)
				var wg sync.WaitGroup
				call(t, &wg, b, t.Context(), 7, 1, doubled(t, 7))
				for i, r := range b.DoAll(t.Context(), []int{0, 1, 2, 3, 4}, each) {
					doubled(t, i)(r.Value, r.Err)
				}
				wg.Wait()
				if diff := cmp.Diff(c.want, s.batches); diff != "" {
					t.Errorf("the batches (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestBatcher_DoAll_Together has the items come to an idle batcher: none of them starts a batch of its own.
func TestBatcher_DoAll_Together(t *testing.T) {
	t.Parallel()
	var sizes []int
	b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
		sizes = append(sizes, len(b.Calls()))
		for _, c := range b.Calls() {
			c.Answer(c.Item, nil)
		}
	})
	items := make([]int, 100)
	for range 200 {
		b.DoAll(t.Context(), items, each)
	}
	closed(t, b)
	for _, n := range sizes {
		if n != len(items) {
			t.Fatalf("a batch had %d of %d items", n, len(items))
		}
	}
}

// TestBatcher_DoAll_GivesUp has the caller's context end while some of its items are executed and others are queued.
// The patience is for all of them.
func TestBatcher_DoAll_GivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s slow
		b := batch.New(s.flush, batch.WithMaxWeight(2), batch.WithPatience(500*time.Millisecond))
		began := time.Now()
		results := b.DoAll(within(t, 300*time.Millisecond), []int{0, 1, 2, 3}, each)
		if took := time.Since(began); took != 800*time.Millisecond {
			t.Errorf("it took %v, want the context's time and the patience", took)
		}
		for i, r := range results {
			want := batch.ErrUnanswered
			if i >= 2 {
				want = batch.ErrWithdrawn
			}
			failsWith(t, i, want)(r.Value, r.Err)
			failsWith(t, i, context.DeadlineExceeded)(r.Value, r.Err)
		}
		closed(t, b)
		if diff := cmp.Diff([][]int{{0, 1}}, s.batches); diff != "" {
			t.Errorf("the batches (-want +got):\n%s", diff)
		}
	})
}

// TestBatcher_DoAll_Refused has nothing executed for a caller that has gone, or when the batcher is closed.
func TestBatcher_DoAll_Refused(t *testing.T) {
	t.Parallel()
	var s slow
	b := batch.New(s.flush)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("tired")
	cancel(why)
	for _, r := range b.DoAll(ctx, []int{1, 2}, each) {
		failsWith(t, 1, batch.ErrWithdrawn)(r.Value, r.Err)
		failsWith(t, 1, why)(r.Value, r.Err)
	}
	closed(t, b)
	for _, r := range b.DoAll(t.Context(), []int{1, 2}, each) {
		failsWith(t, 1, batch.ErrClosed)(r.Value, r.Err)
	}
	if len(s.batches) != 0 {
		t.Errorf("it was executed: %v", s.batches)
	}
	if got := b.DoAll(t.Context(), nil, each); len(got) != 0 {
		t.Errorf("no item has %v", got)
	}
}

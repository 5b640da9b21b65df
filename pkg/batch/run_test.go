package batch_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/batch"
)

func TestBatcher_Run(t *testing.T) {
	t.Parallel()
	odd := errors.New("odd")
	b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
		for _, c := range b.Seal(b.Open(b.Calls())) {
			switch {
			case c.Item == 0: // without an answer
			case c.Item%2 == 1:
				c.Answer(0, odd)
			default:
				c.Answer(2*c.Item, nil)
			}
		}
	})
	defer closed(t, b)
	got := b.Run(t.Context(), []int{1, 2, 0, 4})
	want := []batch.Result[int]{{Err: odd}, {Value: 4}, {Err: batch.ErrNoAnswer}, {Value: 8}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })); diff != "" {
		t.Errorf("the results (-want +got):\n%s", diff)
	}
}

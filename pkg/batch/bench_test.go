package batch_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/pkg/batch"
)

// BenchmarkBatcher_Do is what gathering costs each call, beside the work.
func BenchmarkBatcher_Do(b *testing.B) {
	for _, callers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			b.ReportAllocs()
			batcher := batch.New(func(_ context.Context, calls *batch.Batch[int, int]) {
				for _, c := range calls.Calls() {
					c.Answer(c.Item, nil)
				}
			})
			defer batcher.Close()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if _, err := batcher.Do(b.Context(), 1, 1); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

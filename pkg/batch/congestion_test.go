package batch_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/pkg/batch"
)

// row is work that is done one item after the other. A flush that has to wait for longer than its timeout gets an
// error, and its items are worked on all the same: nobody tells the server that the caller has gone.
type row struct {
	mu   sync.Mutex
	free time.Time
	work int // items
}

const (
	perItem    = 25 * time.Millisecond
	rowTimeout = 1500 * time.Millisecond
	workTime   = 4 * time.Second // of a flush
)

var errRowTimeout = errors.New("timeout")

func (r *row) take(items int) error {
	r.mu.Lock()
	if now := time.Now(); r.free.Before(now) {
		r.free = now
	}
	r.free = r.free.Add(time.Duration(items) * perItem)
	r.work += items
	wait := time.Until(r.free)
	r.mu.Unlock()
	if wait > rowTimeout {
		time.Sleep(rowTimeout)
		return errRowTimeout
	}
	time.Sleep(wait)
	return nil
}

// TestBatcher_Congestion has 40 callers want more of a row at once than it does within a timeout, and come again after
// each failure. Without a bound each of them soon has a flush of its own under way, the row works for callers that have
// gone, and this lasts: 19,792 items for 320, in 8 minutes.
func TestBatcher_Congestion(t *testing.T) {
	t.Parallel()
	const replicas, callers, items = 2, 20, 8
	synctest.Test(t, func(t *testing.T) {
		var r row
		began := time.Now()
		var wg sync.WaitGroup
		for range replicas {
			pace := batch.NewPace(64, 500, 250*time.Millisecond)
			b := batch.New(func(_ context.Context, b *batch.Batch[int, int]) {
				end := time.Now().Add(workTime)
				left := items * len(b.Calls())
				for left > 0 && time.Now().Before(end) { // in parts that the limit allows; a failure is tried again
					n := min(left, pace.Limit())
					begin := time.Now()
					if r.take(n) == nil {
						left -= n
					}
					pace.Note(n, time.Since(begin))
				}
				undone := (left + items - 1) / items
				for i, c := range b.Calls() {
					if i < len(b.Calls())-undone {
						c.Answer(0, nil)
						continue
					}
					c.Answer(0, errRowTimeout)
				}
			}, batch.WithLimit(pace.Limit), batch.WithOverlap(100*time.Millisecond), batch.WithMaxFlushes(4))
			for range callers {
				wg.Go(func() {
					for range 100 {
						if _, err := b.Do(t.Context(), 0, items); err == nil {
							return
						}
					}
					t.Error("a caller got nothing in 100 attempts")
				})
			}
			defer closed(t, b)
		}
		wg.Wait()
		const needed = replicas * callers * items
		if r.work > 5*needed {
			t.Errorf("the row did %d items for %d that were wanted, in %v", r.work, needed, time.Since(began))
		}
	})
}

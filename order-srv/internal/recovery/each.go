package recovery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	parallel = 8               // calls about orders at the same time
	callTime = 2 * time.Second // of one of them
)

// errBeyondHealing is an order that no healer can mend. It was reported, and its next try is a long time away.
var errBeyondHealing = errors.New("no healer can mend the order")

// each calls act for every order whose back-off has ended, at most parallel at a time, each with callTime. It begins no
// call after until, so that a pass ends in time whatever the number of slow orders. An order that fails is set aside in
// later and does not keep act from the others. The error names the first failure and how many there were.
func each(ctx context.Context, until time.Time, later *backoff, orderNos []string, act func(ctx context.Context, orderNo string) error) error {
	slots := make(chan struct{}, parallel)
	var running sync.WaitGroup
	var failed failures
	for _, no := range orderNos {
		if !later.due(no) {
			continue
		}
		slots <- struct{}{} // free within callTime
		if ctx.Err() != nil || time.Now().After(until) {
			break
		}
		running.Go(func() {
			defer func() { <-slots }()
			call, cancel := context.WithTimeout(ctx, callTime)
			defer cancel()
			err := act(call, no)
			switch {
			case err == nil:
				later.forget(no)
			case errors.Is(err, errBeyondHealing):
				later.rest(no)
			default:
				later.fail(no)
				failed.add(err)
			}
		})
	}
	running.Wait()
	return failed.err()
}

// failures counts errors and keeps the first: hundreds of orders may fail for the same reason.
type failures struct {
	mu    sync.Mutex
	count int
	first error
}

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count++; f.first == nil {
		f.first = err
	}
}

func (f *failures) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count > 1 {
		return fmt.Errorf("%d orders failed, the first: %w", f.count, f.first)
	}
	return f.first
}

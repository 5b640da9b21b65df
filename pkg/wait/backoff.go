package wait

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff is an exponential back-off with full jitter: a pause is random, up to a limit that doubles with each failure.
// Callers that failed together do not come back together.
type Backoff struct {
	First time.Duration // the limit after the first failure, more than 0
	Max   time.Duration // the largest limit
	// Attempt is the least time that an attempt needs. A pause that leaves less before ctx's deadline is not made.
	Attempt time.Duration
}

// Limit returns the longest pause after so many failures in a row.
func (b Backoff) Limit(failures int) time.Duration {
	limit := b.First
	for n := 1; n < failures && limit < b.Max; n++ {
		limit *= 2
	}
	return min(limit, b.Max)
}

// Sleep pauses after so many failures in a row. It returns ctx's error as soon as ctx ends, and
// [context.DeadlineExceeded] at once when the pause leaves no time for another attempt.
func (b Backoff) Sleep(ctx context.Context, failures int) error {
	pause := 1 + rand.N(b.Limit(failures))
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause+b.Attempt {
		return context.DeadlineExceeded
	}
	return Sleep(ctx, pause)
}

// Retry calls attempt until it succeeds, until again is false, or until ctx leaves no time for another attempt. It
// returns the error of the last attempt.
func (b Backoff) Retry(ctx context.Context, attempt func(context.Context) (again bool, err error)) error {
	for failures := 1; ; failures++ {
		again, err := attempt(ctx)
		if err == nil || !again || b.Sleep(ctx, failures) != nil {
			return err
		}
	}
}

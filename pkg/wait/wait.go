// Package wait holds the pauses, the polls and the retries of all programs. Every one of them ends with its context.
package wait

import (
	"context"
	"time"
)

// Sleep returns nil after d, or ctx's error as soon as ctx ends. It returns ctx's error at once when ctx has ended.
func Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Until calls done, and calls it again after each pause, until it returns true or an error. It returns that error, or
// ctx's error when ctx ends during a pause.
func Until(ctx context.Context, pause time.Duration, done func(context.Context) (bool, error)) error {
	for {
		ok, err := done(ctx)
		if ok || err != nil {
			return err
		}
		if err := Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

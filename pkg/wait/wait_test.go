package wait_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/pkg/wait"
)

func TestSleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := wait.Sleep(t.Context(), time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want nil after 1s", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if err := wait.Sleep(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want the deadline's error after 1s", err, time.Since(start))
		}
		if err := wait.Sleep(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after the end of ctx: got %v", err)
		}
	})
}

func TestUntil(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		start := time.Now()
		err := wait.Until(t.Context(), time.Second, func(context.Context) (bool, error) {
			calls++
			return calls == 3, nil
		})
		if err != nil || calls != 3 || time.Since(start) != 2*time.Second {
			t.Errorf("got %v, %d calls in %v, want nil, 3 calls in 2s", err, calls, time.Since(start))
		}
		broken := errors.New("broken")
		if err := wait.Until(t.Context(), time.Second, func(context.Context) (bool, error) { return false, broken }); !errors.Is(err, broken) {
			t.Errorf("got %v, want the condition's error", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := wait.Until(ctx, time.Second, func(context.Context) (bool, error) { return false, nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline's error", err)
		}
	})
}

func TestBackoff_Limit(t *testing.T) {
	t.Parallel()
	b := wait.Backoff{First: 4 * time.Millisecond, Max: 30 * time.Millisecond}
	for failures, want := range map[int]time.Duration{0: 4, 1: 4, 2: 8, 3: 16, 4: 30, 5: 30, 1 << 30: 30} {
		if got := b.Limit(failures); got != want*time.Millisecond {
			t.Errorf("after %d failures: got %v, want %v", failures, got, want*time.Millisecond)
		}
	}
}

func TestBackoff_Sleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := wait.Backoff{First: 8 * time.Millisecond, Max: time.Second}
		pauses := map[time.Duration]bool{}
		for range 100 {
			start := time.Now()
			if err := b.Sleep(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			pause := time.Since(start)
			if pause <= 0 || pause > 16*time.Millisecond {
				t.Fatalf("got a pause of %v, want one up to 16ms", pause)
			}
			pauses[pause] = true
		}
		if len(pauses) < 50 {
			t.Errorf("got %d different pauses of 100, want random ones", len(pauses))
		}
	})
}

func TestBackoff_Retry(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	b := wait.Backoff{First: time.Second, Max: time.Second, Attempt: time.Second}
	for name, c := range map[string]struct {
		outcomes []error
		again    bool
		calls    int
		want     error
	}{
		"success":         {[]error{nil}, true, 1, nil},
		"a later success": {[]error{failed, failed, nil}, true, 3, nil},
		"a final error":   {[]error{failed, nil}, false, 1, failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				err := b.Retry(t.Context(), func(context.Context) (bool, error) {
					calls++
					return c.again, c.outcomes[calls-1]
				})
				if !errors.Is(err, c.want) || calls != c.calls {
					t.Errorf("got %v after %d calls, want %v after %d", err, calls, c.want, c.calls)
				}
			})
		})
	}
}

func TestBackoff_Retry_deadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failed := errors.New("failed")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		b := wait.Backoff{First: time.Second, Max: time.Second, Attempt: 5 * time.Second}
		err := b.Retry(ctx, func(ctx context.Context) (bool, error) {
			if end, _ := ctx.Deadline(); time.Until(end) < b.Attempt {
				t.Errorf("an attempt has %v left, want at least %v", time.Until(end), b.Attempt)
			}
			return true, failed
		})
		if !errors.Is(err, failed) || ctx.Err() != nil {
			t.Errorf("got %v, context %v, want the last attempt's error before the deadline", err, ctx.Err())
		}
	})
}

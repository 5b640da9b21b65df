package lock_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/pkg/lock"
)

// bubble runs test with a fake backend and fake time.
func bubble(t *testing.T, test func(*testing.T, *fake, lock.Locker), opts ...lock.Option) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, opts...)
		defer f.close(t)
		test(t, f, f)
	})
}

func mustAcquire(t *testing.T, locker lock.Locker, keys ...string) *lock.Lease {
	t.Helper()
	lease, err := locker.Acquire(t.Context(), keys...)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func mustRelease(t *testing.T, lease *lock.Lease) {
	t.Helper()
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAcquire_Waits(t *testing.T) {
	t.Parallel()

	t.Run("until woken", func(t *testing.T) {
		bubble(t, func(t *testing.T, _ *fake, locker lock.Locker) {
			holder := mustAcquire(t, locker, "a", "b")
			go func() {
				time.Sleep(time.Second)
				mustRelease(t, holder)
			}()
			start := time.Now()
			mustRelease(t, mustAcquire(t, locker, "b"))
			if got := time.Since(start); got != time.Second {
				t.Errorf("waited %v, want 1s", got)
			}
		}, lock.WithPoll(time.Hour))
	})

	t.Run("until the key in the way expires", func(t *testing.T) {
		bubble(t, func(t *testing.T, _ *fake, locker lock.Locker) {
			ctx, crash := context.WithCancel(t.Context())
			if _, err := locker.Acquire(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			crash() // its holder renews no more and never releases
			start := time.Now()
			mustRelease(t, mustAcquire(t, locker, "a"))
			if got := time.Since(start); got < ttl || got > ttl+10*time.Millisecond {
				t.Errorf("waited %v, want the TTL %v and a few ms", got, ttl)
			}
		}, lock.WithPoll(time.Hour))
	})

	t.Run("until the poll when the wake-up is lost", func(t *testing.T) {
		bubble(t, func(t *testing.T, fake *fake, locker lock.Locker) {
			fake.mute()
			holder := mustAcquire(t, locker, "a")
			go func() {
				time.Sleep(10 * time.Millisecond)
				mustRelease(t, holder)
			}()
			start := time.Now()
			mustRelease(t, mustAcquire(t, locker, "a"))
			if got := time.Since(start); got < time.Second || got > 2*time.Second {
				t.Errorf("waited %v, want one poll of 1 to 2 s", got)
			}
		}, lock.WithPoll(time.Second))
	})

	t.Run("in the order of arrival", func(t *testing.T) {
		bubble(t, func(t *testing.T, fake *fake, locker lock.Locker) {
			holder := mustAcquire(t, locker, "a")
			var order []int
			var waiters sync.WaitGroup
			for i := range 5 {
				waiters.Go(func() {
					lease, err := locker.Acquire(t.Context(), "a")
					if err != nil {
						t.Error(err)
						return
					}
					order = append(order, i) // the lock guards it
					mustRelease(t, lease)
				})
				synctest.Wait()
			}
			takes := fake.count(lock.OpTake)
			if takes > 4 { // the holder's, and three of the first waiter: it subscribed in between
				t.Errorf("%d attempts while the key was held: the queue does not hold", takes)
			}
			mustRelease(t, holder)
			waiters.Wait()
			if diff := cmp.Diff([]int{0, 1, 2, 3, 4}, order); diff != "" {
				t.Errorf("order of service (-want +got):\n%s", diff)
			}
		}, lock.WithPoll(time.Hour))
	})

	t.Run("until its context ends, wherever it waits", func(t *testing.T) {
		bubble(t, func(t *testing.T, _ *fake, locker lock.Locker) {
			holder := mustAcquire(t, locker, "b")
			var waiters sync.WaitGroup
			for range 3 { // one contends, two are in the queue
				waiters.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					if _, err := locker.Acquire(ctx, "a", "b"); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("acquire = %v, want its context's error", err)
					}
				})
			}
			waiters.Wait()
			mustRelease(t, mustAcquire(t, locker, "a")) // its queue is empty
			mustRelease(t, holder)
			mustRelease(t, mustAcquire(t, locker, "a", "b"))
		})
	})
}

func TestAcquire_Fails(t *testing.T) {
	t.Parallel()

	t.Run("after three attempts without an answer", func(t *testing.T) {
		bubble(t, func(t *testing.T, fake *fake, locker lock.Locker) {
			fake.on(lock.OpTake, unanswered)
			_, err := locker.Acquire(t.Context(), "a")
			if !errors.Is(err, lock.ErrUnavailable) || !errors.Is(err, errNetwork) {
				t.Errorf("acquire = %v, want ErrUnavailable and why", err)
			}
			if takes := fake.count(lock.OpTake); takes != 3 {
				t.Errorf("%d attempts, want 3", takes)
			}
		})
	})

	t.Run("when the answer comes too late", func(t *testing.T) {
		bubble(t, func(t *testing.T, fake *fake, locker lock.Locker) {
			fake.on(lock.OpTake, func(context.Context) error { time.Sleep(usable); return nil })
			if _, err := locker.Try(t.Context(), "a"); !errors.Is(err, lock.ErrUnavailable) {
				t.Errorf("try = %v, want ErrUnavailable", err)
			}
			if fake.expires("a") != 0 {
				t.Error("the key that was taken too late is still there")
			}
		})
	})

	t.Run("when its caller gives up, and leaves no key behind", func(t *testing.T) {
		bubble(t, func(t *testing.T, fake *fake, locker lock.Locker) {
			var live error // of the attempt's context, after its caller has gone
			fake.on(lock.OpTake, func(ctx context.Context) error {
				time.Sleep(200 * time.Millisecond)
				live = ctx.Err()
				return nil
			})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err := locker.Acquire(ctx, "a")
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 100*time.Millisecond {
				t.Errorf("acquire = %v after %v, want the deadline's error at the deadline", err, time.Since(start))
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if live != nil {
				t.Errorf("the attempt lost its context with its caller, so it could not clean up: %v", live)
			}
			if drops := fake.count(lock.OpDrop); drops != 1 || fake.expires("a") != 0 {
				t.Errorf("the orphan was dropped %d times, expires in %v", drops, fake.expires("a"))
			}
		})
	})

	t.Run("when the Locker is closed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			locker := newFake(t)
			holder := mustAcquire(t, locker, "a")
			go func() {
				time.Sleep(time.Second)
				locker.close(t)
			}()
			if _, err := locker.Acquire(t.Context(), "a"); !errors.Is(err, lock.ErrClosed) {
				t.Errorf("waiting acquire = %v, want ErrClosed", err)
			}
			if _, err := locker.Try(t.Context(), "b"); !errors.Is(err, lock.ErrClosed) {
				t.Errorf("try = %v, want ErrClosed", err)
			}
			mustRelease(t, holder)
		})
	})

	t.Run("without a usable key", func(t *testing.T) {
		bubble(t, func(t *testing.T, _ *fake, locker lock.Locker) {
			for _, keys := range [][]string{nil, {""}, {"a", ""}} {
				if _, err := locker.Acquire(t.Context(), keys...); !errors.Is(err, lock.ErrKeys) {
					t.Errorf("acquire %q = %v, want ErrKeys", keys, err)
				}
			}
		})
	})
}

func TestTry(t *testing.T) { // parallel in bubble
	bubble(t, func(t *testing.T, fake *fake, locker lock.Locker) {
		holder := mustAcquire(t, locker, "b")
		start := time.Now()
		if _, err := locker.Try(t.Context(), "a", "b"); !errors.Is(err, lock.ErrHeld) || time.Since(start) != 0 {
			t.Errorf("try = %v after %v, want ErrHeld at once", err, time.Since(start))
		}
		if fake.expires("a") != 0 {
			t.Error("one of two keys was taken")
		}
		mustRelease(t, holder)
		keys := []string{"b", "a", "b"}
		lease, err := locker.Try(t.Context(), keys...)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(keys, []string{"b", "a", "b"}) {
			t.Errorf("the caller's keys were changed to %q", keys)
		}
		if a, b, c := lease.Token("a"), lease.Token("b"), lease.Token("c"); a != 2 || b != 2 || c != 0 {
			t.Errorf("tokens %d, %d, %d, want 2, 2, 0", a, b, c)
		}
		mustRelease(t, lease)
	})
}

// recorder is an Observer that records its calls.
type recorder struct {
	mu     sync.Mutex
	events []string
}

func (r *recorder) add(event string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, known := range []error{lock.ErrHeld, lock.ErrLost, lock.ErrUnavailable} {
		if errors.Is(err, known) {
			event += ": " + known.Error()
		}
	}
	r.events = append(r.events, event)
}

func (r *recorder) Waited(_ []string, d time.Duration, err error) { r.add("waited "+d.String(), err) }
func (r *recorder) Renewed(_ []string, err error)                 { r.add("renewed", err) }
func (r *recorder) Lost(_ []string, cause error)                  { r.add("lost", cause) }
func (r *recorder) Released(_ []string, d time.Duration, err error) {
	r.add("released "+d.String(), err)
}

func TestObserver(t *testing.T) { // parallel in bubble
	seen := &recorder{}
	bubble(t, func(t *testing.T, fake *fake, locker lock.Locker) {
		lease := mustAcquire(t, locker, "a")
		if _, err := locker.Try(t.Context(), "a"); err == nil {
			t.Error("two holders")
		}
		time.Sleep(every + time.Second)
		fake.Evict("a")
		<-lease.Context().Done()
		if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
			t.Errorf("release = %v, want ErrLost", err)
		}
		want := []string{
			"waited 0s", "waited 0s: lock: held by another owner", "renewed",
			"renewed: lock: lease lost", "lost: lock: lease lost", "released 5.333333332s: lock: lease lost",
		}
		if diff := cmp.Diff(want, seen.events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	}, lock.WithObserver(seen))
}

// slow is an Observer that takes its time over a loss.
type slow struct{ recorder }

func (s *slow) Lost(keys []string, cause error) {
	time.Sleep(time.Second)
	s.recorder.Lost(keys, cause)
}

// After Release the observer is not called: a holder that ends may close what its observer writes to.
func TestObserver_ReleaseWaitsForIt(t *testing.T) { // parallel in bubble
	seen := &slow{}
	bubble(t, func(t *testing.T, fake *fake, locker lock.Locker) {
		fake.on(lock.OpExtend, unanswered)
		lease := mustAcquire(t, locker, "a")
		<-lease.Context().Done()
		mustRelease(t, lease)
		want := []string{"lost: lock: lease lost: lock: no answer", "released " + (usable + time.Second).String()}
		got := slices.DeleteFunc(slices.Clone(seen.events), func(e string) bool {
			return strings.HasPrefix(e, "waited") || strings.HasPrefix(e, "renewed")
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	}, lock.WithObserver(seen))
}

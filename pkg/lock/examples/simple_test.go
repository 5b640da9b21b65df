package examples_test

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
	"holdfast/pkg/lock/examples"
)

func newClient(t *testing.T) (client redis.UniversalClient, key string) {
	t.Helper()
	client = lock.NewClient([]string{stacktest.Redis(t)})
	t.Cleanup(func() { _ = client.Close() })
	return client, "examples:" + rand.Text()
}

func TestLock_Excludes(t *testing.T) {
	t.Parallel()
	client, key := newClient(t)
	const callers = 8
	var sold int // guarded by the lock alone
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			l, err := examples.Acquire(t.Context(), client, key, time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			sold++
			if err := l.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if sold != callers {
		t.Errorf("%d of %d sales were counted", sold, callers)
	}
}

func TestLock_DeadlineEndsWait(t *testing.T) {
	t.Parallel()
	client, key := newClient(t)
	held, err := examples.Acquire(t.Context(), client, key, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := examples.Acquire(ctx, client, key, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("acquire of a held key = %v, want the deadline", err)
	}
	if err := held.Unlock(ctx); err != nil { // ctx has ended
		t.Errorf("unlock = %v", err)
	}
}

// TestLock_Expired: the owner is not notified of the end, and its late Unlock leaves the next owner's key alone.
func TestLock_Expired(t *testing.T) {
	t.Parallel()
	client, key := newClient(t)
	first, err := examples.Acquire(t.Context(), client, key, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	second, err := examples.Acquire(t.Context(), client, key, time.Minute) // waits for the expiry
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Unlock(t.Context()); !errors.Is(err, examples.ErrLost) {
		t.Errorf("late unlock = %v, want ErrLost", err)
	}
	if err := second.Unlock(t.Context()); err != nil {
		t.Errorf("unlock = %v: the late one has deleted the key", err)
	}
}

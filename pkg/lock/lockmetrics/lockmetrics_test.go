package lockmetrics_test

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
	"holdfast/pkg/lock"
	"holdfast/pkg/lock/lockmetrics"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("holdfast/internal/dev/stack.watch.func1"))
}

const deadline = 30 * time.Second

// world is one locker with metrics on a Redis of its own, which the test may stop and empty.
type world struct {
	redis  *stack.Redis
	client *redis.Client
	locker *lock.Redis
	prefix string
	seen   *prometheus.Registry
}

func newWorld(t *testing.T, opts ...lock.Option) world {
	t.Helper()
	own := stacktest.OwnRedis(t)
	w := world{redis: own, prefix: rand.Text() + ":", seen: prometheus.NewRegistry()}
	client := lock.NewClient([]string{own.Addr})
	w.client = redis.NewClient(&redis.Options{Addr: own.Addr})
	locker, err := lock.NewRedis(client, append(opts, lock.WithPrefix(w.prefix), lock.WithObserver(lockmetrics.New(w.seen)))...)
	if err != nil {
		t.Fatal(err)
	}
	w.locker = locker
	t.Cleanup(func() {
		if err := errors.Join(locker.Close(), client.Close(), w.client.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w world) acquire(t *testing.T) *lock.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	lease, err := w.locker.Acquire(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// value is a counter's value, or the number of a histogram's observations.
func (w world) value(t *testing.T, name, label, value string) float64 {
	t.Helper()
	families, err := w.seen.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if label != "" && (m.GetLabel()[0].GetName() != label || m.GetLabel()[0].GetValue() != value) {
				continue
			}
			return m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no %s{%s=%q}", name, label, value)
	return 0
}

func (w world) want(t *testing.T, want float64, name, label, value string) {
	t.Helper()
	if got := w.value(t, name, label, value); got != want {
		t.Errorf("%s{%s=%q} is %v, want %v", name, label, value, got, want)
	}
}

func ended(t *testing.T, lease *lock.Lease) {
	t.Helper()
	select {
	case <-lease.Context().Done():
	case <-time.After(deadline):
		t.Fatal("the lease does not end")
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	testkit.EventuallyTrue(t, deadline, what, ok)
}

// lost is what lock_lost_total must say: one loss, for this cause and no other. The lease's context ends a moment
// before the observer is called.
func (w world) lost(t *testing.T, cause string) {
	t.Helper()
	eventually(t, "the loss is counted", func() bool { return w.value(t, "lock_lost_total", "cause", cause) > 0 })
	for _, c := range []string{"not_renewed", "key_gone", "max_hold"} {
		want := 0.0
		if c == cause {
			want = 1
		}
		w.want(t, want, "lock_lost_total", "cause", c)
	}
}

func TestMetrics_NothingHappened(t *testing.T) {
	t.Parallel()
	seen := prometheus.NewRegistry()
	lockmetrics.New(seen)
	// 5 results of a wait, 1 of a hold, 3 of renewals, 3 causes of loss, 3 results of a release.
	if n, err := testutil.GatherAndCount(seen); err != nil || n != 15 {
		t.Errorf("%d series before anything happened (%v), want all 15", n, err)
	}
}

func TestMetrics_WaitAndHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lock.WithTTL(time.Minute))
	lease := w.acquire(t)
	w.want(t, 1, "lock_wait_seconds", "result", "ok")
	if _, err := w.locker.Try(t.Context(), "k"); !errors.Is(err, lock.ErrHeld) {
		t.Errorf("try = %v", err)
	}
	w.want(t, 1, "lock_wait_seconds", "result", "held")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.locker.Acquire(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("acquire = %v", err)
	}
	w.want(t, 1, "lock_wait_seconds", "result", "gave_up")
	w.want(t, 0, "lock_held_seconds", "", "")
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
	w.want(t, 1, "lock_held_seconds", "", "")
	w.want(t, 1, "lock_releases_total", "result", "ok")
	w.lostNothing(t)
}

func (w world) lostNothing(t *testing.T) {
	t.Helper()
	for _, c := range []string{"not_renewed", "key_gone", "max_hold"} {
		w.want(t, 0, "lock_lost_total", "cause", c)
	}
}

func TestMetrics_RenewalsAndMaxHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lock.WithTTL(time.Second), lock.WithMaxHold(2*time.Second))
	lease := w.acquire(t)
	eventually(t, "a renewal is counted", func() bool { return w.value(t, "lock_renewals_total", "result", "ok") > 0 })
	ended(t, lease)
	w.lost(t, "max_hold")
}

func TestMetrics_KeyGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lock.WithTTL(time.Second))
	lease := w.acquire(t)
	if err := w.client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	ended(t, lease)
	w.lost(t, "key_gone")
	w.want(t, 1, "lock_renewals_total", "result", "lost")
	if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
		t.Errorf("release = %v", err)
	}
	w.want(t, 1, "lock_releases_total", "result", "lost")
}

func TestMetrics_AnotherOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lock.WithTTL(time.Second))
	lease := w.acquire(t)
	if err := w.client.Set(t.Context(), "{"+w.prefix+"}key:k", "another's", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	ended(t, lease)
	w.lost(t, "key_gone")
}

func TestMetrics_NotRenewed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, lock.WithTTL(time.Second))
	lease := w.acquire(t)
	if err := w.redis.Process.Freeze(); err != nil {
		t.Fatal(err)
	}
	ended(t, lease)
	w.lost(t, "not_renewed")
	if w.value(t, "lock_renewals_total", "result", "unavailable") == 0 {
		t.Error("no renewal was counted as unavailable")
	}
	if _, err := w.locker.Try(t.Context(), "other"); !errors.Is(err, lock.ErrUnavailable) {
		t.Errorf("try = %v", err)
	}
	w.want(t, 1, "lock_wait_seconds", "result", "unavailable")
	if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrUnavailable) {
		t.Errorf("release = %v", err)
	}
	w.want(t, 1, "lock_releases_total", "result", "unavailable")
}

package lock_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
)

func TestRedis_Contention(t *testing.T) {
	t.Parallel()
	const lockers, workers, rounds = 4, 4, 20
	s := newServer(t, stacktest.Redis(t))
	var inside, granted atomic.Int64
	var tokens, overtaken []int64 // guarded by the lock under test; -race would tell
	var all sync.WaitGroup
	for range lockers {
		locker := s.locker(t)
		for range workers {
			all.Go(func() {
				for range rounds {
					asked := granted.Load()
					lease, err := locker.Acquire(within(t), "k")
					if err != nil {
						t.Error(err)
						return
					}
					if n := inside.Add(1); n != 1 {
						t.Errorf("%d holders", n)
					}
					tokens = append(tokens, lease.Token("k"))
					overtaken = append(overtaken, granted.Add(1)-asked)
					inside.Add(-1)
					if err := lease.Release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	total := lockers * workers * rounds
	if len(tokens) != total {
		t.Fatalf("%d leases, want %d", len(tokens), total)
	}
	for i, token := range tokens {
		if token != int64(i+1) {
			t.Fatalf("token %d is %d: not strictly increasing without a gap", i, token)
		}
	}
	worst := slices.Max(overtaken)
	t.Logf("of %d leases at most %d were granted to others while one waited", total, worst)
	if worst > int64(total/2) {
		t.Errorf("one waited while %d of %d leases were granted: starvation", worst, total)
	}
}

func TestRedis_SeveralKeys(t *testing.T) {
	t.Parallel()

	t.Run("opposite orders do not deadlock", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		var all sync.WaitGroup
		for _, keys := range [][]string{{"a", "b"}, {"b", "a"}, {"b", "c", "a"}} {
			for range 2 {
				locker := s.locker(t)
				for range 2 {
					all.Go(func() {
						for range 15 {
							lease, err := locker.Acquire(within(t), keys...)
							if err != nil {
								t.Error(err)
								return
							}
							if err := lease.Release(t.Context()); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
		}
		all.Wait()
	})

	t.Run("all or none", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		var opts []lock.Option
		long(&opts)
		first, second := s.locker(t, opts...), s.locker(t, opts...)
		b := acquire(t, first, "b")
		both := acquiring(t, second, "a", "b")
		eventually(t, "the waiter has tried and subscribed", func() bool { return s.subscribers(t) == 1 })
		a, err := first.Try(within(t), "a")
		if err != nil {
			t.Fatalf("a is free while [a b] is waited for: %v", err)
		}
		release(t, b)
		release(t, a)
		lease := await(t, both)
		if lease.Token("a") != 3 || lease.Token("b") != 3 { // the third lease of the prefix
			t.Errorf("tokens %d and %d, want 3 and 3", lease.Token("a"), lease.Token("b"))
		}
		release(t, lease)
	})

	t.Run("one key lost is the lease lost", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		lease := acquire(t, s.locker(t, lock.WithTTL(time.Second)), "a", "b")
		if err := s.Del(t.Context(), s.key("b")).Err(); err != nil {
			t.Fatal(err)
		}
		lostWith(t, lease, lock.ErrLost)
		if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
			t.Errorf("release = %v, want ErrLost", err)
		}
		if s.exists(t, "a") {
			t.Error("release left a, which was ours")
		}
	})
}

func TestRedis_RefusedInOneRoundTrip(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	holder := acquire(t, s.locker(t), "k")
	client, count := lock.NewClient([]string{s.addr}), &attempts{}
	client.AddHook(count)
	locker, err := lock.NewRedis(client, lock.WithPrefix(s.prefix))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = locker.Close(), client.Close() })
	release(t, acquire(t, locker, "other")) // connects
	before := count.n.Load()
	if _, err := locker.Try(within(t), "k"); !errors.Is(err, lock.ErrHeld) {
		t.Errorf("try = %v, want ErrHeld", err)
	}
	if n := count.n.Load() - before; n != 1 {
		t.Errorf("%d round trips for a refusal, want 1: there is nothing to clean up", n)
	}
	release(t, holder)
}

func TestRedis_WakesWaiters(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	var opts []lock.Option
	long(&opts)
	client, count := lock.NewClient([]string{s.addr}), &attempts{}
	client.AddHook(count)
	waiter, err := lock.NewRedis(client, append(opts, lock.WithPrefix(s.prefix))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = waiter.Close(), client.Close() })
	holder := s.locker(t, opts...)

	var slowest time.Duration
	for range 20 { // keys live for a minute and the poll comes after an hour: only a wake-up helps
		held := acquire(t, holder, "k")
		before := count.n.Load()
		got := acquiring(t, waiter, "k")
		eventually(t, "the waiter was refused", func() bool { return count.n.Load() > before })
		start := time.Now()
		release(t, held)
		release(t, await(t, got))
		slowest = max(slowest, time.Since(start))
	}
	t.Logf("from release to release within %v", slowest)
}

func TestRedis_TwoRoundTrips(t *testing.T) {
	t.Parallel()
	own := stacktest.OwnRedis(t)
	s := newServer(t, own.Addr)
	locker := s.locker(t)
	release(t, acquire(t, locker, "a", "b")) // connects and loads the scripts
	if err := s.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	const n = 10
	for range n {
		release(t, acquire(t, locker, "a", "b"))
	}
	info, err := s.InfoMap(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for name, stat := range info["Commandstats"] {
		var calls int
		if _, err := fmt.Sscanf(stat, "calls=%d,", &calls); err != nil {
			t.Fatal(err)
		}
		got[strings.TrimPrefix(name, "cmdstat_")] = calls
	}
	maps.DeleteFunc(got, func(name string, _ int) bool { return strings.HasPrefix(name, "config") || name == "info" })
	// Two scripts each, and what they do inside for two keys; one counter for both.
	want := map[string]int{
		"evalsha": 2 * n, "get": 6 * n, "incr": n, "set": 2 * n, "del": 2 * n, "publish": 2 * n,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commands of %d acquisitions and releases (-want +got):\n%s", n, diff)
	}
}

func TestRedis_Release(t *testing.T) {
	t.Parallel()

	t.Run("deletes nobody else's key", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		lease := acquire(t, s.locker(t), "k")
		if err := s.Set(t.Context(), s.key("k"), "thief", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
				t.Errorf("release = %v, want ErrLost", err)
			}
		}
		if got := s.Get(t.Context(), s.key("k")).Val(); got != "thief" {
			t.Errorf("the thief's key holds %q", got)
		}
	})

	t.Run("frees the key though its caller is gone", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, stacktest.Redis(t))
		ctx, cancel := context.WithCancel(t.Context())
		lease, err := s.locker(t).Acquire(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		for range 2 {
			if err := lease.Release(ctx); err != nil {
				t.Errorf("release: %v", err)
			}
		}
		if s.exists(t, "k") {
			t.Error("the key is still there")
		}
	})
}

func TestRedis_Renews(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	lease := acquire(t, s.locker(t, lock.WithTTL(2*time.Second), lock.WithMaxHold(7*time.Second)), "k")
	start, first := time.Now(), lease.Until()
	eventually(t, "the lease is renewed", func() bool { return lease.Until().After(first) })
	lostWith(t, lease, lock.ErrMaxHold)
	if got := time.Since(start); got < 7*time.Second-100*time.Millisecond {
		t.Errorf("held for %v, want MaxHold 7s", got)
	}
	if !s.exists(t, "k") {
		t.Error("the key expired before the lease ended")
	}
	release(t, lease)
}

func TestRedis_Stolen(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	lease := acquire(t, s.locker(t, lock.WithTTL(time.Second)), "k")
	if err := s.Set(t.Context(), s.key("k"), "thief", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	lostWith(t, lease, lock.ErrLost)
}

func TestRedis_Raise(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	locker := s.locker(t)
	for _, step := range []struct{ atLeast, want int64 }{{41, 42}, {7, 43}, {43, 44}, {0, 45}} {
		if err := locker.Raise(t.Context(), "k", step.atLeast); err != nil {
			t.Fatal(err)
		}
		lease := acquire(t, locker, "k")
		if got := lease.Token("k"); got != step.want {
			t.Errorf("token after raising to %d is %d, want %d", step.atLeast, got, step.want)
		}
		release(t, lease)
	}
	for _, bad := range []int64{-1, 1<<53 + 1} {
		if err := locker.Raise(t.Context(), "k", bad); err == nil || !strings.Contains(err.Error(), fmt.Sprint(bad)) {
			t.Errorf("raise to %d = %v, want an error that names it", bad, err)
		}
	}
	if ttl := s.TTL(t.Context(), s.fence()).Val(); ttl != -1 {
		t.Errorf("the counter expires in %v", ttl)
	}
}

func TestRedis_CounterThatIsNoNumber(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	if err := s.Set(t.Context(), s.fence(), "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.locker(t).Try(within(t), "a", "b"); !errors.Is(err, lock.ErrUnavailable) {
		t.Errorf("try = %v, want ErrUnavailable", err)
	}
	if s.exists(t, "a") || s.exists(t, "b") {
		t.Error("a failed script left a lock behind")
	}
}

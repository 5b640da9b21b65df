package lock_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
	"holdfast/pkg/lock"
)

// TestRedis_NobodyStarves: workers of several processes acquire one key again as soon as they have released it. Without
// the queue and the wake-up the worker that has just released would get it each time.
func TestRedis_NobodyStarves(t *testing.T) {
	t.Parallel()
	const lockers, workers, leases = 4, 4, 640
	s := newServer(t, stacktest.Redis(t))
	var granted, inside atomic.Int64
	var counts [lockers * workers]int64
	var all sync.WaitGroup
	for i := range lockers {
		locker := s.locker(t, lock.WithTTL(time.Minute))
		for j := range workers {
			all.Go(func() {
				for granted.Load() < leases {
					lease, err := locker.Acquire(within(t), "k")
					if err != nil {
						t.Error(err)
						return
					}
					if n := inside.Add(1); n != 1 {
						t.Errorf("%d holders", n)
					}
					granted.Add(1)
					counts[i*workers+j]++
					inside.Add(-1)
					if err := lease.Release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	least, fair := slices.Min(counts[:]), granted.Load()/int64(len(counts))
	t.Logf("leases of each worker: %v, a fair share is %d", counts, fair)
	if least < fair/8 {
		t.Errorf("one worker had %d leases, a fair share is %d: starvation", least, fair)
	}
}

// TestRedis_TokensOfTheImpatient: acquisitions that are given up leave gaps in the tokens, and never a token that comes
// twice or goes back.
func TestRedis_TokensOfTheImpatient(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.Redis(t))
	var tokens []int64 // guarded by the lock under test
	var gaveUp atomic.Int64
	var all sync.WaitGroup
	for i := range 3 {
		locker := s.locker(t, lock.WithTTL(time.Minute))
		for j := range 3 {
			random := rand.New(rand.NewPCG(uint64(i), uint64(j)))
			all.Go(func() {
				for range 40 {
					ctx, cancel := context.WithTimeout(within(t), time.Duration(random.Int64N(int64(8*time.Millisecond))))
					lease, err := locker.Acquire(ctx, "k")
					switch {
					case err == nil:
						tokens = append(tokens, lease.Token("k"))
						if err := lease.Release(ctx); err != nil {
							t.Error(err)
						}
					case errors.Is(err, context.DeadlineExceeded):
						gaveUp.Add(1)
					default:
						t.Error(err)
					}
					cancel()
				}
			})
		}
	}
	all.Wait()
	lease := acquire(t, s.locker(t), "k") // nothing that was given up is still held
	tokens = append(tokens, lease.Token("k"))
	release(t, lease)
	for i := 1; i < len(tokens); i++ {
		if tokens[i] <= tokens[i-1] {
			t.Fatalf("token %d follows %d", tokens[i], tokens[i-1])
		}
	}
	t.Logf("%d leases, %d given up, last token %d", len(tokens), gaveUp.Load(), tokens[len(tokens)-1])
	if gaveUp.Load() == 0 {
		t.Error("nobody gave up")
	}
}

// TestRedis_CommandDelayed: a release that was on its way for so long that another owner holds the key by now frees
// nothing.
func TestRedis_CommandDelayed(t *testing.T) {
	t.Parallel()
	s := newServer(t, stacktest.OwnRedis(t).Addr) // whose statistics are ours
	p := tcpproxy.New(t, s.addr)
	slow := s.lockerAt(t, p.Addr(), lock.WithTTL(time.Minute))
	lease := acquire(t, slow, "k")
	p.Hold(tcpproxy.Commands)
	if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrUnavailable) {
		t.Errorf("release = %v, want ErrUnavailable", err)
	}
	if err := s.Del(t.Context(), s.key("k")).Err(); err != nil { // it expires
		t.Fatal(err)
	}
	next := acquire(t, s.locker(t, lock.WithTTL(time.Minute)), "k")
	owner := s.Get(t.Context(), s.key("k")).Val()
	before := s.calls(t, "evalsha")
	p.Pass()
	eventually(t, "the late command has arrived", func() bool { return s.calls(t, "evalsha") != before })
	if got := s.Get(t.Context(), s.key("k")).Val(); got != owner {
		t.Errorf("the key holds %q, want %q", got, owner)
	}
	release(t, next)
}

// TestRedis_RestartedWithItsFile: a Redis that has each command on disk before it answers keeps leases and tokens when
// it is killed.
func TestRedis_RestartedWithItsFile(t *testing.T) {
	t.Parallel()
	own := stacktest.OwnRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	s := newServer(t, own.Addr)
	locker := s.locker(t, lock.WithTTL(time.Minute))
	lease := acquire(t, locker, "k")
	if err := own.Restart(within(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "somebody else is refused", func() bool {
		_, err := s.locker(t).Try(t.Context(), "k")
		if err == nil {
			t.Fatal("two holders")
		}
		return errors.Is(err, lock.ErrHeld)
	})
	if err := lease.Release(t.Context()); err != nil {
		t.Errorf("release after the restart: %v", err)
	}
	next := acquire(t, locker, "k")
	if got := next.Token("k"); got != lease.Token("k")+1 {
		t.Errorf("token %d follows %d", got, lease.Token("k"))
	}
	release(t, next)
}

// calls is Redis's statistics of a command; another call changes them.
func (s server) calls(t testing.TB, command string) string {
	t.Helper()
	info, err := s.InfoMap(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	return info["Commandstats"]["cmdstat_"+command]
}

package lock_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
)

// ownNodes starts n servers for the test alone.
func ownNodes(t *testing.T, n int) (nodes, []*stack.Redis) {
	t.Helper()
	servers := stacktest.OwnRedises(t, n)
	return newNodes(t, addrs(servers)), servers
}

func freeze(t *testing.T, server *stack.Redis) (thaw func()) {
	t.Helper()
	if err := server.Process.Freeze(); err != nil {
		t.Fatal(err)
	}
	thaw = func() { _ = server.Process.Thaw() }
	t.Cleanup(thaw)
	return thaw
}

func TestRedlock_MinorityAway(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ nodes, away int }{{3, 1}, {5, 2}} {
		for name, remove := range map[string]func(t *testing.T, s *stack.Redis){
			"down": func(t *testing.T, s *stack.Redis) {
				t.Helper()
				if err := s.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			},
			"hung": func(t *testing.T, s *stack.Redis) { t.Helper(); freeze(t, s) },
		} {
			t.Run(fmt.Sprintf("%d of %d %s", tc.away, tc.nodes, name), func(t *testing.T) {
				t.Parallel()
				n, servers := ownNodes(t, tc.nodes)
				// A command to a hung node takes 500 ms to give up: 20 rounds of several commands that each waited for it would
				// take a minute.
				var opts []lock.Option
				long(&opts)
				first, second := n.locker(t, opts...), n.locker(t, opts...)
				release(t, acquire(t, first, "k")) // connects
				for _, s := range servers[:tc.away] {
					remove(t, s)
				}
				start := time.Now()
				for range 20 {
					lease := acquire(t, first, "k", "l")
					if _, err := second.Try(within(t), "l"); !errors.Is(err, lock.ErrHeld) {
						t.Fatalf("try = %v, want ErrHeld", err)
					}
					got := acquiring(t, second, "l") // woken by the nodes that are left
					release(t, lease)
					release(t, await(t, got))
				}
				if d := time.Since(start); d > deadline {
					t.Errorf("20 rounds took %v: each waits for those who are away", d)
				}
				lease := acquire(t, n.locker(t, lock.WithTTL(2*time.Second)), "k")
				until := lease.Until()
				eventually(t, "the lease is renewed by those that are left", func() bool { return lease.Until().After(until) })
				release(t, lease)
			})
		}
	}
}

func TestRedlock_WakesFromAnyNode(t *testing.T) {
	t.Parallel()
	n, servers := ownNodes(t, 3)
	var opts []lock.Option
	long(&opts)
	holder, waiter := n.locker(t, opts...), n.locker(t, opts...)
	for i, node := range servers { // keys live for a minute and the poll comes after an hour
		lease := acquire(t, holder, "k")
		for _, s := range n {
			if !s.exists(t, "k") {
				t.Fatal("the lease has not all votes")
			}
		}
		got := acquiring(t, waiter, "k")
		eventually(t, "the waiter listens everywhere", func() bool {
			return !slices.ContainsFunc(n, func(s server) bool { return s.subscribers(t) == 0 })
		})
		thaw := freeze(t, node)
		release(t, lease)
		release(t, await(t, got))
		thaw()
		t.Logf("woken without node %d", i)
		eventually(t, "the late votes are given back", func() bool { return !n[i].exists(t, "k") })
	}
}

func TestRedlock_MajorityAway(t *testing.T) {
	t.Parallel()
	n, servers := ownNodes(t, 3)
	l := n.locker(t, lock.WithTTL(2*time.Second))
	lease := acquire(t, l, "k")
	for _, s := range servers[:2] {
		if err := s.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for name, get := range map[string]func() (*lock.Lease, error){
		"try":     func() (*lock.Lease, error) { return l.Try(within(t), "other") },
		"acquire": func() (*lock.Lease, error) { return l.Acquire(within(t), "other") },
	} {
		if _, err := get(); !errors.Is(err, lock.ErrUnavailable) {
			t.Errorf("%s = %v, want ErrUnavailable", name, err)
		}
	}
	if n[2].exists(t, "other") {
		t.Error("the one vote that was had was not given back")
	}
	lostWith(t, lease, lock.ErrLost)
	if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrUnavailable) {
		t.Errorf("release = %v, want ErrUnavailable", err)
	}
}

func TestRedlock_Votes(t *testing.T) {
	t.Parallel()
	n, _ := ownNodes(t, 3)
	l := n.locker(t, lock.WithTTL(2*time.Second))

	t.Run("a minority gives its votes back", func(t *testing.T) {
		var opts []lock.Option
		long(&opts) // so that no vote is gone because it expired
		l := n.locker(t, opts...)
		for _, s := range n[:2] {
			if err := s.Set(t.Context(), s.key("taken"), "somebody:1", time.Minute).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := l.Try(within(t), "free", "taken"); !errors.Is(err, lock.ErrHeld) {
			t.Errorf("try = %v, want ErrHeld", err)
		}
		eventually(t, "nothing is left of the attempt", func() bool {
			return !n[2].exists(t, "taken") && !slices.ContainsFunc(n, func(s server) bool { return s.exists(t, "free") })
		})
	})

	t.Run("one lost vote is made good by none, and does not matter", func(t *testing.T) {
		lease := acquire(t, l, "k")
		n[0].lose(t, "k")
		until := lease.Until()
		eventually(t, "the others renew", func() bool { return lease.Until().After(until) })
		if n[0].exists(t, "k") {
			t.Error("a renewal took the vote again: somebody may have had it in between")
		}
		release(t, lease)
	})

	t.Run("two lost votes are the lease lost", func(t *testing.T) {
		lease := acquire(t, l, "k")
		n[0].lose(t, "k")
		n[2].lose(t, "k")
		lostWith(t, lease, lock.ErrLost)
		if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
			t.Errorf("release = %v, want ErrLost", err)
		}
		if n[1].exists(t, "k") {
			t.Error("the third vote was not given back")
		}
	})

	t.Run("no token, and no counter that nobody reads", func(t *testing.T) {
		lease := acquire(t, l, "k")
		if got := lease.Token("k"); got != 0 {
			t.Errorf("token %d, want 0", got)
		}
		release(t, lease)
		for _, s := range n {
			if exists := s.Exists(t.Context(), s.fence()).Val(); exists != 0 {
				t.Error("a counter was made")
			}
		}
	})
}

// A command that was too slow must not be overtaken by the one that undoes it.
func TestRedlock_LateVoteIsGivenBack(t *testing.T) {
	t.Parallel()
	n, servers := ownNodes(t, 3)
	var opts []lock.Option
	long(&opts)
	l := n.locker(t, opts...)
	release(t, acquire(t, l, "k"))
	for range 5 {
		thaw := freeze(t, servers[1])
		release(t, acquire(t, l, "k"))
		thaw()
		got := acquire(t, l, "end") // so that something is taken on all three
		release(t, got)
		eventually(t, "the late vote is gone long before its TTL", func() bool { return !n[1].exists(t, "k") })
	}
}

// The set is still on its way to one node when the others have long granted the lease and it is released. The delete
// that undoes it must come after it: one that came before would find nothing, and the key would stay for the whole TTL.
func TestRedlock_DeleteFollowsItsSet(t *testing.T) {
	t.Parallel()
	n, _ := ownNodes(t, 3)
	slow := &holdOne{reached: make(chan struct{}), resume: make(chan struct{})}
	clients := newClients(n.addrs())
	clients[1].AddHook(slow)
	var opts []lock.Option
	long(&opts)
	l := n.lockerOn(t, clients, opts...)
	lease := acquire(t, l, "k")
	<-slow.reached
	release(t, lease)
	close(slow.resume)
	// Each in two commands, as the server knows no script yet.
	eventually(t, "both have been carried out", func() bool { return slow.done.Load() >= 4 })
	eventually(t, "no vote is left", func() bool { return !n[1].exists(t, "k") })
}

// holdOne holds the first command of a client until it may go on.
type holdOne struct {
	passing
	reached, resume chan struct{}
	held            atomic.Bool
	done            atomic.Int64
}

func (h *holdOne) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if h.held.CompareAndSwap(false, true) {
			close(h.reached)
			<-h.resume
		}
		defer h.done.Add(1)
		return next(ctx, cmd)
	}
}

// Redlock's promise ends where a node forgets. Two majorities of three share one node; if that node gives its vote away
// twice, there are two holders, each by the rules, and no token by which the resource could tell them apart.
func TestRedlock_ForgetfulNode(t *testing.T) {
	t.Parallel()
	var opts []lock.Option
	long(&opts) // no renewal comes that would find out

	t.Run("with all three votes one may be forgotten", func(t *testing.T) {
		t.Parallel()
		n, _ := ownNodes(t, 3)
		lease := acquire(t, n.locker(t, opts...), "k")
		if err := n[1].FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := n.locker(t, opts...).Try(within(t), "k"); !errors.Is(err, lock.ErrHeld) {
			t.Errorf("try = %v, want ErrHeld: two votes are left", err)
		}
		release(t, lease)
	})

	t.Run("with two votes two hold the key", func(t *testing.T) {
		t.Parallel()
		n, servers := ownNodes(t, 3)
		if err := servers[2].Process.Kill(); err != nil {
			t.Fatal(err)
		}
		lease := acquire(t, n.locker(t, opts...), "k") // by nodes 0 and 1
		if err := servers[2].Restart(within(t)); err != nil {
			t.Fatal(err)
		}
		if err := n[1].FlushAll(t.Context()).Err(); err != nil { // or a restart without persistence
			t.Fatal(err)
		}
		second := acquire(t, n.locker(t, opts...), "k") // by nodes 1 and 2
		if lease.Context().Err() != nil || second.Context().Err() != nil {
			t.Fatal("one of the leases ended: the overlap that this test shows is gone")
		}
		if lease.Token("k") != 0 || second.Token("k") != 0 {
			t.Error("a token, which would be no use")
		}
		t.Log("two leases on one key, both valid: what Redlock permits when a node forgets its votes")
		release(t, second)
		if err := lease.Release(t.Context()); !errors.Is(err, lock.ErrLost) {
			t.Errorf("release = %v, want ErrLost: at the end it comes out", err)
		}
	})
}

// A node that had given a vote to an earlier attempt, and was not asked by the one that succeeded, has no say in the
// end.
func TestRedlock_StaleAnswer(t *testing.T) {
	t.Parallel()
	n, servers := ownNodes(t, 3)
	for _, s := range n[:2] {
		if err := s.Set(t.Context(), s.key("k"), "somebody:1", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
	}
	listener := n[2].Subscribe(t.Context(), "{"+n[2].prefix+"}freed")
	t.Cleanup(func() { _ = listener.Close() })
	given := listener.Channel()
	got := acquiring(t, n.locker(t, lock.WithTTL(deadline), lock.WithMaxHold(time.Minute)), "k")
	<-given // node 2 has given its vote and got it back
	freeze(t, servers[2])
	time.Sleep(600 * time.Millisecond) // so that an attempt is under way there when the others become free
	for _, s := range n[:2] {
		s.lose(t, "k")
	}
	lease := await(t, got)
	n[1].lose(t, "k")
	if err := lease.Release(t.Context()); err == nil {
		t.Error("released without a majority to say so")
	}
}

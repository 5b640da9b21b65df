package lock_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/lock"
)

// TestRedis_WaitReplicas: a lease is granted when the replica has its keys, and refused when it has not.
func TestRedis_WaitReplicas(t *testing.T) {
	t.Parallel()
	master := stacktest.OwnRedis(t, "--repl-diskless-sync-delay", "0")
	replica := server{Client: redis.NewClient(&redis.Options{Addr: stacktest.OwnRedis(t).Addr})}
	t.Cleanup(func() { _ = replica.Close() })
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, master.Addr)
	replica.prefix = s.prefix
	// Within the quarter of the TTL that is allowed; far more than a replica on the same machine needs.
	locker := s.locker(t, lock.WithTTL(time.Minute), lock.WithWaitReplicas(1, 10*time.Second))
	eventually(t, "the replica is connected", func() bool {
		return s.Wait(t.Context(), 1, 100*time.Millisecond).Val() == 1 && s.Set(t.Context(), "x", 1, 0).Err() == nil &&
			replica.Exists(t.Context(), "x").Val() == 1
	})
	for range 20 {
		lease := acquire(t, locker, "a", "b")
		if !replica.exists(t, "a") || !replica.exists(t, "b") {
			t.Fatal("granted before the replica had the keys")
		}
		release(t, lease)
	}

	for _, tc := range []struct {
		replicas int
		cut      func()
	}{
		{2, func() {}},
		{1, func() {
			if err := replica.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		tc.cut()
		_, err = locker.With(lock.WithWaitReplicas(tc.replicas, 50*time.Millisecond)).Try(within(t), "a", "b")
		if !errors.Is(err, lock.ErrUnavailable) || !strings.Contains(err.Error(), "too few replicas") {
			t.Errorf("try with too few replicas = %v, want ErrUnavailable and why", err)
		}
		if s.exists(t, "a") || s.exists(t, "b") {
			t.Error("a key is left of a grant that was refused")
		}
	}
}

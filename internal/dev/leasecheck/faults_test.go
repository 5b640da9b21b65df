package leasecheck_test

import (
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/leasecheck"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
)

// fault is something that goes wrong while workers are at it. happen returns when it has ended, and ends the test when
// it did not really happen.
type fault struct {
	name     string
	settings []string // of Redis
	happen   func(t *testing.T, a *arena)
}

func faults() []fault {
	return []fault{
		{"nothing", nil, func(*testing.T, *arena) {}},
		{"black hole", nil, func(t *testing.T, a *arena) { a.hold(t, tcpproxy.Both) }},
		{"replies delayed", nil, func(t *testing.T, a *arena) { a.hold(t, tcpproxy.Replies) }},
		{"commands delayed past the leases", nil, func(t *testing.T, a *arena) { a.hold(t, tcpproxy.Commands) }},
		{"connections reset", nil, resets},
		{"connections half-open", nil, halfOpen},
		{"Redis flushed", nil, flush},
		{"Redis stopped past the leases", nil, freeze},
		{"Redis restarted empty", nil, restartEmpty},
		{"Redis restarted with its append-only file", appendOnly(), restart},
		{"replica promoted while behind", nil, promote},
	}
}

// appendOnly are settings with which each command is on disk before it is answered.
func appendOnly() []string { return []string{"--appendonly", "yes", "--appendfsync", "always"} }

// TestFaults: whatever happens to Redis or to the way to it, nothing is lost and nothing is sold twice, and afterwards
// everything works again.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			a := newArena(t, f.settings...)
			stop := a.work(t)
			a.accepts(t, 15)
			f.happen(t, a)
			a.accepts(t, 15)
			stop()
			a.verify(t, a.history(t))
		})
	}
}

// hold keeps back what goes in a direction until leases have been lost for it, and for a TTL longer.
func (a *arena) hold(t *testing.T, d tcpproxy.Direction) {
	t.Helper()
	before := a.history(t)
	a.proxy.Hold(d)
	defer a.proxy.Pass()
	a.noted(t, before, leasecheck.NoteUnavailable)
	time.Sleep(leaseTTL) // what is kept back belongs to leases that are over
	if a.proxy.Stopped() == 0 {
		t.Error("the proxy held nothing back")
	}
}

func resets(t *testing.T, a *arena) {
	t.Helper()
	n := 0
	for range 10 {
		n += a.proxy.Reset()
		a.accepts(t, 1)
	}
	if n < 10 {
		t.Errorf("only %d connections were reset", n)
	}
}

func halfOpen(t *testing.T, a *arena) {
	t.Helper()
	if n := a.proxy.HalfOpen(); n < 3 {
		t.Errorf("only %d connections were half-open", n)
	}
}

// flush takes locks and counters away: leases are lost, tokens begin at 1 and are refused until they are raised.
func flush(t *testing.T, a *arena) {
	t.Helper()
	for range 3 {
		before, names := a.history(t), a.Redis.DBSize(t.Context()).Val()
		if err := a.Redis.FlushAll(t.Context()).Err(); err != nil || names == 0 {
			t.Fatalf("flushed %d names: %v", names, err)
		}
		a.noted(t, before, leasecheck.NoteRaised)
		a.accepts(t, 3)
	}
}

func freeze(t *testing.T, a *arena) {
	t.Helper()
	before := a.history(t)
	if err := a.redis.Process.Freeze(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.redis.Process.Thaw(); err != nil {
			t.Error(err)
		}
	}()
	leasecheck.Eventually(t, "Redis stands still", func() bool { return a.redis.Process.Stopped(t.Context()) })
	a.noted(t, before, leasecheck.NoteUnavailable)
	time.Sleep(leaseTTL)
}

func restartEmpty(t *testing.T, a *arena) {
	t.Helper()
	before := a.history(t)
	restart(t, a)
	a.noted(t, before, leasecheck.NoteRaised)
}

func restart(t *testing.T, a *arena) {
	t.Helper()
	before := a.redis.PID
	if err := a.redis.Restart(leasecheck.Within(t)); err != nil {
		t.Fatal(err)
	}
	if a.redis.PID == before {
		t.Error("it is the same process")
	}
}

// promote makes a replica that has not received the latest locks and tokens the new Redis.
func promote(t *testing.T, a *arena) {
	t.Helper()
	replica := stacktest.OwnRedis(t, "--repl-diskless-sync-delay", "0", "--repl-timeout", "60")
	admin := redis.NewClient(&redis.Options{Addr: replica.Addr})
	t.Cleanup(func() { _ = admin.Close() })
	wire := tcpproxy.New(t, a.redis.Addr)
	follow(t, admin, wire.Addr())
	counter := "{" + a.Prefix + "}fence"
	leasecheck.Eventually(t, "the replica has the counter", func() bool { return admin.Exists(t.Context(), counter).Val() == 1 })

	wire.Hold(tcpproxy.Both) // detached: what is written from here on does not reach it
	a.accepts(t, 10)
	old, err := a.Redis.Get(t.Context(), counter).Int()
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	stale, err := admin.Get(t.Context(), counter).Int()
	if err != nil || stale >= old {
		t.Fatalf("the replica's counter is %d (%v), want it behind %d", stale, err, old)
	}
	before := a.history(t)
	a.proxy.Retarget(replica.Addr)
	a.noted(t, before, leasecheck.NoteRaised)
}

// follow makes a Redis the replica of another and waits until they are connected.
func follow(t *testing.T, admin *redis.Client, addr string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	leasecheck.Eventually(t, "the replica is in step", func() bool {
		info, err := admin.InfoMap(t.Context(), "replication").Result()
		return err == nil && info["Replication"]["master_link_status"] == "up"
	})
}

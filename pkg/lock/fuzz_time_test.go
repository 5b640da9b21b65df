package lock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/pkg/lock"
)

// FuzzDurations makes lockers with durations of any size: one that is not refused must give leases that end when they
// say, at the longest time and not later, and whose keys live for as long as their holders believe.
func FuzzDurations(f *testing.F) {
	for _, seed := range [][3]time.Duration{
		{8 * time.Second, 32 * time.Second, 800 * time.Millisecond},
		{100 * time.Millisecond, 100 * time.Millisecond, 0},
		{100*time.Millisecond + 1, 150 * time.Millisecond, 50 * time.Millisecond},
		{time.Second, time.Second, 500 * time.Millisecond},
		{time.Second, 24 * time.Hour, time.Nanosecond},
		{time.Second, 0, -1},
		{1<<63 - 1, 1<<63 - 1, 1 << 61},
		{1 << 62, 0, 0},
		{-1 << 63, -1, 1},
	} {
		f.Add(int64(seed[0]), int64(seed[1]), int64(seed[2]))
	}
	f.Fuzz(func(t *testing.T, ttl, maxHold, margin int64) {
		opts := []lock.Option{
			lock.WithTTL(time.Duration(ttl)), lock.WithMaxHold(time.Duration(maxHold)), lock.WithMargin(time.Duration(margin)),
		}
		client := lock.NewClient([]string{"127.0.0.1:1"})
		defer client.Close()
		if _, err := lock.NewRedis(client, opts...); err != nil {
			return
		}
		synctest.Test(t, func(t *testing.T) { leaseOf(t, time.Duration(ttl), time.Duration(maxHold), opts) })
	})
}

// leaseOf lets one lease live until it ends, or for many renewals.
func leaseOf(t *testing.T, ttl, maxHold time.Duration, opts []lock.Option) {
	t.Helper()
	locker, err := lock.NewMemory(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer locker.Close()
	start := time.Now()
	lease, err := locker.Acquire(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if until, expires := lease.Until(), locker.Expires("a"); until.After(expires) {
			t.Fatalf("believed until %v, the key expires %v earlier", until, until.Sub(expires))
		}
		select {
		case <-lease.Context().Done():
			held := time.Since(start)
			if !time.Now().Equal(lease.Until()) || maxHold > 0 && held > maxHold {
				t.Errorf("ended after %v, %v after Until; the longest time is %v", held, time.Since(lease.Until()), maxHold)
			}
			if cause := context.Cause(lease.Context()); !errors.Is(cause, lock.ErrMaxHold) {
				t.Errorf("ended with %v on a backend that always answers", cause)
			}
			mustRelease(t, lease)
			return
		case <-time.After(ttl / 7):
		}
	}
	mustRelease(t, lease)
}

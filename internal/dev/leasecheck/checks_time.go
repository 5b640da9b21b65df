package leasecheck

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
	"holdfast/pkg/lock"
)

// lateReply delays the answer to an acquisition and compares the lease with its key. An answer that came too late to be
// received at all is retried.
func lateReply(tb testing.TB, s Subject) error {
	b := shared(tb, s)
	p := tcpproxy.New(tb, b.Addr)
	// Drift is 100 ms, and a command may take 500 ms.
	locker := b.LockerAt(p.Addr(), lock.WithTTL(10*time.Second), lock.WithMargin(0))
	for try := 1; ; try++ {
		late, err := b.lateBy(locker, p, fmt.Sprint("k", try))
		switch {
		case errors.Is(err, lock.ErrUnavailable) && try < 10:
		case err != nil:
			return err
		case late > 0:
			return fmt.Errorf("the holder believes for %v longer than the key lives", late)
		default:
			return nil
		}
	}
}

// lateBy takes a key with an answer that is held back for a while, and returns by how much the lease outlives the key.
func (b *Bench) lateBy(locker Locker, p *tcpproxy.Proxy, key string) (time.Duration, error) {
	b.tb.Helper()
	ctx := Within(b.tb)
	warm, err := locker.Try(ctx, "warm")
	if err != nil {
		return 0, err
	}
	if err := warm.Release(ctx); err != nil { // the connection stands, the scripts are loaded
		return 0, err
	}
	p.Hold(tcpproxy.Replies)
	before := p.Stopped()
	var lease *lock.Lease
	got := make(chan struct{})
	go func() {
		defer close(got)
		lease, err = locker.Try(ctx, key)
	}()
	Eventually(b.tb, "the answer is held back", func() bool { return p.Stopped() > before })
	time.Sleep(250 * time.Millisecond) // the delay
	p.Pass()
	<-got
	if err != nil {
		return 0, err
	}
	now := time.Now()
	left, err := b.Redis.PTTL(ctx, b.LockName(key)).Result()
	if err != nil {
		b.tb.Fatal(err)
	}
	return lease.Until().Sub(now.Add(left)), lease.Release(ctx)
}

func hungRedis(tb testing.TB, s Subject) error {
	const ttl, margin = 2 * time.Second, 500 * time.Millisecond
	own := stacktest.OwnRedis(tb)
	b := NewBench(tb, s, own.Addr)
	lease := b.Acquire(b.Locker(lock.WithTTL(ttl), lock.WithMargin(margin)), "k")
	if err := own.Process.Freeze(); err != nil {
		tb.Fatal(err)
	}
	expiry := time.Now().Add(ttl) // at the latest: no renewal reaches Redis any more
	defer func() { _ = own.Process.Thaw() }()
	select {
	case <-lease.Context().Done():
	case <-time.After(2 * ttl):
		return fmt.Errorf("the holder believes in its lease %v after Redis stopped, the TTL is %v", 2*ttl, ttl)
	}
	if late := time.Since(expiry); late > 0 {
		return fmt.Errorf("the holder learnt of the end %v after the key could expire", late)
	}
	return nil
}

package ladder

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/stack/stacktest"
	"holdfast/internal/tcpproxy"
	"holdfast/pkg/lock"
)

// Check is a situation in which a lock, or the protocol of a resource under it, can be wrong. Run returns what is wrong, so
// that it can be run on mutants too; what keeps it from looking ends the test.
type Check struct {
	Name string
	Run  func(tb testing.TB, s Subject) error
}

// The checks, by name. Each is turned red by a mutant at least, or it would prove nothing.
const (
	LateRelease      = "a late release leaves the next owner's key alone"
	CommitUnderLease = "the lease outlives the commit"
	Interleavings    = "two who believe that they hold it, in every interleaving"
	Contention       = "contention: one at a time, nothing lost"
	LateReply        = "a lease counts from before its command was sent"
	HungRedis        = "a Redis that hangs ends the lease before the key can expire"
)

// Checks returns all of them.
func Checks() []Check {
	return []Check{
		{LateRelease, lateRelease},
		{CommitUnderLease, commitUnderLease},
		{Interleavings, interleavings},
		{Contention, contention},
		{LateReply, lateReply},
		{HungRedis, hungRedis},
	}
}

// forever is a TTL that ends no lease of a check.
const forever = time.Minute

func lateRelease(tb testing.TB, s Subject) error {
	b := shared(tb, s)
	late := b.Acquire(b.Locker(lock.WithTTL(forever)), "k")
	b.Expire("k")
	owner := b.Acquire(b.Locker(lock.WithTTL(forever)), "k")
	before := b.Redis.Get(tb.Context(), b.LockName("k")).Val()
	if err := late.Release(tb.Context()); !errors.Is(err, lock.ErrLost) {
		return fmt.Errorf("release of a lease that was lost answers %v", err) //nolint:errorlint // It may be nil.
	}
	if after := b.Redis.Get(tb.Context(), b.LockName("k")).Val(); after != before {
		return fmt.Errorf("the late release changed the next owner's key from %q to %q", before, after)
	}
	return owner.Release(tb.Context())
}

func commitUnderLease(tb testing.TB, s Subject) error {
	b := shared(tb, s)
	b.Put(10, "k")
	holder, other := b.Locker(lock.WithTTL(forever)), b.Locker(lock.WithTTL(forever))
	one := b.Hold("one", holder, "k", BeforeCommit, &Journal{w: &bytes.Buffer{}})
	Eventually(tb, "the holder is about to commit", one.Reached)
	lease, err := other.Try(Within(tb), "k")
	one.GoOn()
	if held := one.Wait(); held != nil {
		return held
	}
	if err == nil {
		return errors.Join(errors.New("somebody else got the lease before the holder had committed"), lease.Release(tb.Context()))
	}
	if !errors.Is(err, lock.ErrHeld) {
		tb.Fatal(err)
	}
	return nil
}

// interleavings stops a holder at each point, lets its lock expire without its knowing, brings a second holder to each
// point or to the row that the first has claimed, and lets first the one and then the other go on.
func interleavings(tb testing.TB, s Subject) error {
	b := shared(tb, s)
	first, second := b.Locker(lock.WithTTL(forever)), b.Locker(lock.WithTTL(forever))
	var errs []error
	for _, p := range Points() {
		for _, q := range Points() {
			if err := b.interleave(first, second, p, q); err != nil {
				errs = append(errs, fmt.Errorf("one stops %s, the other %s: %w", p, q, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (b *Bench) interleave(first, second Locker, p, q Point) error {
	b.tb.Helper()
	key := fmt.Sprintf("%s, %s", p, q)
	b.Put(10, key)
	var text bytes.Buffer
	journal := NewJournal(&text)
	one := b.Hold("one", first, key, p, journal)
	Eventually(b.tb, "the first holder is there", one.Reached)
	b.Expire(key)
	two := b.Hold("two", second, key, q, journal)
	Eventually(b.tb, "the second holder is there, or waits for the first one's row", func() bool { return two.Reached() || b.RowAwaited() })
	one.GoOn()
	Eventually(b.tb, "the first holder is through, or waits for the second one's row", func() bool { return one.Ended() || b.RowAwaited() })
	two.GoOn()
	if err := one.Wait(); err != nil && !errors.Is(err, lock.ErrStale) {
		return fmt.Errorf("the first: %w", err)
	}
	if err := two.Wait(); err != nil {
		return fmt.Errorf("the second: %w", err)
	}
	h, err := Read(&text)
	if err != nil {
		b.tb.Fatal(err)
	}
	return b.Verify(h, key, 10)
}

// contention has many workers of several lockers take from one key, without any fault.
func contention(tb testing.TB, s Subject) error {
	const lockers, workers, rounds = 3, 3, 8
	b := shared(tb, s)
	b.Put(1000, "k")
	var text bytes.Buffer
	journal := NewJournal(&text)
	var inside, overlaps atomic.Int64
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	for i := range lockers {
		locker := b.Locker(lock.WithTTL(forever))
		for j := range workers {
			w := Worker{
				Name: fmt.Sprintf("%d/%d", i, j), Locker: locker, Stock: b.Stock, Journal: journal, Guards: s.Guards,
				Keys: []string{"k"}, Rand: rand.New(rand.NewPCG(uint64(i), uint64(j))),
			}
			all.Go(func() {
				for range rounds {
					lease, err := locker.Acquire(Within(tb), "k")
					if err == nil {
						if inside.Add(1) > 1 {
							overlaps.Add(1)
						}
						err = w.deduct(tb.Context(), lease)
						inside.Add(-1)
						err = errors.Join(err, lease.Release(tb.Context()))
					}
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			})
		}
	}
	all.Wait()
	h, err := Read(&text)
	if err != nil {
		tb.Fatal(err)
	}
	if n := overlaps.Load(); n > 0 {
		errs = append(errs, fmt.Errorf("%d times two were at work at once", n))
	}
	return errors.Join(append(errs, b.Verify(h, "k", 1000))...)
}

// lateReply delays the answer to an acquisition and compares the lease with its key. An answer that came too late to be
// heard at all is tried again.
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
	if err := own.Process.Signal(syscall.SIGSTOP); err != nil {
		tb.Fatal(err)
	}
	expiry := time.Now().Add(ttl) // at the latest: no renewal reaches Redis any more
	defer func() { _ = own.Process.Signal(syscall.SIGCONT) }()
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

package leasecheck

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/pkg/lock"
)

// Check is a situation in which a lock, or the protocol of a resource under it, can be wrong. Run returns what is
// wrong, so that it can be run on mutants too; what keeps it from looking ends the test.
type Check struct {
	Name string
	Run  func(tb testing.TB, s Subject) error
}

// The checks, by name. Each is turned red by a mutant at least, or it would prove nothing.
const (
	LateRelease      = "a late release leaves the next owner's key alone"
	CommitUnderLease = "the lease outlives the commit"
	Interleavings    = "two who believe that they hold it, in every interleaving"
	TokenTwice       = "a token that was given twice is accepted once"
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
		{TokenTwice, tokenTwice},
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

// tokenTwice has Redis forget the last token that it gave, as a failover to a replica does that was behind by one
// write, so that the next holder has the same. The first comes to its claim when the other has sold.
func tokenTwice(tb testing.TB, s Subject) error {
	b := shared(tb, s)
	b.Put(10, "k")
	var text bytes.Buffer
	journal := NewJournal(&text)
	one := b.Hold("one", b.Locker(lock.WithTTL(forever)), "k", BeforeClaim, journal)
	Eventually(tb, "the first holder is there", one.Reached)
	b.Expire("k")
	if err := b.Redis.Decr(tb.Context(), "{"+b.Prefix+"}fence").Err(); err != nil {
		tb.Fatal(err)
	}
	if err := b.Hold("two", b.Locker(lock.WithTTL(forever)), "k", "", journal).Wait(); err != nil {
		return fmt.Errorf("the second: %w", err)
	}
	one.GoOn()
	if err := one.Wait(); !errors.Is(err, lock.ErrStale) {
		return fmt.Errorf("the first got %v with a token that the row had seen", err) //nolint:errorlint // It may be nil.
	}
	h, err := Read(&text)
	if err != nil {
		tb.Fatal(err)
	}
	return b.Verify(h, "k", 10)
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

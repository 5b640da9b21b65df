package lesson

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/lock"
)

func hungHolder() Lesson {
	return Lesson{
		Name:  "hung-holder",
		Title: "a holder that hangs and is renewed, and one that sleeps and is not",
		Run:   runHungHolder,
		Roles: map[string]Role{"uncapped": hangUncapped, "capped": hangCapped, "seller": runSeller},
	}
}

const (
	hungTTL  = 1500 * time.Millisecond
	hungLook = 4 * hungTTL // how long the lesson watches the one that nobody stops
	hungCap  = 2 * hungTTL
)

func runHungHolder(ctx context.Context, e *Env) error {
	client, err := e.Redis(ctx)
	if err != nil {
		return err
	}
	if err := watchUncapped(ctx, e, client); err != nil {
		return err
	}
	if err := watchCapped(ctx, e, client); err != nil {
		return err
	}
	return watchFrozen(ctx, e)
}

// watchUncapped looks at a holder whose work hangs and whose watchdog does not.
func watchUncapped(ctx context.Context, e *Env, client *redis.Client) error {
	e.Step("A process's work hangs. Its watchdog, a goroutine, goes on: it extends the key of %v every %v.", hungTTL, rounded(hungTTL/3))
	key := e.Key("uncapped")
	holder, err := e.Start("uncapped", client.Options().Addr, key)
	if err != nil {
		return err
	}
	if _, err := holder.Await(ctx, "hangs"); err != nil {
		return err
	}
	tries, got := 0, false
	for start := time.Now(); time.Since(start) < hungLook && !got; time.Sleep(hungTTL / 20) {
		if got, err = client.SetNX(ctx, key, "next", hungTTL).Result(); err != nil {
			return err
		}
		tries++
	}
	if err := holder.Tell("count"); err != nil {
		return err
	}
	renewals, err := holder.Await(ctx, "renewals")
	if err != nil {
		return err
	}
	e.Show("after %v, %d times the expiry: %s renewals, the next one tried %d times", hungLook, hungLook/hungTTL, renewals, tries)
	e.Check(!got, "nobody else got the lock, and nobody will while the process lives")
	return holder.Kill()
}

// watchCapped looks at the same under pkg/lock.
func watchCapped(ctx context.Context, e *Env, client *redis.Client) error {
	e.Step("The same under pkg/lock, TTL %v, MaxHold %v: the watchdog stops at the cap.", hungTTL, hungCap)
	prefix := e.Key("capped:")
	holder, err := e.Start("capped", client.Options().Addr, prefix)
	if err != nil {
		return err
	}
	if _, err := holder.Await(ctx, "hangs"); err != nil {
		return err
	}
	locker, err := e.locker(ctx, prefix, lock.WithTTL(hungTTL))
	if err != nil {
		return err
	}
	start := time.Now()
	lease, err := locker.Acquire(ctx, "k")
	if err != nil {
		return err
	}
	e.Show("the next one has the lock after %v", rounded(time.Since(start)))
	cause, err := holder.Await(ctx, "ended")
	if err != nil {
		return err
	}
	e.Show("the hung one's context has ended: %s", cause)
	e.Check(lease.Token("k") == 2, "the lock is free again although its holder still hangs")
	return lease.Release(ctx)
}

// watchFrozen stops a whole process, watchdog and all, while it holds a lease, and lets it write after that.
func watchFrozen(ctx context.Context, e *Env) error {
	e.Step("A whole process is stopped (SIGSTOP) while it holds the lock: nothing renews, and nothing in it knows.")
	d, err := e.duel(ctx)
	if err != nil {
		return err
	}
	if err := d.shelf.fill(ctx, 10); err != nil {
		return err
	}
	r, err := d.play(ctx, true,
		"A lock", "A sleeps", "B lock", "B claim", "B read", "B write", "B commit", "A wakes", "A claim", "A read", "A write", "A commit")
	if err != nil {
		return err
	}
	left, err := d.shelf.left(ctx)
	e.Check(err == nil && r.accepted == 1 && r.refused == 1 && left == 9,
		"the fence refused the late writer: B's sale stands, %d of 10 are left", left)
	return err
}

// hangUncapped renews for as long as it lives. Args: address, key.
func hangUncapped(ctx context.Context, c *Child) error {
	client := redis.NewClient(&redis.Options{Addr: c.Args[0]})
	defer client.Close() //nolint:errcheck // nothing can be done about it
	l := inventorylab.HandLock{Client: client, Key: c.Args[1], Value: "holder", TTL: hungTTL}
	if err := l.Lock(ctx); err != nil {
		return err
	}
	var renewals atomic.Int64
	defer l.Watch(ctx, func() { renewals.Add(1) })()
	c.Report("hangs")
	for {
		if _, err := c.Order(ctx); err != nil {
			return nil // the lesson has ended
		}
		c.Report("renewals %d", renewals.Load())
	}
}

// hangCapped holds a lease and never gives it back. Args: address, prefix.
func hangCapped(ctx context.Context, c *Child) (err error) {
	locker, closing, err := newLocker(c.Args[0], c.Args[1], lock.WithTTL(hungTTL), lock.WithMaxHold(hungCap))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closing()) }()
	lease, err := locker.Acquire(ctx, "k")
	if err != nil {
		return err
	}
	c.Report("hangs")
	<-lease.Context().Done()                             // the hung work does not look; this line is for the lesson
	c.Report("ended %v", context.Cause(lease.Context())) //nolint:contextcheck // The lease derives its context from ctx.
	<-ctx.Done()
	return nil
}

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
		Title: "a hung holder is renewed, and a frozen holder is not",
		Run:   runHungHolder,
		Roles: map[string]Role{"uncapped": hangUncapped, "capped": hangCapped, "seller": runSeller},
	}
}

const (
	hungTTL  = 1500 * time.Millisecond
	hungLook = 4 * hungTTL // how long the lesson watches the uncapped holder
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

// watchUncapped watches a holder whose work hangs while its watchdog still runs.
func watchUncapped(ctx context.Context, e *Env, client *redis.Client) error {
	e.Step("A process's work hangs. Its watchdog, a goroutine, still runs: it extends the key of %v every %v.", hungTTL, rounded(hungTTL/3))
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
	e.Show("after %v, %d times the expiry: %s renewals, the next client tried %d times", hungLook, hungLook/hungTTL, renewals, tries)
	e.Check(!got, "no other client got the lock, and none will while the process lives")
	return holder.Kill()
}

// watchCapped watches the same holder with pkg/lock.
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
	e.Show("the next client has the lock after %v", rounded(time.Since(start)))
	cause, err := holder.Await(ctx, "ended")
	if err != nil {
		return err
	}
	e.Show("the hung holder's context has ended: %s", cause)
	e.Check(lease.Token("k") == 2, "the lock is free although its holder still hangs")
	return lease.Release(ctx)
}

// watchFrozen freezes a whole process, including its watchdog, while it holds a lease, and then lets it write.
func watchFrozen(ctx context.Context, e *Env) error {
	e.Step("A whole process is stopped (SIGSTOP) while it holds the lock: it cannot renew and does not notice.")
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
		"the fence refused the late write: B's sale stands, %d of 10 are left", left)
	return err
}

// hangUncapped renews its key until it is killed. Args: address, key.
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

// hangCapped holds a lease and never releases it. Args: address, prefix.
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
	<-lease.Context().Done()                             // only for the lesson's output: hung work does not check this
	c.Report("ended %v", context.Cause(lease.Context())) //nolint:contextcheck // The lease derives its context from ctx.
	<-ctx.Done()
	return nil
}

package e04

import (
	"context"
	"errors"
	"time"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
)

// renewal is a run of the learner's Renew.
type renewal struct {
	*client

	until   time.Duration // when Renew returned, since the run began
	stopped time.Duration // when the context of Renew was ended, since the run began; 0: it was not
	clock   *clock
}

// renews is a client that takes the lock and renews it. end is asked at each sleep whether its context ends there.
func (c *renewal) renews(end func(sleep int, now time.Duration) bool) explore.Actor {
	return explore.Actor{Name: c.name, Run: func(run context.Context, h *explore.Handle) error {
		ctx, cancel := context.WithCancel(run)
		defer cancel()
		c.clock = &clock{client: c.client, handle: h}
		c.clock.interrupt = func(sleep int) {
			if now := c.clock.Now().Sub(epoch()); ctx.Err() == nil && end(sleep, now) {
				c.stopped = now
				cancel()
			}
		}
		defer func() { c.until = c.clock.Now().Sub(epoch()) }() // also if the clock has ended a loop
		l := c.lock(h, c.clock)
		c.acquire(ctx, l)
		if !c.held {
			return c.refused
		}
		c.end(ctx, l.Renew)
		return c.endErr
	}}
}

// renewsUntilCap has work that hangs: nothing ends the renewal but its own limit, or the end of the run after it.
func renewsUntilCap(w *world) explore.Scenario {
	var a *renewal
	return explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			a = &renewal{client: w.client("A")}
			return []explore.Actor{a.renews(func(_ int, now time.Duration) bool { return now > maxHold })}, w.reset(ctx)
		},
		Judge: func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
			key, err := w.look(ctx)
			if err != nil {
				return nil, err
			}
			return judgeCap(w, r, a, key), nil
		},
	}
}

// judgeCap judges a renewal that nothing but its limit ends. key is what was stored when it returned.
func judgeCap(w *world, r *explore.Run, a *renewal, key state) *explore.Finding {
	expired, lost := w.expired(a.value)
	extended, tooLong := w.extendedAfter(a.name, maxHold)
	switch {
	case !a.held:
		return finding("nobody", args{judge.Says(a.refused), judge.Says(a.refused)}, nil, nil)
	case key.exists && key.ttl < 0:
		return finding("no-expiry", args{w.lastChange(r)}, args{w.lastChange(r)}, nil)
	case lost && expired.at < maxHold-tolerance:
		return finding("renewed-too-late", args{seconds(expired.at)}, args{w.lastChange(r)}, args{ttl})
	case a.until+key.ttl < maxHold-tolerance:
		return finding("not-renewed", args{seconds(a.until), judge.Says(a.endErr), seconds(a.until + key.ttl)}, nil, args{maxHold})
	case tooLong:
		return finding("no-cap", args{maxHold, seconds(extended.at)}, args{stepOf(r.Steps, a.name, extended.nth)}, nil)
	case !errors.Is(a.endErr, w.learner.ErrMaxHold):
		return finding("cap-not-reported", args{maxHold, seconds(a.until), judge.Says(a.endErr)}, nil, nil)
	}
	return nil
}

// renewsUntilWorkEnds ends the context of the renewal during its second pause.
func renewsUntilWorkEnds(w *world) explore.Scenario {
	var a *renewal
	return explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			a = &renewal{client: w.client("A")}
			return []explore.Actor{a.renews(func(sleep int, _ time.Duration) bool { return sleep == 2 })}, w.reset(ctx)
		},
		Judge: func(_ context.Context, _ *explore.Run) (*explore.Finding, error) {
			_, extended := w.extendedAfter(a.name, a.stopped)
			if a.stopped > 0 && (a.clock.ignored > 0 || extended) {
				return finding("renews-after-the-work", args{seconds(a.stopped), seconds(a.until)}, nil, nil), nil
			}
			return nil, nil
		},
	}
}

// extendedAfter returns the first change by which the actor extended the key later than since.
func (w *world) extendedAfter(actor string, since time.Duration) (change, bool) {
	for _, c := range w.changes {
		if c.actor == actor && c.before.exists && c.sets() && c.at > since {
			return c, true
		}
	}
	return change{}, false
}

// long is a longest time that is not in the way of a loss.
const long = 2 * maxHold

// worksFor is how long the next holder has worked before its last step.
const worksFor = 5 * time.Second

// renewsOwnKey has the holder stopped for a whole time to live. Another process takes the lock meanwhile.
func renewsOwnKey(w *world) explore.Scenario {
	var a *renewal
	var b *client
	return explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			a, b = &renewal{client: w.client("A")}, w.client("B")
			a.maxHold = long
			tooLong := func(_ int, now time.Duration) bool { return now > long+2*ttl }
			late := b.acquiresLate()
			works := explore.Actor{Name: b.name, Run: func(ctx context.Context, h *explore.Handle) error {
				if err := late.Run(ctx, h); err != nil {
					return err
				}
				return w.pass(ctx, h, b.name, worksFor)
			}}
			return []explore.Actor{a.renews(tooLong), works}, w.reset(ctx)
		},
		Judge: func(_ context.Context, r *explore.Run) (*explore.Finding, error) { return judgeOwn(w, r, a, b), nil },
	}
}

func judgeOwn(w *world, r *explore.Run, a *renewal, b *client) *explore.Finding {
	expired, lost := w.expired(a.value)
	if !lost || !a.held {
		return nil
	}
	if f := foreign(w, r, a, b, expired); f != nil {
		return f
	}
	asked, ok := renewedSince(w, r, a, expired)
	reported := errors.Is(a.endErr, w.learner.ErrLost) || errors.Is(a.endErr, w.learner.ErrMaxHold) // both may be true
	switch {
	case ok && (!reported || a.until > asked.at):
		number := stepOf(r.Steps, a.name, asked.nth)
		return finding("renewal-hides-loss", args{number, judge.Says(a.endErr)}, args{number, seconds(asked.at), seconds(a.until)}, nil)
	case !reported:
		return finding("renewal-ends-silently", args{seconds(expired.at), judge.Says(a.endErr)}, nil, nil)
	}
	return nil
}

// renewedSince returns A's first attempt to extend the key after it had expired.
func renewedSince(w *world, r *explore.Run, a *renewal, expired expiry) (change, bool) {
	for _, c := range w.changes[expired.changes:] {
		if c.actor == a.name && !isLook(r, stepOf(r.Steps, a.name, c.nth)) {
			return c, true
		}
	}
	return change{}, false
}

// foreign explains a step of A that set a key that was not its own any more. Nil: none.
func foreign(w *world, r *explore.Run, a *renewal, b *client, expired expiry) *explore.Finding {
	for _, c := range w.changes[expired.changes:] {
		if c.actor != a.name || !c.sets() {
			continue
		}
		number, look := stepOf(r.Steps, a.name, c.nth), lookOfOwn(w, r, a.client, c.nth)
		switch {
		case !c.before.exists:
			return finding("revives", nil, args{number}, nil)
		case c.after.value != c.before.value:
			return finding("takes-over", nil, args{w.setBy(r, b.name), number}, nil)
		case look > lastSleep(r, a.name, number):
			return finding("get-then-expire", nil, args{look, w.setBy(r, b.name), number}, args{look, number})
		default:
			return finding("blind-renewal", nil, args{w.setBy(r, b.name), number}, args{number})
		}
	}
	return nil
}

// lastSleep returns the number of the actor's last step before this one that is no command. 0: none.
func lastSleep(r *explore.Run, actor string, number int) int {
	for i := number - 2; i >= 0; i-- {
		if r.Steps[i].Actor == actor && r.Steps[i].Kind == explore.Other {
			return i + 1
		}
	}
	return 0
}

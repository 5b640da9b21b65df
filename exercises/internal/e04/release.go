package e04

import (
	"context"
	"errors"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
)

// releases has one process take the lock and free it in time.
func releases(w *world) explore.Scenario {
	var a *client
	return explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			a = w.client("A")
			return []explore.Actor{a.acquiresAndReleases()}, w.reset(ctx)
		},
		Judge: func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
			key, err := w.look(ctx)
			switch {
			case err != nil:
				return nil, err
			case !a.held:
				return finding("nobody", args{judge.Says(a.refused), judge.Says(a.refused)}, nil, nil), nil
			case key.exists:
				return finding("not-released", args{seconds(key.ttl)}, args{judge.Says(a.endErr)}, nil), nil
			case a.endErr != nil:
				return finding("release-fails", args{judge.Says(a.endErr)}, nil, nil), nil
			}
			return nil, nil
		},
	}
}

// releasesLate has the key of a holder expire, and another process take the lock, before the holder releases.
func releasesLate(w *world) explore.Scenario {
	var a, b *client
	return explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			a, b = w.client("A"), w.client("B")
			return []explore.Actor{a.acquiresAndReleases(), b.acquiresLate()}, w.reset(ctx)
		},
		Judge: func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
			key, err := w.look(ctx)
			if err != nil {
				return nil, err
			}
			return judgeRelease(w, r, a, b, key), nil
		},
	}
}

// acquiresAndReleases is a client that takes the lock and frees it.
func (c *client) acquiresAndReleases() explore.Actor {
	return explore.Actor{Name: c.name, Run: func(ctx context.Context, h *explore.Handle) error {
		l := c.lock(h, &clock{client: c, handle: h})
		c.acquire(ctx, l)
		if !c.held {
			return c.refused
		}
		c.end(ctx, l.Release)
		return c.endErr
	}}
}

// acquiresLate is a client that takes the lock after a whole time to live, in which it does nothing.
func (c *client) acquiresLate() explore.Actor {
	return explore.Actor{Name: c.name, Run: func(ctx context.Context, h *explore.Handle) error {
		if err := c.world.pass(ctx, h, c.name, ttl); err != nil {
			return err
		}
		c.acquire(ctx, c.lock(h, &clock{client: c, handle: h}))
		return c.refused
	}}
}

// judgeRelease judges A's release. B, if it has the lock, has not released it.
func judgeRelease(w *world, r *explore.Run, a, b *client, key state) *explore.Finding {
	expired, late := w.expired(a.value)
	late = late && a.held
	switch {
	case b.held && (!key.exists || key.value != b.value):
		return harmed(w, r, a, b)
	case late && !errors.Is(a.endErr, w.learner.ErrLost):
		return finding("loss-not-reported", args{judge.Says(a.endErr), seconds(expired.at)}, nil, nil)
	case a.held && !late && a.endErr != nil:
		return finding("release-fails", args{judge.Says(a.endErr)}, nil, nil)
	}
	return nil
}

// harmed explains how A's release has ended B's lock.
func harmed(w *world, r *explore.Run, a, b *client) *explore.Finding {
	for _, c := range w.changes {
		if c.actor != a.name || !c.before.exists || c.before.value != b.value || c.after == c.before {
			continue
		}
		if !c.removes() && c.after.value == b.value {
			continue
		}
		number, set := stepOf(r.Steps, a.name, c.nth), w.setBy(r, b.name)
		if look := lookOfOwn(w, r, a, c.nth); look > 0 {
			return finding("get-then-del", nil, args{look, set, number}, args{look, number})
		}
		return finding("blind-delete", nil, args{set, number}, args{number})
	}
	return finding("harms-other", nil, nil, nil)
}

// lookOfOwn returns the number of the last step before A's nth in which it looked at the key while the key was its own.
func lookOfOwn(w *world, r *explore.Run, a *client, nth int) int {
	number := 0
	for _, c := range w.changes {
		if c.actor != a.name || c.nth >= nth || !c.before.exists || c.before.value != a.value {
			continue
		}
		if n := stepOf(r.Steps, a.name, c.nth); isLook(r, n) {
			number = n
		}
	}
	return number
}

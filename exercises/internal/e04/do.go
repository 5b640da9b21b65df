package e04

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
	"holdfast/exercises/internal/trial"
)

// errWork is what the work of a scene returns.
var errWork = errors.New("the work failed")

// findInDo returns the Find of stage 4: one scene after another.
func findInDo(l Learner) func(context.Context, *trial.Servers) (*explore.Finding, error) {
	return func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
		w, err := newWorld(ctx, l, s)
		if err != nil {
			return nil, err
		}
		scenes := []func(context.Context, *play) (*explore.Finding, error){
			heldByOther, worksLong(nil), worksLong(errWork), loses, callerLeaves, unreachable,
		}
		for _, scene := range scenes {
			f, err := w.perform(ctx, scene)
			if f != nil || err != nil {
				return f, err
			}
		}
		return nil, nil
	}
}

// perform plays one scene.
func (w *world) perform(
	ctx context.Context, scene func(context.Context, *play) (*explore.Finding, error),
) (*explore.Finding, error) {
	p, err := w.play(ctx)
	if err != nil {
		return nil, err
	}
	f, err := scene(ctx, p)
	if f != nil {
		p.mu.Lock()
		f.Steps = append([]explore.Step{}, p.steps...)
		p.mu.Unlock()
	}
	return f, errors.Join(err, p.cable.client.Close())
}

// broke explains a call of Do that did not end well in any scene. Nil: it ended.
func (o outcome) broke() *explore.Finding {
	switch {
	case o.panicked != nil:
		return finding("do-panics", args{fmt.Sprint(o.panicked)}, nil, nil)
	case !o.returned:
		return finding("do-stands-still", nil, nil, nil)
	}
	return nil
}

// heldByOther: B has the lock. The work must not run.
func heldByOther(ctx context.Context, p *play) (*explore.Finding, error) {
	if err := p.taken(ctx); err != nil {
		return nil, err
	}
	o := p.do(ctx, func(context.Context) error {
		p.record(holder, "work(ctx)", "")
		return nil
	})
	if f := o.broke(); f != nil {
		return f, nil
	}
	switch {
	case o.called:
		return finding("works-without-lock", nil, args{p.last()}, nil), nil
	case !errors.Is(o.err, p.world.learner.ErrHeld):
		return finding("do-hides-held", args{judge.Says(o.err)}, nil, nil), nil
	}
	return nil, nil
}

// worksLong: the work takes two pauses of the renewal and returns the error.
func worksLong(ends error) func(context.Context, *play) (*explore.Finding, error) {
	return func(ctx context.Context, p *play) (*explore.Finding, error) {
		var early *explore.Finding
		var failed error
		o := p.do(ctx, func(ctx context.Context) error {
			p.record(holder, "work(ctx)", "")
			var n *nap
			for range 2 {
				if n = p.asleep(ctx, n); n == nil {
					early = p.notRenewing(ctx)
					return ends
				}
				failed = errors.Join(failed, p.wake(ctx, n))
			}
			if p.asleep(ctx, n) == nil {
				early = p.notRenewing(ctx)
			}
			p.record(holder, "return "+judge.Says(ends), "")
			return ends
		})
		if failed != nil {
			return nil, failed
		}
		if early != nil {
			return early, nil
		}
		return judgeEnd(ctx, p, o, ends)
	}
}

// notRenewing explains why no sleep of the renewal was seen.
func (p *play) notRenewing(ctx context.Context) *explore.Finding {
	if ctx.Err() != nil {
		return finding("ended-early", args{judge.Says(context.Cause(ctx))}, args{p.last()}, nil)
	}
	return finding("no-watchdog", args{ttl}, nil, nil)
}

// judgeEnd judges Do after work that nothing disturbed.
func judgeEnd(ctx context.Context, p *play, o outcome, want error) (*explore.Finding, error) {
	if f := o.broke(); f != nil {
		return f, nil
	}
	key, err := p.world.look(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case o.sleeping:
		return finding("watchdog-left", nil, args{p.last()}, nil), nil
	case key.exists:
		return finding("do-keeps-lock", args{seconds(key.ttl)}, args{p.last()}, nil), nil
	case want == nil && o.err != nil || !errors.Is(o.err, want):
		return finding("do-changes-error", args{judge.Says(want), judge.Says(o.err)}, nil, nil), nil
	}
	return nil, nil
}

// loses: A is stopped for a whole time to live, and B takes the lock. The next renewal learns it, so the work must.
func loses(ctx context.Context, p *play) (*explore.Finding, error) {
	var early *explore.Finding
	var failed error
	told, set, learned := false, 0, 0
	o := p.do(ctx, func(ctx context.Context) error {
		p.record(holder, "work(ctx)", "")
		n := p.asleep(ctx, nil)
		if n == nil {
			early = p.notRenewing(ctx)
			return nil
		}
		result, err := p.pass(context.WithoutCancel(ctx), ttl)
		p.record(other, "(+"+ttl.String()+")", result)
		failed = errors.Join(err, p.taken(context.WithoutCancel(ctx)))
		set = p.last()
		failed = errors.Join(failed, p.wake(ctx, n))
		if told, learned = p.ends(ctx, n), p.last(); !told {
			p.record(holder, "UPDATE stock ...", "")
		}
		return nil // it has committed already
	})
	if failed != nil || early != nil {
		return early, failed
	}
	if f := o.broke(); f != nil {
		return f, nil
	}
	reported := errors.Is(o.err, p.world.learner.ErrLost)
	switch {
	case !told && reported:
		return finding("told-at-release", nil, args{set, learned, p.lastOf(holder)}, nil), nil
	case !told:
		return finding("not-told", args{judge.Says(o.err)}, args{set, learned}, nil), nil
	case !reported:
		return finding("do-hides-loss", args{judge.Says(o.err)}, nil, nil), nil
	}
	return nil, nil
}

// ends reports whether the work's context ends before the renewal sleeps again, or within the patience.
func (p *play) ends(ctx context.Context, before *nap) bool {
	p.asleep(ctx, before) // returns when ctx ends
	if ctx.Err() == nil {
		return false
	}
	p.record(holder, "<-ctx.Done()", judge.Says(context.Cause(ctx)))
	return true
}

// lastOf returns the number of the actor's last step.
func (p *play) lastOf(actor string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.steps); i > 0; i-- {
		if p.steps[i-1].Actor == actor {
			return i
		}
	}
	return 0
}

// callerLeaves: the caller's context ends, and with it the work. The lock must be free at once.
func callerLeaves(ctx context.Context, p *play) (*explore.Finding, error) {
	caller, cancel := context.WithCancel(ctx)
	defer cancel()
	o := p.do(caller, func(ctx context.Context) error {
		p.record(holder, "work(ctx)", "")
		cancel()
		p.record(holder, "(caller) cancel(); return ctx.Err()", "context canceled")
		return context.Canceled
	})
	if f := o.broke(); f != nil {
		return f, nil
	}
	key, err := p.world.look(ctx)
	switch {
	case err != nil:
		return nil, err
	case key.exists:
		return finding("release-cancelled", args{seconds(key.ttl)}, args{p.last()}, nil), nil
	}
	return nil, nil
}

// unreachable: A's way to Redis is cut. The work must end before the key can have expired.
func unreachable(ctx context.Context, p *play) (*explore.Finding, error) {
	var early *explore.Finding
	var failed error
	ended := time.Duration(0)
	o := p.do(ctx, func(ctx context.Context) error {
		p.record(holder, "work(ctx)", "")
		n := p.asleep(ctx, nil)
		if n == nil {
			early = p.notRenewing(ctx)
			return nil
		}
		p.cable.sever()
		p.record(holder, "(A -x- Redis)", "")
		for n != nil && ended < ttl {
			ended += n.d
			failed = errors.Join(failed, p.wake(ctx, n))
			n = p.asleep(ctx, n)
		}
		if ctx.Err() != nil {
			p.record(holder, "<-ctx.Done()", judge.Says(context.Cause(ctx)))
			return ctx.Err()
		}
		if left := ttl - ended; left > 0 { // the renewal has ended, and the time passes all the same
			result, err := p.pass(context.WithoutCancel(ctx), left)
			p.record(holder, "(+"+left.String()+")", result)
			failed, ended = errors.Join(failed, err), ttl
		}
		early = finding("deaf", args{seconds(ended), ttl}, args{p.last()}, nil)
		p.record(holder, "UPDATE stock ...", "")
		return nil
	})
	if failed != nil || early != nil {
		return early, failed
	}
	return o.broke(), nil
}

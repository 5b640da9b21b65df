package step

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// pass is one execution of a stage's steps.
type pass struct {
	player *Player
	stage  *Stage
	scene  int
	roles  []*role // in the order of the stage's actors
}

// role is an actor in a pass.
type role struct {
	actor  *Actor
	column int
	next   int  // index of the next step
	left   bool // executes no further step

	running *running // nil: no step runs
	waits   bool     // a Waiting event was emitted for it
}

// running is a step that was started. result and err are valid after done is closed.
type running struct {
	number int
	step   Step
	done   chan struct{}
	result Result
	err    error
}

func newPass(stage *Stage, scene int, p *Player) *pass {
	a := &pass{player: p, stage: stage, scene: scene}
	columns := 0
	for _, actor := range stage.Actors {
		r := &role{actor: actor}
		if stage.SideBySide && actor.Name != "" {
			columns++
			r.column = columns
		}
		a.roles = append(a.roles, r)
	}
	return a
}

// note emits the stage's remarks.
func (a *pass) note() {
	for _, n := range a.stage.Notes {
		e := Event{Kind: Noted, Scene: a.scene, Actor: n.Actor, Text: n.Text}
		if r := a.role(n.Actor); r != nil {
			e.Column = r.column
		}
		a.player.Emit(e)
	}
}

func (a *pass) role(name string) *role {
	i := slices.IndexFunc(a.roles, func(r *role) bool { return r.actor.Name == name })
	if i < 0 {
		return nil
	}
	return a.roles[i]
}

// play executes all steps in the stage's order, and waits for those that still wait at the end.
func (a *pass) play(ctx context.Context, to int) error {
	for i, name := range a.stage.Order {
		r := a.role(name)
		if r == nil || r.next >= len(r.actor.Steps) && !r.left {
			return fmt.Errorf("step %d: the actor %q has no further step", i+1, name)
		}
		if r.left {
			continue
		}
		if err := a.execute(ctx, r, i+1, to); err != nil {
			return err
		}
	}
	for _, r := range a.roles {
		if err := a.finish(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// execute asks for the step, starts it, and returns when it has ended or waits for another actor.
func (a *pass) execute(ctx context.Context, r *role, number, to int) error {
	if err := a.finish(ctx, r); err != nil || r.left { // one statement at a time, as on a connection
		return err
	}
	s := r.actor.Steps[r.next]
	if err := a.ask(ctx, r, s, number, to); err != nil {
		return err
	}
	r.next++
	r.running = start(ctx, s, number)
	if err := a.settle(ctx, r); err != nil {
		return err
	}
	if err := a.settleOthers(ctx); err != nil {
		return err
	}
	return a.look(ctx, number)
}

// start executes the step in a goroutine, for which [pass.wait] waits.
func start(ctx context.Context, s Step, number int) *running {
	r := &running{number: number, step: s, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.result, r.err = s.Do(ctx)
	}()
	return r
}

// ask pauses before the step, until the pacer wants it executed.
func (a *pass) ask(ctx context.Context, r *role, s Step, number, to int) error {
	if a.player.Pace == nil || number < to {
		return nil
	}
	e := a.event(Asked, r, number, s.Label)
	e.Statement, e.Choices = s.Statement, s.Choices
	if s.Ask != "" {
		e.Ask = &Text{Key: s.Ask}
	}
	for {
		a.player.Emit(e)
		move, err := a.player.Pace.Next(ctx, e)
		switch {
		case err != nil:
			return err
		case move.ReplayTo > 0 && move.ReplayTo <= len(a.stage.Order):
			return replay{move.ReplayTo}
		case move.Choice > 0 && move.Choice <= len(s.Choices):
			s.Chosen(move.Choice - 1)
			return nil
		case !move.Unknown && move.ReplayTo == 0:
			return nil
		}
	}
}

// settle returns when the role's step has ended or is blocked.
func (a *pass) settle(ctx context.Context, r *role) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-r.running.done:
			return a.end(r)
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if r.actor.Blocked == nil {
			continue
		}
		blocked, err := r.actor.Blocked(ctx)
		if err != nil {
			return fmt.Errorf("is %s blocked: %w", r.actor.Name, err)
		}
		if blocked && !r.ended() {
			if !r.waits {
				r.waits = true
				a.player.Emit(a.event(Waiting, r, r.running.number, r.running.step.Label))
			}
			return nil
		}
	}
}

// settleOthers settles the steps that wait, until no further one ends: one that ends may let another one continue.
func (a *pass) settleOthers(ctx context.Context) error {
	for ended := true; ended; {
		ended = false
		for _, r := range a.roles {
			if r.running == nil {
				continue
			}
			if err := a.settle(ctx, r); err != nil {
				return err
			}
			ended = ended || r.running == nil
		}
	}
	return nil
}

// finish waits for the end of the role's step, if one runs.
func (a *pass) finish(ctx context.Context, r *role) error {
	if r.running == nil {
		return nil
	}
	select {
	case <-r.running.done:
		return a.end(r)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ended reports whether the running step has ended.
func (r *role) ended() bool {
	select {
	case <-r.running.done:
		return true
	default:
		return false
	}
}

// end emits the result of the role's step, which has ended.
func (a *pass) end(r *role) error {
	done := r.running
	r.running, r.waits = nil, false
	if done.err != nil {
		return fmt.Errorf("step %d, %s: %w", done.number, r.actor.Name, done.err)
	}
	r.left = done.result.Leaves
	text := done.result.Text
	if text.Key == "" {
		text = done.step.Label
	}
	e := a.event(Done, r, done.number, text)
	e.Table = done.result.Table
	a.player.Emit(e)
	return nil
}

// look emits what is stored.
func (a *pass) look(ctx context.Context, number int) error {
	if a.player.Pace == nil || len(a.stage.Look) == 0 {
		return nil
	}
	e := Event{Kind: Looked, Scene: a.scene, Step: number}
	for _, look := range a.stage.Look {
		v, err := look(ctx)
		if err != nil {
			return fmt.Errorf("look after step %d: %w", number, err)
		}
		e.Views = append(e.Views, v)
	}
	a.player.Emit(e)
	return nil
}

// wait waits for the steps that still run. Their context has ended.
func (a *pass) wait() {
	for _, r := range a.roles {
		if r.running != nil {
			<-r.running.done
		}
	}
}

func (a *pass) event(kind Kind, r *role, number int, text Text) Event {
	return Event{Kind: kind, Scene: a.scene, Step: number, Actor: r.actor.Name, Column: r.column, Text: text}
}

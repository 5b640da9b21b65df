package step

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrStopped means that the reader ended the play.
var ErrStopped = errors.New("stopped by the reader")

// Move is what the reader wants before a step.
type Move struct {
	ReplayTo int  // replay the scene from its start and pause before this step; 0: execute the step
	Choice   int  // number of the reader's choice among the step's, from 1; 0: none
	Unknown  bool // the input has no meaning: ask again
}

// Pacer decides when a step is executed.
type Pacer interface {
	// Next returns when the reader has decided. next is the Asked event of the step. Errors: ErrStopped, also when the
	// reader's input ended; the context's.
	Next(ctx context.Context, next Event) (Move, error)
}

// Player plays scenes.
type Player struct {
	// Emit receives the events one after the other.
	Emit func(Event)
	// Pace is asked before each step. Nil: the steps follow each other without a pause and without Looked events.
	Pace Pacer
}

// Play plays a scene from its start to its end, and again as often as the pacer wants a replay.
func (p *Player) Play(ctx context.Context, number int, s Scene) error {
	p.Emit(Event{Kind: Opened, Scene: number, Text: s.Title})
	for to := 0; ; {
		var again replay
		err := p.playOnce(ctx, number, s, to)
		if !errors.As(err, &again) {
			return err
		}
		to = again.to
		p.Emit(Event{Kind: Replayed, Scene: number, Step: to, Text: s.Title})
	}
}

// replay is the error of a pass that ends because the reader wants the scene from its start.
type replay struct{ to int }

// Error implements error.
func (r replay) Error() string { return fmt.Sprintf("replay to step %d", r.to) }

// playOnce plays the scene once, without pauses before the steps that precede step to.
func (p *Player) playOnce(ctx context.Context, number int, s Scene, to int) (err error) {
	stage, err := s.Open(ctx)
	if err != nil {
		return err
	}
	if stage.Close != nil {
		defer func() { err = errors.Join(err, stage.Close(context.WithoutCancel(ctx))) }()
	}
	steps, cancel := context.WithCancel(ctx)
	a := newPass(stage, number, p)
	defer a.wait() // after cancel: a step that still runs ends with its context
	defer cancel()
	a.note()
	if err := a.play(steps, to); err != nil {
		return err
	}
	if stage.End == nil {
		return nil
	}
	return stage.End(ctx, &Ending{emit: func(e Event) {
		e.Scene = number
		p.Emit(e)
	}})
}

// PlayQuietly executes a stage's steps without events, for a repetition inside a step.
func PlayQuietly(ctx context.Context, stage *Stage) error {
	steps, cancel := context.WithCancel(ctx)
	a := newPass(stage, 0, &Player{Emit: func(Event) {}})
	defer a.wait()
	defer cancel()
	return a.play(steps, 0)
}

// pollInterval is how often a running step's actor is asked whether it is blocked.
const pollInterval = 5 * time.Millisecond

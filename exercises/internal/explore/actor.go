package explore

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
)

// state is what an actor does.
type state int

const (
	asleep    state = iota // it has not begun
	computing              // its own code runs, between two steps
	parked                 // it wants to take a step
	acting                 // it takes a step
	waiting                // its step waits for another actor, and it wants to take no other
	away                   // its own code runs and does not come to a step: it sleeps, or waits in memory
	ended
)

// actor is an actor in a run. Its fields belong to the goroutine of the play, save those that say otherwise.
type actor struct {
	def    Actor
	index  int
	play   *play
	handle *Handle
	ctx    context.Context //nolint:containedctx // the end of the actor's process, in the play's and its own goroutine
	cancel context.CancelFunc
	thread string        // the actor's goroutine, as the runtime prints it
	gone   chan struct{} // closed when the actor's goroutine has ended

	state    state
	queue    []*request // the steps that its goroutines want to take
	current  *request   // the one that is taken
	waits    []*request // those that wait for another actor
	died     bool
	err      error
	panicked *panicked

	left     atomic.Bool  // Run has returned; of all goroutines
	refusals atomic.Int64 // how often a step was refused; of all goroutines
}

// eventKind is what an actor tells the play.
type eventKind int

const (
	arrived  eventKind = iota // wants to take a step
	finished                  // has taken it
	returned                  // Run has returned
)

type event struct {
	kind    eventKind
	actor   *actor
	request *request
	err     error
	panic   *panicked
}

// errOver is what a step returns after its run was given up.
var errOver = errors.New("the run is over")

// maxRefusals is how many refused steps end the goroutine that asks for them: a loop that ignores errors would run for
// ever.
const maxRefusals = 100

// refused returns the error of a step that cannot be taken, or nil if the actor may take steps.
func (a *actor) refused() error {
	var err error
	switch {
	case a.handle.isDead():
		err = ErrDied
	case a.play.isOver() || a.left.Load(): // a goroutine that the learner's code left behind
		err = errOver
	default:
		return nil
	}
	if a.refusals.Add(1) >= maxRefusals {
		runtime.Goexit()
	}
	return err
}

// tell sends an event to the play. False: the run has ended.
func (a *actor) tell(e event) bool {
	e.actor = a
	select {
	case a.play.events <- e:
		return true
	case <-a.play.over:
		return false
	}
}

// start runs the learner's code in a goroutine of its own.
func (a *actor) start() {
	a.state = computing
	named := make(chan struct{})
	go func() {
		defer close(a.gone)
		a.thread = goroutineID()
		close(named)
		e := event{kind: returned, err: errOver} // if Run ends the goroutine
		defer func() {
			a.left.Store(true)
			a.tell(e)
		}()
		defer func() {
			if v := recover(); v != nil {
				e.panic = whatPanicked(v)
			}
		}()
		e.err = a.def.Run(a.ctx, a.handle)
	}()
	<-named
}

// mayStart reports whether the actors that have to end before this one have ended.
func (a *actor) mayStart() bool {
	return !slices.ContainsFunc(a.play.actors, func(other *actor) bool {
		return other.state != ended && slices.Contains(a.def.After, other.def.Name)
	})
}

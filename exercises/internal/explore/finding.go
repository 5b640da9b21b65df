package explore

import (
	"context"
	"errors"
	"time"

	"holdfast/internal/lab/step"
)

// ErrDied is what every call of a killed actor returns: its process no longer exists, so nothing reaches a server.
var ErrDied = errors.New("the process was killed")

// Actor is one participant of a run: a buyer, a replica, a relay.
type Actor struct {
	Name string
	// After names actors that must have ended before this one takes its first step: returned or been killed. A
	// successor that starts when a relay has died is one. Starting it is no switch.
	After []string
	// Run is the learner's code, called with the actor's own handle.
	Run func(ctx context.Context, h *Handle) error
}

// Kind says what a step is, so that a judge need not read its text.
type Kind string

// The kinds of steps.
const (
	Begin       Kind = "begin"
	Read        Kind = "read"         // a SELECT that locks nothing
	LockingRead Kind = "locking-read" // SELECT ... FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE
	Write       Kind = "write"        // INSERT, UPDATE, DELETE, REPLACE
	Commit      Kind = "commit"
	Rollback    Kind = "rollback"
	Statement   Kind = "statement" // any other SQL
	Redis       Kind = "redis"
	Other       Kind = "other" // of Handle.Step
)

// Step is one step as it happened.
type Step struct {
	Actor  string `json:"actor"`
	Kind   Kind   `json:"kind"`
	Does   string `json:"does"`
	Result string `json:"result,omitempty"` // what was read, or how many rows changed, or the error
	// Waited: the server had the step wait for another actor. The step is listed where it ended; it began when the
	// first Began steps had ended.
	Waited     bool `json:"waited,omitempty"`
	Began      int  `json:"began"`
	Unfinished bool `json:"unfinished,omitempty"` // it still waited when the run was given up
	Died       bool `json:"died,omitempty"`       // the actor was killed before this step, which was not executed

	Failed  bool  `json:"failed,omitempty"`  // the result is an error's text
	Session int64 `json:"session,omitempty"` // of a statement: its connection, as the server numbers it

	Rows    []map[string]string `json:"rows,omitempty"`    // of a statement that reads: column to value; NULL is "NULL"
	Changed int64               `json:"changed,omitempty"` // rows that a Write changed
	Err     error               `json:"-"`                 // what the step returned to the actor
}

// Run is what happened under one schedule.
type Run struct {
	Steps []Step
	Errs  map[string]error // what each actor's Run returned; ErrDied for an actor that was killed
}

// Scenario is what is explored.
type Scenario struct {
	// Open resets the data and returns the actors. It is called before every run. The actors' names, and what each does
	// when it is alone, must be the same every time.
	Open func(ctx context.Context) ([]Actor, error)
	// Judge is called after all actors have ended. Nil: all is as it should be. An error: the judge could not look. A
	// finding whose Steps are nil gets those of the run.
	Judge func(ctx context.Context, r *Run) (*Finding, error)
	// Deaths is how many actors are killed in one run at most, each before one of its steps. 0: none.
	Deaths int
	// Turn names the actor that acts next when the schedule has nothing else in mind: one of can. It is for a world that
	// is always against the learner's code. Nil: the actor that acted last goes on, and then the next one.
	Turn func(steps []Step, can []string) string
	// Close frees what the last Open has opened, after its judge. Nil: nothing.
	Close func(ctx context.Context) error
}

// Limits bound an exploration. The zero value is the default.
type Limits struct {
	Runs     int           // default 300
	Time     time.Duration // default 20 s; no run begins later
	Switches int           // switches and deaths in one run; default 3
}

// Finding is an interleaving that breaks, and its explanation.
type Finding struct {
	ID    string    `json:"id"`   // names the mistake: lost-update, blind-decrement
	What  step.Text `json:"what"` // what came of it, in the shop's terms
	Why   step.Text `json:"why"`  // which step made it possible
	Do    step.Text `json:"do"`   // the rule that was broken
	Steps []Step    `json:"steps"`
	More  int       `json:"more,omitempty"` // how many steps followed that are not listed: they repeat the others
}

// The findings that every scenario can have.
const (
	StandsStill     = "stands-still"     // an actor's Run does not end: a dead lock, or a loop without an end
	Panicked        = "panic"            // the learner's code panicked
	ProcessLock     = "process-lock"     // found only if nothing else is: the actors wait for memory that they share
	OpenTransaction = "open-transaction" // Run returned, and its transaction was neither committed nor rolled back
)

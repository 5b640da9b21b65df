package step

import "context"

// Scene is one part of a lesson.
type Scene struct {
	Title Text
	// Open resets the data and returns the stage. It is called again for a replay, after the Close of the stage before.
	Open func(ctx context.Context) (*Stage, error)
}

// Stage is a scene whose actors are ready.
type Stage struct {
	Actors []*Actor
	// Order names for each step the actor that executes its next one. An actor that has left is skipped.
	Order []string
	Notes []Note
	// SideBySide prints each actor in a column of its own.
	SideBySide bool
	// Look shows what is stored.
	Look []Looker
	// End checks what the scene claims, after all steps. Nil: nothing.
	End func(ctx context.Context, end *Ending) error
	// Close frees what Open has opened. It is called after the steps have ended; their context may be cancelled. Nil:
	// nothing.
	Close func(ctx context.Context) error
}

// Note is a remark that is made when the stage opens.
type Note struct {
	Actor string
	Text  Text
}

// Actor executes its steps one after the other.
type Actor struct {
	Name  string
	Steps []Step
	// Blocked reports whether the running step waits for another actor, as the server says. Nil: the steps do not wait.
	Blocked func(ctx context.Context) (bool, error)
}

// Step is one statement or call of an actor.
type Step struct {
	Label     Text   // what is done, shown before and, if the step has no other result, after it
	Ask       string // key of a question to the reader before the result; empty: none
	Statement string // as it is sent to the server; empty: a call
	// Choices are answers from which the reader may choose one, at most nine, before the step is executed. Chosen then
	// receives its index; it is not called if the reader chooses none, and never without a Pacer.
	Choices []Text
	Chosen  func(index int)
	// Do executes the step. An error ends the play. A mistake that the scene is about is a Result, not an error.
	Do func(ctx context.Context) (Result, error)
}

// Result is what came of a step.
type Result struct {
	Text   Text   // zero: the step's label
	Table  *Table // of a step that is a crowd: many actors at once, whose outcome is a count
	Leaves bool   // the actor executes no further step
}

// Looker returns what one place has stored.
type Looker func(ctx context.Context) (View, error)

// Ending receives what a scene shows and claims at its end.
type Ending struct{ emit func(Event) }

// Table shows a table; its first row is the header.
func (e *Ending) Table(rows ...[]any) { e.emit(Event{Kind: Tabled, Table: NewTable(rows...)}) }

// Check states a result. If it is false, the lesson continues and fails at its end.
func (e *Ending) Check(holds bool, key string, args ...any) {
	e.emit(Event{Kind: Claimed, Holds: holds, Text: T(key, args...)})
}

// Note makes a remark.
func (e *Ending) Note(key string, args ...any) { e.emit(Event{Kind: Noted, Text: T(key, args...)}) }

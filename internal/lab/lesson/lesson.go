package lesson

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// ErrDoesNotHold means that a lesson ran and did not come out as it claims.
var ErrDoesNotHold = errors.New("the lesson does not hold")

// timeout bounds one lesson on a busy machine; most take a few seconds.
const timeout = 3 * time.Minute

// Lesson is one thing to learn.
type Lesson struct {
	Name  string // on the command line and of its page, docs/lessons/NAME.md
	Title string
	// Run does it. Every claim of the lesson goes through Env.Check; an error means that it could not be done at all.
	Run func(ctx context.Context, e *Env) error
	// Roles are what the lesson's other processes do, by the name that Env.Start is given.
	Roles map[string]Role
}

// All returns the lessons in the order in which they are read.
func All() []Lesson {
	return []Lesson{
		naive(),
		mutexTwoInstances(),
		forUpdate(),
		optimistic(),
		unsortedLocks(),
		setIfAbsent(),
		deadHolder(),
		renewal(),
		hungHolder(),
		ownerOnlyDelete(),
		redlock(),
		unlockBeforeCommit(),
		fence(),
		emptyBucket(),
		skippedUnits(),
		luaLosesMemory(),
	}
}

// Find returns the lesson with the name.
func Find(name string) (Lesson, bool) {
	all := All()
	i := slices.IndexFunc(all, func(l Lesson) bool { return l.Name == name })
	if i < 0 {
		return Lesson{}, false
	}
	return all[i], true
}

// Config is what lessons run on.
type Config struct {
	Servers *Servers
	// Self is the command that becomes one of a lesson's processes when the arguments of RunRole are appended to it.
	Self []string
	Out  io.Writer
}

// Run runs the lesson and cleans up after it. The error is ErrDoesNotHold when a claim is not true, or when there was
// none; anything else means that the lesson could not be run.
func Run(ctx context.Context, l Lesson, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	e := newEnv(l, cfg)
	e.printf("Lesson %s: %s", l.Name, l.Title)
	start := time.Now()
	err := l.Run(ctx, e)
	took := time.Since(start)
	if cleanErr := e.clean(context.WithoutCancel(ctx)); cleanErr != nil {
		err = errors.Join(err, fmt.Errorf("clean up: %w", cleanErr))
	}
	switch {
	case err != nil:
		return fmt.Errorf("lesson %s: %w", l.Name, err)
	case e.broken > 0 || e.checks == 0:
		return fmt.Errorf("lesson %s: %w: %d of %d claims are not true", l.Name, ErrDoesNotHold, e.broken, e.checks)
	}
	e.printf("\n%d claims held in %v. Read on: docs/lessons/%s.md", e.checks, took.Round(10*time.Millisecond), l.Name)
	return nil
}

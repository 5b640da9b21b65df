package lesson

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// ErrDoesNotHold means that a check of the lesson failed.
var ErrDoesNotHold = errors.New("the lesson does not hold")

// timeout bounds one lesson on a busy machine; most take a few seconds.
const timeout = 3 * time.Minute

// Lesson is a lesson that can be run.
type Lesson struct {
	Name  string // name on the command line and of the page, docs/lessons/NAME.md
	Title string
	// Run runs the lesson. Every statement goes through Env.Check. An error means that the lesson could not be run.
	Run func(ctx context.Context, e *Env) error
	// Roles are the functions of the lesson's other processes, by the name that is passed to Env.Start.
	Roles map[string]Role
}

// All returns the lessons in reading order.
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

// Config contains what lessons need to run.
type Config struct {
	Servers *Servers
	// Self is the command of this program that runs RunRole. The arguments of RunRole are appended to it.
	Self []string
	Out  io.Writer
}

// Run runs the lesson, cleans up after it and returns what it showed. The error is ErrDoesNotHold if a check failed or
// if the lesson made no check. Any other error means that the lesson could not be run; the result then has the checks
// until that point.
func Run(ctx context.Context, l Lesson, cfg Config) (Result, error) {
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
	r := e.result(took, err)
	switch {
	case err != nil:
		return r, fmt.Errorf("lesson %s: %w", l.Name, err)
	case !r.Holds:
		return r, fmt.Errorf("lesson %s: %w: %d of %d checks failed", l.Name, ErrDoesNotHold, r.broken(), len(r.Claims))
	}
	e.printf("\n%d checks passed in %v. Read on: docs/lessons/%s.md", len(r.Claims), took.Round(10*time.Millisecond), l.Name)
	return r, nil
}

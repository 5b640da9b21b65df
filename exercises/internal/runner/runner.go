package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"holdfast/exercises/internal/catalogue"
	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/course"
)

// Runner runs exercises.
type Runner struct {
	Root      string // the folder of the module holdfast/exercises
	State     string // folder for test binaries and the record
	Progress  string // the file of the course in which a passed exercise is recorded
	Lang      string // of the texts
	Servers   *stack.OnDemand
	Exercises []catalogue.Exercise
	Out       io.Writer
	Notices   io.Writer                              // receives what is no result: why the first command takes long
	Command   func(verb string, exercise int) string // what to type for a verb, such as "make try EX=4"
}

// Status is an exercise with its outcome.
type Status struct {
	Exercise catalogue.Exercise
	Outcome  Outcome
	Reused   bool // the outcome is that of an earlier check of the same code
}

// atOnce is how many checks a list runs at a time. They wait for their servers most of the time.
func atOnce() int { return min(4, runtime.GOMAXPROCS(0)) }

// Statuses returns the outcome of each exercise. A check runs only if its code, or anything that it uses, has changed
// since it ran last, or with again. each is called for every exercise, in order, as soon as its outcome is known.
func (r *Runner) Statuses(ctx context.Context, again bool, each func(Status)) ([]Status, error) {
	keys, err := r.versions(ctx, r.Exercises)
	if err != nil {
		return nil, err
	}
	rec, err := r.load()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	statuses, failed := make([]Status, len(r.Exercises)), make([]error, len(r.Exercises))
	done := make([]chan struct{}, len(r.Exercises))
	slots := make(chan struct{}, atOnce())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for i, e := range r.Exercises {
		done[i], statuses[i].Exercise = make(chan struct{}), e
		known, ok := rec.Verdicts[e.Dir]
		if key := keys[e.Number].key; ok && !again && key != "" && known.Key == key {
			statuses[i].Outcome, statuses[i].Reused = known.Outcome, true
			close(done[i])
			continue
		}
		running.Go(func() {
			defer close(done[i])
			slots <- struct{}{}
			defer func() { <-slots }()
			if failed[i] = ctx.Err(); failed[i] == nil {
				statuses[i].Outcome, failed[i] = r.check(ctx, e)
			}
		})
	}
	for i, e := range r.Exercises {
		<-done[i]
		if failed[i] != nil {
			return nil, fmt.Errorf("exercise %d: %w", e.Number, failed[i])
		}
		if !statuses[i].Reused {
			if err := r.remember(e, keys[e.Number], statuses[i].Outcome); err != nil {
				return nil, err
			}
		}
		each(statuses[i])
	}
	return statuses, nil
}

// Try compiles the exercise and runs its checks.
func (r *Runner) Try(ctx context.Context, e catalogue.Exercise) (Outcome, error) {
	keys, err := r.versions(ctx, []catalogue.Exercise{e})
	if err != nil {
		return Outcome{}, err
	}
	outcome, err := r.check(ctx, e)
	if err != nil {
		return Outcome{}, err
	}
	return outcome, r.remember(e, keys[e.Number], outcome)
}

// version is the code of an exercise before its check.
type version struct{ key, stamp string }

// versions returns the versions of exercises.
func (r *Runner) versions(ctx context.Context, exercises []catalogue.Exercise) (map[int]version, error) {
	all := map[int]version{}
	for _, e := range exercises {
		stamp, err := r.stamp(e)
		if err != nil {
			return nil, err
		}
		all[e.Number] = version{stamp: stamp}
	}
	keys, err := r.keys(ctx, exercises)
	for number, key := range keys {
		all[number] = version{key, all[number].stamp}
	}
	return all, err
}

// remember records the verdict under the version's key, and a passed exercise in the course. Only a check's own verdict
// is reused: what kept a check from running, such as a server that was away, may be gone the next time. If a file was
// saved meanwhile, the verdict may be that of the new code or of the old one, and is not recorded.
func (r *Runner) remember(e catalogue.Exercise, v version, outcome Outcome) error {
	stamp, err := r.stamp(e)
	if err != nil {
		return err
	}
	err = r.change(func(rec *record) {
		delete(rec.Verdicts, e.Dir)
		if v.key != "" && v.stamp == stamp && (outcome.State == Passed || outcome.State == Open) {
			rec.Verdicts[e.Dir] = verdict{Key: v.key, Outcome: outcome}
		}
	})
	if outcome.State == Passed {
		err = errors.Join(err, course.Record(r.Progress, e.Dir, time.Now()))
	}
	return err
}

// Hint returns the next hint of the exercise, with its level, or that of the level if it is not 0. In an exercise of
// stages the hints of a stage that was passed at the last check are left out. After the last hint it returns the last
// one again.
func (r *Runner) Hint(e catalogue.Exercise, level int) (hint string, given int, err error) {
	if level < 0 || level > e.Hints {
		return "", 0, fmt.Errorf("exercise %d has no hint %d; its hints are 1 to %d", e.Number, level, e.Hints)
	}
	texts, err := e.Texts(r.Root, r.Lang)
	if err != nil {
		return "", 0, err
	}
	err = r.change(func(rec *record) {
		given = level
		if level == 0 {
			first := e.FirstHint(rec.Verdicts[e.Dir].Outcome.Result.Check)
			given = min(max(rec.Hints[e.Dir]+1, first), e.Hints)
		}
		rec.Hints[e.Dir] = max(rec.Hints[e.Dir], given)
	})
	return e.Hint(texts, given), given, err
}

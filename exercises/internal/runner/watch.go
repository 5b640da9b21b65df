package runner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/exercises/internal/catalogue"
)

// pollInterval is the pause between two looks at the learner's files. Looking works on every file system; notifications
// of the system do not cross the border of a container on Windows and macOS.
const pollInterval = 300 * time.Millisecond

// Watch runs the exercise's checks now, and again whenever one of its Go files is saved, until the context ends.
func (r *Runner) Watch(ctx context.Context, e catalogue.Exercise) error {
	for {
		before, _, err := r.show(ctx, e)
		if err == nil {
			err = r.saved(ctx, e, before)
		}
		if err != nil {
			return ended(ctx, err)
		}
	}
}

// WatchNext watches the first exercise that has not passed. When it passes, the next one follows. It returns when all
// have passed, or when the context ends.
func (r *Runner) WatchNext(ctx context.Context) error {
	for _, e := range r.Exercises {
		if err := r.watchUntilPassed(ctx, e); err != nil {
			return ended(ctx, err)
		}
	}
	fmt.Fprintf(r.Out, "\n%s\n", r.say("all"))
	return nil
}

func (r *Runner) watchUntilPassed(ctx context.Context, e catalogue.Exercise) error {
	passed, err := r.hasPassed(ctx, e)
	for !passed && err == nil {
		var before string
		if before, passed, err = r.show(ctx, e); err == nil && !passed {
			err = r.saved(ctx, e, before)
		}
	}
	return err
}

// hasPassed reports whether the recorded verdict of the code as it is says so.
func (r *Runner) hasPassed(ctx context.Context, e catalogue.Exercise) (bool, error) {
	keys, err := r.keys(ctx, []catalogue.Exercise{e})
	if err != nil {
		return false, err
	}
	rec, err := r.load()
	known := rec.Verdicts[e.Dir]
	return known.Key != "" && known.Key == keys[e.Number] && known.Outcome.State == Passed, err
}

// show runs the checks once and prints the outcome. stamp is that of the files before: a file that is saved while the
// checks run has another one afterwards.
func (r *Runner) show(ctx context.Context, e catalogue.Exercise) (stamp string, passed bool, err error) {
	if stamp, err = r.stamp(e); err != nil {
		return "", false, err
	}
	fmt.Fprintf(r.Out, "\n%s\n", r.say("watching", time.Now().Format(time.TimeOnly), e.Dir+"/exercise.go"))
	outcome, err := r.Try(ctx, e)
	if err == nil {
		err = r.PrintOutcome(e, outcome)
	}
	return stamp, outcome.State == Passed, err
}

// saved returns when the files differ from what they were before.
func (r *Runner) saved(ctx context.Context, e catalogue.Exercise, before string) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		now, err := r.stamp(e)
		if err != nil || now != before {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// stamp describes the exercise's Go files: a saved file has another size or another time. An editor that saves by
// renaming a new file leaves none for a moment; the files that are there count.
func (r *Runner) stamp(e catalogue.Exercise) (string, error) {
	names, err := filepath.Glob(filepath.Join(r.Root, e.Dir, "*.go"))
	if err != nil {
		return "", err
	}
	var stamp strings.Builder
	for _, name := range names {
		if info, err := os.Stat(name); err == nil {
			fmt.Fprintf(&stamp, "%s %d %d\n", name, info.Size(), info.ModTime().UnixNano())
		}
	}
	return stamp.String(), nil
}

// ended returns nil if the learner has ended the watch.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

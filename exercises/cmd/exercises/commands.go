package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/exercises/internal/catalogue"
	"holdfast/exercises/internal/runner"
	"holdfast/internal/lab/step"
)

type listCmd struct {
	Again bool `help:"Run all checks, also those of code that has not changed."`
	JSON  bool `help:"Print one JSON document." name:"json"`
}

func (l *listCmd) Run(ctx context.Context, r *runner.Runner) error {
	if l.JSON {
		return r.ListJSON(ctx, l.Again)
	}
	return r.List(ctx, l.Again)
}

type tryCmd struct {
	Number int  `arg:"" help:"Number of the exercise."`
	JSON   bool `help:"Print one JSON document." name:"json"`
}

func (t *tryCmd) Run(ctx context.Context, r *runner.Runner) error {
	e, err := find(t.Number)
	if err != nil {
		return err
	}
	outcome, err := r.Try(ctx, e)
	if err != nil {
		return err
	}
	if t.JSON {
		err = r.PrintJSON(e, outcome)
	} else {
		err = r.PrintOutcome(e, outcome)
	}
	if err == nil && outcome.State != runner.Passed {
		return exit{1, nil}
	}
	return err
}

type hintCmd struct {
	Number int `arg:"" help:"Number of the exercise."`
	Level  int `arg:"" optional:"" help:"Level of the hint, from 1. Default: the next one."`
}

func (h *hintCmd) Run(r *runner.Runner) error {
	e, err := find(h.Number)
	if err != nil {
		return err
	}
	if err := r.PrintHint(e, h.Level); err != nil {
		return exit{2, err}
	}
	return nil
}

type watchCmd struct {
	Number int `arg:"" optional:"" help:"Number of the exercise. Default: the first one that does not pass, then the next."`
}

func (w *watchCmd) Run(ctx context.Context, r *runner.Runner) error {
	if w.Number == 0 {
		return r.WatchNext(ctx)
	}
	e, err := find(w.Number)
	if err != nil {
		return err
	}
	return r.Watch(ctx, e)
}

func find(number int) (catalogue.Exercise, error) {
	e, err := catalogue.Find(number)
	if err != nil {
		return e, exit{2, err}
	}
	return e, nil
}

// exit is an error with an exit status.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string { return fmt.Sprint(e.err) }

// runner prepares what all commands use. No server is started yet.
func (c *cli) runner(ctx context.Context, stdout io.Writer) (*runner.Runner, error) {
	root, err := catalogue.Root(cmp.Or(c.Root, "."))
	if err != nil {
		return nil, err
	}
	dir := cmp.Or(c.Dir, filepath.Join(filepath.Dir(root), ".run"))
	progress := cmp.Or(c.Progress, filepath.Join(dir, "course.json"))
	servers, err := runner.NewServers(ctx, dir, os.Stderr)
	if err != nil {
		return nil, err
	}
	return &runner.Runner{
		Root: root, State: filepath.Join(filepath.Dir(progress), "exercises"), Progress: progress, Servers: servers,
		Lang: step.Chosen(c.Lang, os.Getenv), Exercises: catalogue.All(), Out: stdout, Notices: os.Stderr,
		Command: commands(c.Command),
	}, nil
}

// commands returns what to type for a verb: a make target, or the verb after another command.
func commands(command string) func(verb string, exercise int) string {
	return func(verb string, exercise int) string {
		if command == "" {
			return fmt.Sprintf("make %s EX=%d", verb, exercise)
		}
		return fmt.Sprintf("%s %s %d", command, verb, exercise)
	}
}

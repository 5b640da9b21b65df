package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/phrase"
	"holdfast/order-srv/check"
)

// printNext prints the next command after up: an order, or how to continue with the crash point.
func printNext(dir, armed string, stdout io.Writer) error {
	state, err := stack.Load(dir)
	if err != nil {
		return err
	}
	p, reached, ok := state.CrashPoint(dir)
	switch {
	case !ok || armed == "" && reached.IsZero():
		fmt.Fprintln(stdout, "order --sku MUG-CLASSIC")
	case !reached.IsZero():
		fmt.Fprintln(stdout, "audit --wait 60s")
	default:
		fmt.Fprintf(stdout, "order %s\n\n%s dies once, when %s.", p.Try, p.Point.Service(), p.Dies)
		if p.Also != "" {
			fmt.Fprintf(stdout, " Before that, %s dies at %s.", p.Also.Service(), p.Also)
		}
		for name, value := range p.Env {
			fmt.Fprintf(stdout, " %s is set to %s.", name, value)
		}
		fmt.Fprintf(stdout, "\nThe order must end as %s.\nNext: %s, then bin/holdfast audit --wait 60s\n", p.Ends, state.Again())
	}
	return nil
}

// explain adds to an error which parts of the stack do not run, and whether a crash point ended them. Without a stack
// in dir it returns err unchanged.
func explain(ctx context.Context, dir string, err error) error {
	state, loadErr := stack.Load(dir)
	if loadErr != nil {
		return err
	}
	gone := state.Gone(context.WithoutCancel(ctx))
	if len(gone) == 0 {
		return err
	}
	parts := strings.Join(gone, " and ")
	if p, reached, ok := state.CrashPoint(dir); ok && !reached.IsZero() {
		return fmt.Errorf("%w\n\n%s died at crash point %s: %s.\n"+
			"The backstops decide an order that was in flight; it must end as %s.\n"+
			"Next: %s starts %s again, then bin/holdfast audit --wait 60s shows what healed the order", err, parts, p.Point, p.Dies, p.Ends, state.Again(), parts)
	}
	return fmt.Errorf("%w\n\n%s does not run: %s starts it again", err, parts, state.Again())
}

// healerAwaited returns a function that reports whether the healer of a crash point has not acted yet. A half message
// of an ended order is rolled back about ten seconds later, and no order or message looks unfinished until then.
func healerAwaited(dir string) func(check.Report) bool {
	state, err := stack.Load(dir)
	p, reached, ok := state.CrashPoint(dir)
	return func(r check.Report) bool {
		return err == nil && ok && !reached.IsZero() && p.Noted() &&
			!slices.ContainsFunc(r.Healed, func(h check.Healing) bool { return h.At.After(reached) })
	}
}

// printHealing prints the latest actions of the backstops. After a crash point it prints only later actions and the
// expected result: after some crashes no backstop has to act.
func printHealing(stdout io.Writer, r check.Report, dir string, in *phrase.Book) error {
	state, err := stack.Load(dir)
	if err != nil {
		return err
	}
	p, reached, ok := state.CrashPoint(dir)
	since := time.Time{}
	if ok && !reached.IsZero() {
		since = reached
		fmt.Fprintln(stdout, in.Say("audit.died", p.Point.Service(), reached.Local().Format(time.TimeOnly), p.Ends))
	}
	healed := 0
	for _, h := range r.Healed {
		if h.At.After(since) {
			healed++
			fmt.Fprintln(stdout, in.Say("audit.healed", h.At.Local().Format(time.TimeOnly), h.String()))
		}
	}
	if !since.IsZero() && healed == 0 {
		fmt.Fprintln(stdout, in.Say("audit.not-healed", p.Healer))
	}
	return nil
}

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/order-srv/check"
)

// whatNext says how to go on after up: with the shop, or with the crash point that was armed or has been reached.
func whatNext(dir, armed string, stdout io.Writer) error {
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
			fmt.Fprintf(stdout, " To get there, %s dies at %s.", p.Also.Service(), p.Also)
		}
		for name, value := range p.Env {
			fmt.Fprintf(stdout, " %s is %s meanwhile.", name, value)
		}
		fmt.Fprintf(stdout, "\nThe order must end as %s.\nThen: %s, and bin/holdfast audit --wait 60s\n", p.Ends, state.Again())
	}
	return nil
}

// explain adds to an error what the stack's own state knows: that a part is gone, and whether it was asked to die. Away
// from a stack of ours it adds nothing.
func explain(ctx context.Context, dir string, err error) error {
	state, loadErr := stack.Load(dir)
	if loadErr != nil {
		return err
	}
	gone := state.Gone(context.WithoutCancel(ctx))
	if len(gone) == 0 {
		return err
	}
	who := strings.Join(gone, " and ")
	if p, reached, ok := state.CrashPoint(dir); ok && !reached.IsZero() {
		return fmt.Errorf("%w\n\n%s died at crash point %s, as asked: %s.\n"+
			"An order that was on its way is decided without you; it must end as %s.\n"+
			"Next: %s starts %s again, and bin/holdfast audit --wait 60s says what healed the order", err, who, p.Point, p.Dies, p.Ends, state.Again(), who)
	}
	return fmt.Errorf("%w\n\n%s does not run: %s starts it again", err, who, state.Again())
}

// healerAwaited reports, of a report, whether the healer of a crash point has not been there yet. A half message of an
// order that has ended is rolled back some ten seconds later, and until then nothing looks unfinished.
func healerAwaited(dir string) func(check.Report) bool {
	state, err := stack.Load(dir)
	p, reached, ok := state.CrashPoint(dir)
	return func(r check.Report) bool {
		return err == nil && ok && !reached.IsZero() && p.Noted() &&
			!slices.ContainsFunc(r.Healed, func(h check.Healing) bool { return h.At.After(reached) })
	}
}

// printHealing says what the backstops did last. After a crash point it says what they did since, and what was to be
// expected: some crashes leave nothing that a backstop has to do.
func printHealing(stdout io.Writer, r check.Report, dir string) error {
	state, err := stack.Load(dir)
	if err != nil {
		return err
	}
	p, reached, ok := state.CrashPoint(dir)
	since := time.Time{}
	if ok && !reached.IsZero() {
		since = reached
		fmt.Fprintf(stdout, "%s died at %s; its order must end as %s\n", p.Point.Service(), reached.Local().Format(time.TimeOnly), p.Ends)
	}
	healed := 0
	for _, h := range r.Healed {
		if h.At.After(since) {
			healed++
			fmt.Fprintf(stdout, "healed at %s: %s\n", h.At.Local().Format(time.TimeOnly), h)
		}
	}
	if !since.IsZero() && healed == 0 {
		fmt.Fprintf(stdout, "no backstop has acted since; for this point it is %s\n", p.Healer)
	}
	return nil
}

package lesson

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"holdfast/pkg/wait"
)

// Env is a lesson's environment. Its methods are safe for concurrent use.
type Env struct {
	lesson Lesson
	cfg    Config
	id     string // part of every name that this run uses on a shared server

	mu        sync.Mutex
	steps     int
	claims    []Claim
	tables    []Table
	usesRedis bool
	cleanups  []func(context.Context) error
}

func newEnv(l Lesson, cfg Config) *Env {
	return &Env{lesson: l, cfg: cfg, id: strings.ToLower(rand.Text()[:10])}
}

// Step prints a numbered step.
func (e *Env) Step(format string, args ...any) {
	e.mu.Lock()
	e.steps++
	n := e.steps
	e.mu.Unlock()
	e.printf("\n%d. %s", n, fmt.Sprintf(format, args...))
}

// Show prints one or several lines of output.
func (e *Env) Show(format string, args ...any) {
	e.printf("   %s", strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n   "))
}

// Table prints a table. The first row is the header.
func (e *Env) Table(rows ...[]any) {
	e.mu.Lock()
	e.tables = append(e.tables, newTable(rows))
	e.mu.Unlock()
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // a strings.Builder does not fail
	for line := range strings.Lines(text.String()) {
		e.Show("%s", strings.TrimRight(line, " \n"))
	}
}

// Check states a result. If it is false, the lesson continues and fails at its end.
func (e *Env) Check(holds bool, format string, args ...any) {
	claim := Claim{Text: fmt.Sprintf(format, args...), Holds: holds, Figures: figures(args)}
	e.mu.Lock()
	e.claims = append(e.claims, claim)
	e.mu.Unlock()
	mark := "✓"
	if !holds {
		mark = "✗ FALSE:"
	}
	e.printf("   %s %s", mark, claim.Text)
}

func (e *Env) printf(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	fmt.Fprintf(e.cfg.Out, format+"\n", args...)
}

// Clean registers a function that runs at the lesson's end, also after an error. The functions run in reverse order.
func (e *Env) Clean(f func(context.Context) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanups = append(e.cleanups, f)
}

func (e *Env) clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	e.mu.Lock()
	cleanups := e.cleanups
	e.cleanups = nil
	e.mu.Unlock()
	var errs []error
	for i := len(cleanups) - 1; i >= 0; i-- {
		errs = append(errs, cleanups[i](ctx))
	}
	return errors.Join(errs...)
}

// Until waits for a condition. If ctx ends or 30 s pass, it returns an error that names the condition.
func (e *Env) Until(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := wait.Until(ctx, 5*time.Millisecond, condition); err != nil {
		return fmt.Errorf("wait until %s: %w", what, err)
	}
	return nil
}

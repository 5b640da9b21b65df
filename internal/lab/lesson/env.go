package lesson

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/pkg/fault"
	"holdfast/pkg/wait"
)

// Env is a lesson's environment. Its methods are safe for concurrent use.
type Env struct {
	lesson Lesson
	cfg    Config
	id     string // part of every name that this run uses on a shared server

	mu         sync.Mutex
	databases  int
	namespaces int
	removeKeys func(context.Context) error // nil: the shared Redis was not used
	cleanups   []func(context.Context) error
}

func newEnv(l Lesson, cfg Config) *Env {
	return &Env{lesson: l, cfg: cfg, id: strings.ToLower(rand.Text()[:10])}
}

// stepping reports whether a reader decides when each step is executed.
func (e *Env) stepping() bool { return e.cfg.Pace != nil }

// thinking is how long a reader may think: locks, sessions and leases of a lesson whose reader steps last that long.
const thinking = 24 * time.Hour

// patience returns own, or the time of a thinking reader.
func (e *Env) patience(own time.Duration) time.Duration {
	if e.stepping() {
		return thinking
	}
	return own
}

// scene returns a scene whose title is a text of the lesson. What open registers with Clean is cleaned when the scene
// ends, and before a replay.
func (e *Env) scene(title step.Text, open func(ctx context.Context) (*step.Stage, error)) step.Scene {
	return step.Scene{Title: title, Open: func(ctx context.Context) (*step.Stage, error) {
		e.mu.Lock()
		mark := len(e.cleanups)
		e.mu.Unlock()
		stage, err := open(ctx)
		if err != nil {
			return nil, err // Run cleans
		}
		stage.Close = func(ctx context.Context) error { return e.cleanFrom(ctx, mark) }
		return stage, nil
	}}
}

// Clean registers a function that runs at the scene's or the lesson's end, also after an error. The functions run in
// reverse order.
func (e *Env) Clean(f func(context.Context) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cleanups = append(e.cleanups, f)
}

// clean runs all functions, and at last removes the lesson's keys, when no process or locker can write another one.
func (e *Env) clean(ctx context.Context) error {
	err := e.cleanFrom(ctx, 0)
	e.mu.Lock()
	remove := e.removeKeys
	e.mu.Unlock()
	if remove == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return errors.Join(err, remove(ctx))
}

// cleanFrom runs the functions that were registered after the first mark ones.
func (e *Env) cleanFrom(ctx context.Context, mark int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	e.mu.Lock()
	cleanups := e.cleanups[mark:]
	e.cleanups = e.cleanups[:mark:mark]
	e.mu.Unlock()
	var errs []error
	for i := len(cleanups) - 1; i >= 0; i-- {
		errs = append(errs, cleanups[i](ctx))
	}
	return errors.Join(errs...)
}

// Until waits for a condition. If ctx ends or 30 s pass, it returns an error that names the condition. A service that
// did not answer in time, on a busy machine, is asked again.
func (e *Env) Until(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return until(ctx, what, func(ctx context.Context) (bool, error) {
		done, err := condition(ctx)
		if fault.KindOf(err) == fault.Timeout && ctx.Err() == nil {
			return false, nil
		}
		return done, err
	})
}

// until waits for a condition until ctx ends. The error names the condition.
func until(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	if err := wait.Until(ctx, 5*time.Millisecond, condition); err != nil {
		return fmt.Errorf("wait until %s: %w", what, err)
	}
	return nil
}

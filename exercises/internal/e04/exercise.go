// Package e04 checks exercise 4: a lock in Redis, in four stages.
//
// The first three stages are explored: each command of the learner's lock is a step. The fourth starts a goroutine of
// its own, so it is led through a few scenes by the work that it calls. In all of them time passes only when the lock
// sleeps or when a scene says so, and the keys in Redis expire by that clock: nothing waits for a real expiry.
package e04

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
	"holdfast/exercises/internal/trial"
)

//go:embed texts/*.json
var texts embed.FS

// Texts returns the texts of the exercise.
func Texts() fs.FS { return texts }

// Clock is the time as the lock sees it.
type Clock interface {
	Now() time.Time
	// Sleep returns nil after d, or the error of ctx as soon as ctx ends.
	Sleep(ctx context.Context, d time.Duration) error
}

// Lock is what the learner writes.
type Lock interface {
	Acquire(ctx context.Context) (value string, err error)
	Release(ctx context.Context, value string) error
	Renew(ctx context.Context, value string) error
	Do(ctx context.Context, work func(ctx context.Context) error) error
}

// Learner is the learner's file.
type Learner struct {
	New                          func(client *redis.Client, clock Clock, key string, ttl, maxHold time.Duration) Lock
	ErrHeld, ErrLost, ErrMaxHold error
}

// The times of the locks that are checked.
const (
	ttl     = 30 * time.Second
	maxHold = 45 * time.Second
	// tolerance is what the real time that a run takes may change a time to live.
	tolerance = 5 * time.Second
)

// Exercise returns the check of a lock.
func Exercise(l Learner) trial.Exercise {
	return trial.Exercise{Number: 4, Checks: []trial.Check{
		{Name: "e04.acquire", Find: explored(l, oneHolder, newValues)},
		{Name: "e04.release", Find: explored(l, releases, releasesLate)},
		{Name: "e04.renew", Find: explored(l, renewsUntilCap, renewsUntilWorkEnds, renewsOwnKey)},
		{Name: "e04.do", Find: findInDo(l)},
	}}
}

// explored returns the Find of a check that explores scenarios in their order.
func explored(l Learner, scenarios ...func(w *world) explore.Scenario) func(context.Context, *trial.Servers) (*explore.Finding, error) {
	return func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
		w, err := newWorld(ctx, l, s)
		if err != nil {
			return nil, err
		}
		for _, scenario := range scenarios {
			f, err := explore.Explore(ctx, scenario(w), explore.Limits{})
			if f != nil || err != nil {
				return f, err
			}
		}
		return nil, nil
	}
}

// args are the values for the placeholders of a text.
type args []any

// finding returns the finding with its three texts.
func finding(id string, what, why, do args) *explore.Finding {
	return judge.FindingIn("e04", id, what, why, do)
}

// died reports whether the actor was killed in the run.
func died(r *explore.Run, actor string) bool { return errors.Is(r.Errs[actor], explore.ErrDied) }

// stepOf returns the number of the nth step that the actor executed; both count from 1. 0: none.
func stepOf(steps []explore.Step, actor string, nth int) int {
	for i, s := range steps {
		if s.Actor != actor || s.Died {
			continue
		}
		if nth--; nth == 0 {
			return i + 1
		}
	}
	return 0
}

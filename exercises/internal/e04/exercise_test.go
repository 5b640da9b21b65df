package e04_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	start "holdfast/exercises/04-redis-lock"
	blinddelete "holdfast/exercises/04-redis-lock/attempts/blind-delete"
	blindrenewal "holdfast/exercises/04-redis-lock/attempts/blind-renewal"
	getthendel "holdfast/exercises/04-redis-lock/attempts/get-then-del"
	nocap "holdfast/exercises/04-redis-lock/attempts/no-cap"
	nottold "holdfast/exercises/04-redis-lock/attempts/not-told"
	releasecancelled "holdfast/exercises/04-redis-lock/attempts/release-cancelled"
	renewsafterthework "holdfast/exercises/04-redis-lock/attempts/renews-after-the-work"
	samevalue "holdfast/exercises/04-redis-lock/attempts/same-value"
	setnxthenexpire "holdfast/exercises/04-redis-lock/attempts/setnx-then-expire"
	toldatrelease "holdfast/exercises/04-redis-lock/attempts/told-at-release"
	"holdfast/exercises/internal/e04"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/04-redis-lock"
)

// learner returns the learner of one of the packages, each of which has a type Clock of its own.
func learner[C any, L e04.Lock](
	newLock func(*redis.Client, C, string, time.Duration, time.Duration) L, held, lost, maxHold error,
) e04.Learner {
	return e04.Learner{
		New: func(client *redis.Client, clock e04.Clock, key string, ttl, maxHold time.Duration) e04.Lock {
			return newLock(client, clock.(C), key, ttl, maxHold)
		},
		ErrHeld: held, ErrLost: lost, ErrMaxHold: maxHold,
	}
}

// TestExercise: the start and each attempt get their own explanation, and the solution passes.
func TestExercise(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		learner    e04.Learner
	}{
		{"start", "check-then-set", learner(start.New, start.ErrHeld, start.ErrLost, start.ErrMaxHold)},
		{"setnx-then-expire", "setnx-then-expire", learner(setnxthenexpire.New, setnxthenexpire.ErrHeld, setnxthenexpire.ErrLost, setnxthenexpire.ErrMaxHold)},
		{"same-value", "same-value", learner(samevalue.New, samevalue.ErrHeld, samevalue.ErrLost, samevalue.ErrMaxHold)},
		{"blind-delete", "blind-delete", learner(blinddelete.New, blinddelete.ErrHeld, blinddelete.ErrLost, blinddelete.ErrMaxHold)},
		{"get-then-del", "get-then-del", learner(getthendel.New, getthendel.ErrHeld, getthendel.ErrLost, getthendel.ErrMaxHold)},
		{"blind-renewal", "blind-renewal", learner(blindrenewal.New, blindrenewal.ErrHeld, blindrenewal.ErrLost, blindrenewal.ErrMaxHold)},
		{"no-cap", "no-cap", learner(nocap.New, nocap.ErrHeld, nocap.ErrLost, nocap.ErrMaxHold)},
		{"renews-after-the-work", "renews-after-the-work", learner(renewsafterthework.New, renewsafterthework.ErrHeld, renewsafterthework.ErrLost, renewsafterthework.ErrMaxHold)},
		{"not-told", "not-told", learner(nottold.New, nottold.ErrHeld, nottold.ErrLost, nottold.ErrMaxHold)},
		{"told-at-release", "told-at-release", learner(toldatrelease.New, toldatrelease.ErrHeld, toldatrelease.ErrLost, toldatrelease.ErrMaxHold)},
		{"release-cancelled", "release-cancelled", learner(releasecancelled.New, releasecancelled.ErrHeld, releasecancelled.ErrLost, releasecancelled.ErrMaxHold)},
		{"solution", "", learner(solution.New, solution.ErrHeld, solution.ErrLost, solution.ErrMaxHold)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e04.Exercise(tt.learner), e04.Texts(), tt.want)
		})
	}
}

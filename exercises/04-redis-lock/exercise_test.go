package exercise_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	exercise "holdfast/exercises/04-redis-lock"
	"holdfast/exercises/internal/e04"
	"holdfast/exercises/internal/trial"
)

// TestExercise runs the check. What it prints explains what breaks.
func TestExercise(t *testing.T) {
	t.Parallel()
	trial.Run(t, e04.Exercise(e04.Learner{
		New: func(client *redis.Client, clock e04.Clock, key string, ttl, maxHold time.Duration) e04.Lock {
			return exercise.New(client, clock, key, ttl, maxHold)
		},
		ErrHeld: exercise.ErrHeld, ErrLost: exercise.ErrLost, ErrMaxHold: exercise.ErrMaxHold,
	}), e04.Texts())
}

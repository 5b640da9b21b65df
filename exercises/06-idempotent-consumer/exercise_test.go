package exercise_test

import (
	"testing"

	exercise "holdfast/exercises/06-idempotent-consumer"
	"holdfast/exercises/internal/e06"
	"holdfast/exercises/internal/trial"
)

// TestExercise runs the check. What it prints explains what breaks.
func TestExercise(t *testing.T) {
	t.Parallel()
	trial.Run(t, e06.Exercise(exercise.Schema, exercise.Handle), e06.Texts())
}

package exercise_test

import (
	"testing"

	exercise "holdfast/exercises/07-outbox-relay"
	"holdfast/exercises/internal/e07"
	"holdfast/exercises/internal/trial"
)

// TestExercise runs the check. What it prints explains what breaks.
func TestExercise(t *testing.T) {
	t.Parallel()
	trial.Run(t, e07.Exercise(exercise.Relay), e07.Texts())
}

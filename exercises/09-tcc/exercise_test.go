package exercise_test

import (
	"testing"

	exercise "holdfast/exercises/09-tcc"
	"holdfast/exercises/internal/e09"
	"holdfast/exercises/internal/trial"
)

// TestExercise runs the check. What it prints explains what breaks.
func TestExercise(t *testing.T) {
	t.Parallel()
	trial.Run(t, e09.Exercise(e09.Wallet{
		Try: exercise.Try, Confirm: exercise.Confirm, Cancel: exercise.Cancel,
		ErrInsufficientFunds: exercise.ErrInsufficientFunds, ErrClosed: exercise.ErrClosed,
	}), e09.Texts())
}

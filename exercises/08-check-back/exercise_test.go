package exercise_test

import (
	"testing"

	"gorm.io/gorm"

	exercise "holdfast/exercises/08-check-back"
	"holdfast/exercises/internal/e08"
	"holdfast/exercises/internal/trial"
)

// TestExercise runs the check. What it prints explains what breaks.
func TestExercise(t *testing.T) {
	t.Parallel()
	trial.Run(t, e08.Exercise(func(db *gorm.DB) e08.Sender { return exercise.New(db) }), e08.Texts())
}

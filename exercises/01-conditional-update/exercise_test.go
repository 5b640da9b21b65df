package exercise_test

import (
	"testing"

	exercise "holdfast/exercises/01-conditional-update"
	"holdfast/exercises/internal/e01"
	"holdfast/exercises/internal/trial"
)

func TestExercise(t *testing.T) {
	trial.Run(t, e01.Exercise(exercise.Reserve, exercise.ErrOutOfStock), e01.Texts())
}

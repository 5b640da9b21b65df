package exercise_test

import (
	"testing"

	exercise "holdfast/exercises/02-for-update-order"
	"holdfast/exercises/internal/e02"
	"holdfast/exercises/internal/trial"
)

func TestExercise(t *testing.T) {
	trial.Run(t, e02.Exercise(exercise.Reserve, exercise.ErrOutOfStock), e02.Texts())
}

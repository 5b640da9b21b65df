package exercise_test

import (
	"testing"

	exercise "holdfast/exercises/03-optimistic-retry"
	"holdfast/exercises/internal/e03"
	"holdfast/exercises/internal/trial"
)

func TestExercise(t *testing.T) {
	trial.Run(t, e03.Exercise(exercise.Reserve, exercise.ErrOutOfStock, exercise.ErrContended), e03.Texts())
}

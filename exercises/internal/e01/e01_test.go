package e01_test

import (
	"testing"

	start "holdfast/exercises/01-conditional-update"
	blind "holdfast/exercises/01-conditional-update/attempts/blind-decrement"
	ignored "holdfast/exercises/01-conditional-update/attempts/ignored-rows"
	naive "holdfast/exercises/01-conditional-update/attempts/read-then-write"
	"holdfast/exercises/internal/e01"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/01-conditional-update"
)

func TestExercise(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		reserve e01.Reserve
		refusal error
		want    string
	}{
		{"start", start.Reserve, start.ErrOutOfStock, "nothing-taken"},
		{"read-then-write", naive.Reserve, naive.ErrOutOfStock, "lost-update"},
		{"blind-decrement", blind.Reserve, blind.ErrOutOfStock, "blind-decrement"},
		{"ignored-rows", ignored.Reserve, ignored.ErrOutOfStock, "ignored-rows"},
		{"solution", solution.Reserve, solution.ErrOutOfStock, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e01.Exercise(tt.reserve, tt.refusal), e01.Texts(), tt.want)
		})
	}
}

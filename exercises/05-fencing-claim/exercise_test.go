package exercise_test

import (
	"context"
	"testing"

	"gorm.io/gorm"

	exercise "holdfast/exercises/05-fencing-claim"
	"holdfast/exercises/internal/e05"
	"holdfast/exercises/internal/trial"
)

// TestExercise runs the check. What it prints explains what breaks.
func TestExercise(t *testing.T) {
	t.Parallel()
	trial.Run(t, e05.Exercise(e05.Learner{
		Sell: func(ctx context.Context, db *gorm.DB, sku string, qty int, lease e05.Lease) error {
			return exercise.Sell(ctx, db, sku, qty, lease)
		},
		ErrOutOfStock: exercise.ErrOutOfStock, ErrStale: exercise.ErrStale,
	}), e05.Texts())
}

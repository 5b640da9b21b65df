package e05_test

import (
	"context"
	"testing"

	"gorm.io/gorm"

	start "holdfast/exercises/05-fencing-claim"
	claimafterread "holdfast/exercises/05-fencing-claim/attempts/claim-after-read"
	claimwithouttransaction "holdfast/exercises/05-fencing-claim/attempts/claim-without-transaction"
	equaltoken "holdfast/exercises/05-fencing-claim/attempts/equal-token"
	fenceinredis "holdfast/exercises/05-fencing-claim/attempts/fence-in-redis"
	fenceinwrite "holdfast/exercises/05-fencing-claim/attempts/fence-in-write"
	"holdfast/exercises/internal/e05"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/05-fencing-claim"
)

// learner returns the learner of one of the packages, each of which has a type Lease of its own.
func learner[L any](sell func(context.Context, *gorm.DB, string, int, L) error, outOfStock, stale error) e05.Learner {
	return e05.Learner{
		Sell: func(ctx context.Context, db *gorm.DB, sku string, qty int, lease e05.Lease) error {
			return sell(ctx, db, sku, qty, lease.(L))
		},
		ErrOutOfStock: outOfStock, ErrStale: stale,
	}
}

// TestExercise: the start and each attempt get their own explanation, and the solution passes.
func TestExercise(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		learner    e05.Learner
	}{
		{"start", "no-fence", learner(start.Sell, start.ErrOutOfStock, start.ErrStale)},
		{"fence-in-redis", "fence-in-redis", learner(fenceinredis.Sell, fenceinredis.ErrOutOfStock, fenceinredis.ErrStale)},
		{"fence-in-write", "fence-in-write", learner(fenceinwrite.Sell, fenceinwrite.ErrOutOfStock, fenceinwrite.ErrStale)},
		{"claim-after-read", "claim-after-read", learner(claimafterread.Sell, claimafterread.ErrOutOfStock, claimafterread.ErrStale)},
		{"claim-without-transaction", "claim-without-transaction", learner(
			claimwithouttransaction.Sell, claimwithouttransaction.ErrOutOfStock, claimwithouttransaction.ErrStale)},
		{"equal-token", "same-token-twice", learner(equaltoken.Sell, equaltoken.ErrOutOfStock, equaltoken.ErrStale)},
		{"solution", "", learner(solution.Sell, solution.ErrOutOfStock, solution.ErrStale)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e05.Exercise(tt.learner), e05.Texts(), tt.want)
		})
	}
}

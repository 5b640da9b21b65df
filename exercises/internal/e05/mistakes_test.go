package e05_test

import (
	"context"
	"errors"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"holdfast/exercises/internal/e05"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/05-fencing-claim"
)

type sell func(ctx context.Context, db *gorm.DB, sku string, qty int, lease e05.Lease) error

// inTx makes a sale of what is done in its transaction.
func inTx(do func(tx *gorm.DB, sku string, qty int, token int64) error) sell {
	return func(ctx context.Context, db *gorm.DB, sku string, qty int, lease e05.Lease) error {
		return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return do(tx, sku, qty, lease.Token()) })
	}
}

// locked reads the row with FOR UPDATE and has the columns set that update returns.
func locked(update func(s solution.Stock, qty int, token int64) (map[string]any, error)) sell {
	return inTx(func(tx *gorm.DB, sku string, qty int, token int64) error {
		var s solution.Stock
		if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Take(&s, "sku = ?", sku).Error; err != nil {
			return err
		}
		columns, err := update(s, qty, token)
		if err != nil {
			return err
		}
		return tx.Model(&s).Updates(columns).Error
	})
}

// TestExercise_otherMistakes: what the attempts do not do is explained, too, and what is right in another way passes.
func TestExercise_otherMistakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want string
		sell       sell
	}{
		{"sells nothing", "nothing-sold", inTx(func(*gorm.DB, string, int, int64) error { return nil })},
		{"refuses all", "refused-too-early", inTx(func(*gorm.DB, string, int, int64) error { return solution.ErrStale })},
		{"fails", "sell-fails", inTx(func(*gorm.DB, string, int, int64) error { return errors.New("oops") })},
		{"sells one unit always", "stock-gone", locked(func(s solution.Stock, _ int, token int64) (map[string]any, error) {
			return map[string]any{"available": s.Available - 1, "fence": token}, nil
		})},
		{"the row lock alone", "fence-not-stored", locked(func(s solution.Stock, qty int, _ int64) (map[string]any, error) {
			return map[string]any{"available": s.Available - qty}, nil
		})},
		{"stored and not compared", "stale-accepted", locked(func(s solution.Stock, qty int, token int64) (map[string]any, error) {
			return map[string]any{"available": s.Available - qty, "fence": token}, nil
		})},
		{"sells below zero", "not-refused", locked(func(s solution.Stock, qty int, token int64) (map[string]any, error) {
			if s.Fence >= token {
				return nil, solution.ErrStale
			}
			return map[string]any{"available": s.Available - qty, "fence": token}, nil
		})},
		{"FOR UPDATE, compared before the row is used", "", locked(func(s solution.Stock, qty int, token int64) (map[string]any, error) {
			if s.Fence >= token {
				return nil, solution.ErrStale
			}
			if s.Available < qty {
				return nil, solution.ErrOutOfStock
			}
			return map[string]any{"available": s.Available - qty, "fence": token}, nil
		})},
		{"one statement", "", inTx(func(tx *gorm.DB, sku string, qty int, token int64) error {
			write := tx.Exec("UPDATE stock SET available = available - ?, fence = ? WHERE sku = ? AND available >= ? AND fence < ?",
				qty, token, sku, qty, token)
			if write.Error != nil || write.RowsAffected == 1 {
				return write.Error
			}
			var s solution.Stock
			if err := tx.Take(&s, "sku = ?", sku).Error; err != nil {
				return err
			}
			if s.Fence >= token {
				return solution.ErrStale
			}
			return solution.ErrOutOfStock
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e05.Exercise(e05.Learner{
				Sell: tt.sell, ErrOutOfStock: solution.ErrOutOfStock, ErrStale: solution.ErrStale,
			}), e05.Texts(), tt.want)
		})
	}
}

package e03_test

import (
	"context"
	"testing"

	"gorm.io/gorm"

	start "holdfast/exercises/03-optimistic-retry"
	once "holdfast/exercises/03-optimistic-retry/attempts/no-retry"
	inside "holdfast/exercises/03-optimistic-retry/attempts/retry-in-transaction"
	unbounded "holdfast/exercises/03-optimistic-retry/attempts/unbounded-retry"
	blind "holdfast/exercises/03-optimistic-retry/attempts/version-not-compared"
	"holdfast/exercises/internal/e03"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/03-optimistic-retry"
)

func TestExercise(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		reserve   e03.Reserve
		refusal   error
		contended error
		want      string
	}{
		{"start", start.Reserve, start.ErrOutOfStock, start.ErrContended, "nothing-taken"},
		{"retry-in-transaction", inside.Reserve, inside.ErrOutOfStock, inside.ErrContended, "retry-in-snapshot"},
		{"unbounded-retry", unbounded.Reserve, unbounded.ErrOutOfStock, unbounded.ErrContended, "unbounded-retry"},
		{"version-not-compared", blind.Reserve, blind.ErrOutOfStock, blind.ErrContended, "version-not-compared"},
		{"no-retry", once.Reserve, once.ErrOutOfStock, once.ErrContended, "no-retry"},
		{"solution", solution.Reserve, solution.ErrOutOfStock, solution.ErrContended, ""},
		{"without an end in the transaction", endless, start.ErrOutOfStock, start.ErrContended, "retry-in-snapshot"},
		{"a row lock", locked, start.ErrOutOfStock, start.ErrContended, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e03.Exercise(tt.reserve, tt.refusal, tt.contended), e03.Texts(), tt.want)
		})
	}
}

func read(tx *gorm.DB, query, sku string, qty int) (available, version int, err error) {
	if err := tx.Raw(query, sku).Row().Scan(&available, &version); err != nil {
		return 0, 0, err
	}
	if available < qty {
		return 0, 0, start.ErrOutOfStock
	}
	return available, version, nil
}

func write(tx *gorm.DB, orderNo, sku string, available, version, qty int) (bool, error) {
	res := tx.Exec("UPDATE stock SET available = ?, version = version + 1 WHERE sku = ? AND version = ?", available-qty, sku, version)
	if res.Error != nil || res.RowsAffected == 0 {
		return false, res.Error
	}
	return true, tx.Exec("INSERT INTO reservations (order_no, sku, qty) VALUES (?, ?, ?)", orderNo, sku, qty).Error
}

func endless(ctx context.Context, db *gorm.DB, orderNo, sku string, qty int) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for {
			available, version, err := read(tx, "SELECT available, version FROM stock WHERE sku = ?", sku, qty)
			if err != nil {
				return err
			}
			if done, err := write(tx, orderNo, sku, available, version, qty); done || err != nil {
				return err
			}
		}
	})
}

// locked is another answer to the question, and right.
func locked(ctx context.Context, db *gorm.DB, orderNo, sku string, qty int) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		available, version, err := read(tx, "SELECT available, version FROM stock WHERE sku = ? FOR UPDATE", sku, qty)
		if err != nil {
			return err
		}
		_, err = write(tx, orderNo, sku, available, version, qty)
		return err
	})
}

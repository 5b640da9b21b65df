package e02_test

import (
	"context"
	"testing"

	"gorm.io/gorm"

	start "holdfast/exercises/02-for-update-order"
	given "holdfast/exercises/02-for-update-order/attempts/given-order"
	outside "holdfast/exercises/02-for-update-order/attempts/lock-without-transaction"
	early "holdfast/exercises/02-for-update-order/attempts/read-before-lock"
	"holdfast/exercises/internal/e02"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/02-for-update-order"
)

func TestExercise(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		reserve e02.Reserve
		refusal error
		want    string
	}{
		{"start", start.Reserve, start.ErrOutOfStock, "nothing-taken"},
		{"read-before-lock", early.Reserve, early.ErrOutOfStock, "read-before-lock"},
		{"given-order", given.Reserve, given.ErrOutOfStock, "deadlock"},
		{"lock-without-transaction", outside.Reserve, outside.ErrOutOfStock, "lock-without-transaction"},
		{"solution", solution.Reserve, solution.ErrOutOfStock, ""},
		{"no lock at all", noLock, start.ErrOutOfStock, "no-lock"},
		{"no transaction", noTransaction, start.ErrOutOfStock, "half-order"},
		{"conditional updates", conditional, start.ErrOutOfStock, "deadlock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e02.Exercise(tt.reserve, tt.refusal), e02.Texts(), tt.want)
		})
	}
}

func insert(tx *gorm.DB, orderNo string, l e02.Line) error {
	return tx.Exec("INSERT INTO reservations (order_no, sku, qty) VALUES (?, ?, ?)", orderNo, l.SKU, l.Qty).Error
}

func noLock(ctx context.Context, db *gorm.DB, orderNo string, lines []e02.Line) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for _, l := range lines {
			var available int
			if err := tx.Raw("SELECT available FROM stock WHERE sku = ?", l.SKU).Row().Scan(&available); err != nil {
				return err
			}
			if available < l.Qty {
				return start.ErrOutOfStock
			}
			if err := tx.Exec("UPDATE stock SET available = ? WHERE sku = ?", available-l.Qty, l.SKU).Error; err != nil {
				return err
			}
			if err := insert(tx, orderNo, l); err != nil {
				return err
			}
		}
		return nil
	})
}

// noTransaction decides correctly line by line, and a refused order keeps the lines before the refusal.
func noTransaction(ctx context.Context, db *gorm.DB, orderNo string, lines []e02.Line) error {
	return take(db.WithContext(ctx), orderNo, lines)
}

// conditional is one transaction, whose rows are locked in the buyer's order.
func conditional(ctx context.Context, db *gorm.DB, orderNo string, lines []e02.Line) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return take(tx, orderNo, lines) })
}

func take(tx *gorm.DB, orderNo string, lines []e02.Line) error {
	for _, l := range lines {
		res := tx.Exec("UPDATE stock SET available = available - ? WHERE sku = ? AND available >= ?", l.Qty, l.SKU, l.Qty)
		if res.Error != nil {
			return res.Error
		}
		if res.RowsAffected == 0 {
			return start.ErrOutOfStock
		}
		if err := insert(tx, orderNo, l); err != nil {
			return err
		}
	}
	return nil
}

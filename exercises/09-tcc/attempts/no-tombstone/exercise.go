// Package exercise leaves nothing behind when there is nothing to cancel.
package exercise

import (
	"context"
	"errors"

	"gorm.io/gorm"
)

// What Try refuses.
var (
	ErrInsufficientFunds = errors.New("insufficient funds")
	ErrClosed            = errors.New("the order is closed") // also what Confirm refuses
)

// The states of a freeze.
const (
	frozen    = "frozen"
	confirmed = "confirmed"
	cancelled = "cancelled" // also a tombstone: cancelled before anything was frozen
)

// freeze is the money of an order.
type freeze struct {
	OrderNo, UserID, State string
	Cents                  int64
}

// Try freezes the money of an order once.
func Try(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		fresh, err := insert(tx, orderNo, userID, cents, frozen)
		if err != nil {
			return err
		}
		if !fresh {
			f, err := lock(tx, orderNo)
			if err == nil && f.State == cancelled {
				err = ErrClosed
			}
			return err
		}
		return take(tx, userID, cents)
	})
}

// Confirm pays what is frozen.
func Confirm(ctx context.Context, db *gorm.DB, orderNo string) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		f, err := lock(tx, orderNo)
		switch {
		case err != nil:
			return err
		case f.State == cancelled:
			return ErrClosed
		case f.State == confirmed:
			return nil // a repeat
		}
		return end(tx, f, confirmed, 0)
	})
}

// Cancel gives back what is frozen, if anything is.
func Cancel(ctx context.Context, db *gorm.DB, orderNo, _ string, _ int64) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		f, err := lock(tx, orderNo)
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return nil // nothing was frozen, so there is nothing to do
		}
		if err != nil || f.State != frozen {
			return err
		}
		return end(tx, f, cancelled, f.Cents)
	})
}

// insert writes the row of an order and reports whether it did: false when the order has a row. It leaves the row
// locked in both cases.
func insert(tx *gorm.DB, orderNo, userID string, cents int64, state string) (fresh bool, err error) {
	res := tx.Exec(
		"INSERT INTO freezes (order_no, user_id, cents, state) VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE order_no = order_no",
		orderNo, userID, cents, state,
	)
	return res.RowsAffected == 1, res.Error
}

// lock reads the row of an order and locks it until the transaction ends.
func lock(tx *gorm.DB, orderNo string) (freeze, error) {
	var f freeze
	err := tx.
		Raw("SELECT order_no, user_id, cents, state FROM freezes WHERE order_no = ? FOR UPDATE", orderNo).
		Scan(&f).Error
	if err == nil && f.OrderNo == "" {
		err = gorm.ErrRecordNotFound
	}
	return f, err
}

// take moves money from available to frozen. The condition is in the statement, so that two orders do not spend the
// same money.
func take(tx *gorm.DB, userID string, cents int64) error {
	res := tx.Exec(
		"UPDATE wallets SET available = available - ?, frozen = frozen + ? WHERE user_id = ? AND available >= ?",
		cents, cents, userID, cents,
	)
	if res.Error == nil && res.RowsAffected == 0 {
		return ErrInsufficientFunds // the transaction rolls the row of the order back, too
	}
	return res.Error
}

// end takes the money of an order out of frozen, and gives back so much of it.
func end(tx *gorm.DB, f freeze, state string, back int64) error {
	if err := tx.Exec("UPDATE freezes SET state = ? WHERE order_no = ?", state, f.OrderNo).Error; err != nil {
		return err
	}
	return tx.Exec(
		"UPDATE wallets SET available = available + ?, frozen = frozen - ? WHERE user_id = ?",
		back, f.Cents, f.UserID,
	).Error
}

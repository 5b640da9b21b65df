// Package flawed holds wallets with a mistake, one each: what a wallet becomes when one of its guards is left out. They
// are for the lessons and for the tests of the guards. A wallet has a mistake only when its caller gives it one, and
// the program does not.
package flawed

import (
	"context"
	"crypto/rand"
	"fmt"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/wallet/httpapi"
	"holdfast/order-srv/internal/wallet/store"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/database"
)

// Mistake is a guard that is left out.
type Mistake struct {
	Name string
	Make func(db *gorm.DB, right *store.Store) httpapi.Wallets
}

// The names of the mistakes that lessons cause.
const (
	BlindCancel = "blind-cancel"
	NoTombstone = "no-tombstone"
	BlindRepeat = "blind-repeat"
)

// List returns the mistakes.
func List() []Mistake {
	return []Mistake{
		{BlindCancel, func(db *gorm.DB, right *store.Store) httpapi.Wallets { return blindCancel{right, db} }},
		{NoTombstone, func(db *gorm.DB, right *store.Store) httpapi.Wallets { return noTombstone{right, db} }},
		{BlindRepeat, func(db *gorm.DB, right *store.Store) httpapi.Wallets { return blindRepeat{right, db} }},
		{"open-after-cancel", func(db *gorm.DB, right *store.Store) httpapi.Wallets { return openAfterCancel{right, db} }},
		{"read-then-write", func(db *gorm.DB, right *store.Store) httpapi.Wallets { return readThenWrite{right, db} }},
		{"refund-again", func(db *gorm.DB, right *store.Store) httpapi.Wallets { return refundAgain{right, db} }},
	}
}

// Find returns the mistake of that name.
func Find(name string) (Mistake, error) {
	for _, m := range List() {
		if m.Name == name {
			return m, nil
		}
	}
	return Mistake{}, fmt.Errorf("there is no wallet with the mistake %q", name)
}

const giveBack = "UPDATE wallets SET available_cents = available_cents + ?, frozen_cents = frozen_cents - ?, updated_at = UTC_TIMESTAMP(6) WHERE user_id = ?"

// blindCancel returns the money that the caller names, and does not look whether it was ever frozen. A cancellation
// that overtakes its freeze, or that is repeated, returns the money of another order.
type blindCancel struct {
	*store.Store
	db *gorm.DB
}

// Cancel implements httpapi.Wallets.
func (w blindCancel) Cancel(ctx context.Context, orderNo string, r walletapi.CancelRequest) error {
	return database.InTx(ctx, w.db, func(tx *gorm.DB) error {
		if err := tx.Exec("UPDATE freezes SET state = 'cancelled' WHERE order_no = ?", orderNo).Error; err != nil {
			return err
		}
		return tx.Exec(giveBack, r.AmountCents, r.AmountCents, r.UserID).Error
	})
}

// noTombstone ignores a cancellation that overtakes its freeze. The freeze comes later and is executed, and its money
// stays frozen.
type noTombstone struct {
	*store.Store
	db *gorm.DB
}

// Cancel implements httpapi.Wallets.
func (w noTombstone) Cancel(ctx context.Context, orderNo string, r walletapi.CancelRequest) error {
	found, err := w.States(ctx, []string{orderNo})
	if err != nil || len(found) == 0 {
		return err
	}
	return w.Store.Cancel(ctx, orderNo, r)
}

// blindRepeat pays each time that it is asked to, and has no reference that counts once.
type blindRepeat struct {
	*store.Store
	db *gorm.DB
}

// Confirm implements httpapi.Wallets.
func (w blindRepeat) Confirm(ctx context.Context, orderNo string) error {
	return database.InTx(ctx, w.db, func(tx *gorm.DB) error {
		f, err := freezeOf(tx, orderNo)
		if err != nil {
			return err
		}
		if err := tx.Exec("UPDATE freezes SET state = 'confirmed' WHERE order_no = ?", orderNo).Error; err != nil {
			return err
		}
		err = tx.Exec("UPDATE wallets SET frozen_cents = frozen_cents - ?, updated_at = UTC_TIMESTAMP(6) WHERE user_id = ?", f.AmountCents, f.UserID).Error
		if err != nil {
			return err
		}
		return enterAgain(tx, f, walletapi.KindPayment, -f.AmountCents)
	})
}

// openAfterCancel freezes again what was cancelled: it takes a tombstone for an old row.
type openAfterCancel struct {
	*store.Store
	db *gorm.DB
}

// Freeze implements httpapi.Wallets.
func (w openAfterCancel) Freeze(ctx context.Context, r walletapi.FreezeRequest) error {
	_, err := database.Exec(ctx, w.db, "DELETE FROM freezes WHERE order_no = ? AND state IN ('cancelled', 'void')", r.OrderNo)
	if err != nil {
		return err
	}
	return w.Store.Freeze(ctx, r)
}

// readThenWrite reads the balance, decides, and writes what it has computed. Two freezes at the same time read the same
// balance, and the second undoes the first.
type readThenWrite struct {
	*store.Store
	db *gorm.DB
}

// Freeze implements httpapi.Wallets.
func (w readThenWrite) Freeze(ctx context.Context, r walletapi.FreezeRequest) error {
	balance, err := w.Wallet(ctx, r.UserID)
	if err != nil {
		return err
	}
	if balance.AvailableCents < r.AmountCents {
		return walletapi.ErrInsufficientFunds
	}
	return database.InTx(ctx, w.db, func(tx *gorm.DB) error {
		err := tx.Exec(`INSERT INTO freezes (order_no, user_id, amount_cents, state, created_at, updated_at)
			VALUES (?, ?, ?, 'frozen', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))`, r.OrderNo, r.UserID, r.AmountCents).Error
		if err != nil {
			return err
		}
		return tx.Exec("UPDATE wallets SET available_cents = ?, frozen_cents = ? WHERE user_id = ?",
			balance.AvailableCents-r.AmountCents, balance.FrozenCents+r.AmountCents, r.UserID).Error
	})
}

// refundAgain refunds each time that it is asked to.
type refundAgain struct {
	*store.Store
	db *gorm.DB
}

// Refund implements httpapi.Wallets.
func (w refundAgain) Refund(ctx context.Context, orderNo string) error {
	return database.InTx(ctx, w.db, func(tx *gorm.DB) error {
		f, err := freezeOf(tx, orderNo)
		if err != nil {
			return err
		}
		if err := tx.Exec("UPDATE freezes SET refunded_at = UTC_TIMESTAMP(6) WHERE order_no = ?", orderNo).Error; err != nil {
			return err
		}
		err = tx.Exec("UPDATE wallets SET available_cents = available_cents + ?, updated_at = UTC_TIMESTAMP(6) WHERE user_id = ?", f.AmountCents, f.UserID).Error
		if err != nil {
			return err
		}
		return enterAgain(tx, f, walletapi.KindRefund, f.AmountCents)
	})
}

func freezeOf(tx *gorm.DB, orderNo string) (walletapi.Freeze, error) {
	var found []walletapi.Freeze
	if err := tx.Raw("SELECT order_no, user_id, amount_cents, state FROM freezes WHERE order_no = ?", orderNo).Scan(&found).Error; err != nil {
		return walletapi.Freeze{}, err
	}
	if len(found) == 0 {
		return walletapi.Freeze{}, walletapi.ErrUnknownFreeze
	}
	return found[0], nil
}

// enterAgain writes an entry with a reference of its own.
func enterAgain(tx *gorm.DB, f walletapi.Freeze, kind string, amountCents int64) error {
	return tx.Exec("INSERT INTO wallet_entries (user_id, kind, amount_cents, reference, created_at) VALUES (?, ?, ?, ?, UTC_TIMESTAMP(6))",
		f.UserID, kind, amountCents, kind+":"+f.OrderNo+":"+rand.Text()).Error
}

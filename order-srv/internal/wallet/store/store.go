// Package store is the wallet's SQL: balances, entries and the money of orders. Each step of a freeze is one guarded
// UPDATE, with the change of the balance and the entry in the same transaction. All transactions lock the row of the
// order before the row of the wallet, so two of them never wait for each other in a circle.
package store

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"holdfast/order-srv/walletapi"
	"holdfast/pkg/database"
)

// Store is the wallet's database.
type Store struct {
	db      *gorm.DB
	opening int64
}

// New returns a store on db. opening is what each wallet has at first, in cents, by an entry of its own; 0: nothing.
func New(db *gorm.DB, opening int64) *Store { return &Store{db: db, opening: opening} }

// errInconsistent is a statement that did not change the row that it had to change: the balance and the freezes
// disagree. Callers get an opaque internal fault, the log has the cause.
var errInconsistent = errors.New("the wallet is inconsistent")

// Wallet returns the balance of a user. A user without a wallet has nothing; in lab mode the wallet is opened.
func (s *Store) Wallet(ctx context.Context, userID string) (walletapi.Wallet, error) {
	w, known, err := readWallet(s.db.WithContext(ctx), userID)
	if err != nil || known || s.opening == 0 {
		return w, database.Fault(err)
	}
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		if err := s.open(tx, userID); err != nil {
			return err
		}
		w, _, err = readWallet(tx, userID)
		return err
	}, database.SettleBy("SELECT user_id FROM wallets WHERE user_id = ? FOR UPDATE", userID))
	return w, err
}

func readWallet(db *gorm.DB, userID string) (w walletapi.Wallet, known bool, err error) {
	var found []walletapi.Wallet
	err = db.Raw("SELECT user_id, available_cents, frozen_cents FROM wallets WHERE user_id = ?", userID).Scan(&found).Error
	if err != nil {
		return w, false, fmt.Errorf("read the wallet of %s: %w", userID, err)
	}
	if len(found) == 0 {
		return walletapi.Wallet{UserID: userID}, false, nil
	}
	return found[0], true, nil
}

// open makes the user's wallet unless there is one, with the opening balance as an entry. Of two transactions that open
// a wallet at the same time the second waits for the first and finds the wallet.
func (s *Store) open(tx *gorm.DB, userID string) error {
	res := tx.Exec(`INSERT INTO wallets (user_id, available_cents, created_at, updated_at) VALUES (?, ?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))
		ON DUPLICATE KEY UPDATE user_id = user_id`, userID, s.opening)
	if res.Error != nil {
		return fmt.Errorf("open the wallet of %s: %w", userID, res.Error)
	}
	if res.RowsAffected == 0 || s.opening == 0 {
		return nil
	}
	return enter(tx, userID, walletapi.KindOpening, userID, s.opening)
}

// enter writes an entry. name makes the reference: a second entry of one kind and name is an error.
func enter(tx *gorm.DB, userID, kind, name string, amountCents int64) error {
	err := tx.Exec("INSERT INTO wallet_entries (user_id, kind, amount_cents, reference, created_at) VALUES (?, ?, ?, ?, UTC_TIMESTAMP(6))",
		userID, kind, amountCents, kind+":"+name).Error
	if err != nil {
		return fmt.Errorf("write the %s of %s: %w", kind, name, err)
	}
	return nil
}

// Credit adds money to a wallet and returns the balance. A reference counts once: a repeat changes nothing, and another
// user or amount with the reference is walletapi.ErrCreditMismatch.
func (s *Store) Credit(ctx context.Context, userID string, r walletapi.CreditRequest) (w walletapi.Wallet, err error) {
	reference := walletapi.KindCredit + ":" + r.Reference
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		if err := s.open(tx, userID); err != nil {
			return err
		}
		res := tx.Exec(`INSERT INTO wallet_entries (user_id, kind, amount_cents, reference, created_at) VALUES (?, ?, ?, ?, UTC_TIMESTAMP(6))
			ON DUPLICATE KEY UPDATE reference = reference`, userID, walletapi.KindCredit, r.AmountCents, reference)
		if res.Error != nil {
			return fmt.Errorf("write the credit %s: %w", r.Reference, res.Error)
		}
		err := sameCredit(tx, reference, userID, r.AmountCents)
		if res.RowsAffected == 1 {
			err = move(tx, userID, r.AmountCents, 0)
		}
		if err != nil {
			return err
		}
		w, _, err = readWallet(tx, userID)
		return err
	}, database.SettleBy("SELECT reference FROM wallet_entries WHERE reference = ? FOR UPDATE", reference))
	return w, err
}

func sameCredit(tx *gorm.DB, reference, userID string, amountCents int64) error {
	var same bool
	err := tx.Raw("SELECT EXISTS (SELECT 1 FROM wallet_entries WHERE reference = ? AND user_id = ? AND amount_cents = ?)", reference, userID, amountCents).Row().Scan(&same)
	if err != nil {
		return fmt.Errorf("read the credit %s: %w", reference, err)
	}
	if !same {
		return walletapi.ErrCreditMismatch
	}
	return nil
}

// move changes a balance whose wallet exists, and is an error unless both parts stay at 0 or more.
func move(tx *gorm.DB, userID string, available, frozen int64) error {
	moved, err := tryMove(tx, userID, available, frozen)
	if err == nil && !moved {
		err = fmt.Errorf("%w: the wallet of %s does not allow %+d available and %+d frozen", errInconsistent, userID, available, frozen)
	}
	return err
}

// tryMove changes a balance and reports whether it did: there is a wallet, and both parts stay at 0 or more. The
// condition is in the statement. A balance that is read first may be spent before the UPDATE.
func tryMove(tx *gorm.DB, userID string, available, frozen int64) (moved bool, err error) {
	if available == 0 && frozen == 0 {
		return true, nil // an order that costs nothing needs no wallet
	}
	res := tx.Exec(`UPDATE wallets SET available_cents = available_cents + ?, frozen_cents = frozen_cents + ?, updated_at = UTC_TIMESTAMP(6)
		WHERE user_id = ? AND available_cents + ? >= 0 AND frozen_cents + ? >= 0`, available, frozen, userID, available, frozen)
	if res.Error != nil {
		return false, fmt.Errorf("change the balance of %s: %w", userID, res.Error)
	}
	return res.RowsAffected == 1, nil
}

// Entries returns up to limit entries of a user before an id, newest first. before 0: from the newest on.
func (s *Store) Entries(ctx context.Context, userID string, before int64, limit int) ([]walletapi.Entry, error) {
	var found []walletapi.Entry
	err := s.db.WithContext(ctx).Raw(`SELECT id, kind, amount_cents, reference, created_at FROM wallet_entries
		WHERE user_id = ? AND (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?`, userID, before, before, limit).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read the entries of %s: %w", userID, database.Fault(err))
	}
	return found, nil
}

// Balances returns up to limit wallets after a user, each with its sums, of one consistent snapshot.
func (s *Store) Balances(ctx context.Context, after string, limit int) (found []walletapi.Balance, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		found = nil
		return tx.Raw(`SELECT w.user_id, w.available_cents, w.frozen_cents,
			(SELECT COALESCE(SUM(e.amount_cents), 0) FROM wallet_entries AS e WHERE e.user_id = w.user_id) AS entries_cents,
			(SELECT COALESCE(SUM(f.amount_cents), 0) FROM freezes AS f WHERE f.user_id = w.user_id AND f.state = 'frozen') AS freezes_cents,
			(SELECT COALESCE(-SUM(e.amount_cents), 0) FROM wallet_entries AS e WHERE e.user_id = w.user_id AND e.kind IN ('payment', 'refund')) AS paid_cents,
			(SELECT COALESCE(SUM(f.amount_cents), 0) FROM freezes AS f WHERE f.user_id = w.user_id AND f.state = 'confirmed' AND f.refunded_at IS NULL) AS confirmed_cents
			FROM wallets AS w WHERE w.user_id > ? ORDER BY w.user_id LIMIT ?`, after, limit).Scan(&found).Error
	}, database.Snapshot())
	if err != nil {
		return nil, fmt.Errorf("read the balances: %w", err)
	}
	return found, nil
}

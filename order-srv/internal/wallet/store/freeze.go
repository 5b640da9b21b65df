package store

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/order-srv/walletapi"
	"holdfast/pkg/crash"
	"holdfast/pkg/database"
)

const freezeColumns = "order_no, user_id, amount_cents, state, refunded_at IS NOT NULL AS refunded"

// Freeze sets money aside for an order: the try phase. A repeat changes nothing, also after the order was paid. Errors:
// walletapi.ErrInsufficientFunds, walletapi.ErrFreezeMismatch, and walletapi.ErrFreezeClosed when the order was
// cancelled. The last one is what a tombstone is for: without it a freeze that the network has delayed is executed
// after its cancellation, and the money stays frozen for an order that nobody ends again.
func (s *Store) Freeze(ctx context.Context, r walletapi.FreezeRequest) error {
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		fresh, err := insertFreeze(tx, r.OrderNo, r.UserID, r.AmountCents, walletapi.StateFrozen)
		if err != nil {
			return err
		}
		if !fresh {
			return s.repeatFreeze(tx, r)
		}
		return s.take(tx, r)
	}, database.SettleBy("SELECT order_no FROM freezes WHERE order_no = ? AND state = 'frozen' FOR UPDATE", r.OrderNo))
	if err == nil {
		crash.At(crash.WalletFrozen)
	}
	return err
}

// insertFreeze writes the row of an order unless it has one, and reports whether it did. It leaves the row locked in
// both cases: what is read of it afterwards stays true until the transaction ends.
func insertFreeze(tx *gorm.DB, orderNo, userID string, amountCents int64, state string) (fresh bool, err error) {
	res := tx.Exec(`INSERT INTO freezes (order_no, user_id, amount_cents, state, created_at, updated_at) VALUES (?, ?, ?, ?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))
		ON DUPLICATE KEY UPDATE order_no = freezes.order_no`, orderNo, userID, amountCents, state)
	if res.Error != nil {
		return false, fmt.Errorf("write the freeze of %s: %w", orderNo, res.Error)
	}
	return res.RowsAffected == 1, nil
}

// repeatFreeze answers a freeze of an order that has a row.
func (s *Store) repeatFreeze(tx *gorm.DB, r walletapi.FreezeRequest) error {
	f, known, err := lockFreeze(tx, r.OrderNo)
	switch {
	case err != nil:
		return err
	case !known:
		return fmt.Errorf("%w: the freeze of %s was there and is gone", errInconsistent, r.OrderNo)
	case f.State == walletapi.StateCancelled || f.State == walletapi.StateVoid:
		return walletapi.ErrFreezeClosed
	case f.UserID != r.UserID || f.AmountCents != r.AmountCents:
		return walletapi.ErrFreezeMismatch
	}
	return nil
}

// take moves money from available to frozen. A refusal rolls back the row of the order with everything else.
func (s *Store) take(tx *gorm.DB, r walletapi.FreezeRequest) error {
	moved, err := tryMove(tx, r.UserID, -r.AmountCents, r.AmountCents)
	if err != nil || moved {
		return err
	}
	w, known, err := readWallet(tx, r.UserID)
	if err != nil {
		return err
	}
	if !known && s.opening > 0 {
		if err := s.open(tx, r.UserID); err != nil {
			return err
		}
		if moved, err = tryMove(tx, r.UserID, -r.AmountCents, r.AmountCents); err != nil || moved {
			return err
		}
		w.AvailableCents = s.opening
	}
	return walletapi.ErrInsufficientFunds.With("available_cents", w.AvailableCents).With("amount_cents", r.AmountCents)
}

// Confirm pays the money that is frozen for an order, with an entry. A repeat changes nothing, and so does a refund
// before the repeat. walletapi.ErrFreezeClosed when the order was cancelled. walletapi.ErrUnknownFreeze when there is
// no row, and none is written: a confirmation follows a freeze that was answered, so the wallet has lost something, and
// a tombstone would keep whoever restores it from paying.
func (s *Store) Confirm(ctx context.Context, orderNo string) error {
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		f, known, err := lockFreeze(tx, orderNo)
		switch {
		case err != nil:
			return err
		case !known:
			return walletapi.ErrUnknownFreeze
		case f.State == walletapi.StateConfirmed:
			return nil
		case f.State != walletapi.StateFrozen:
			return walletapi.ErrFreezeClosed
		}
		if err := step(tx, orderNo, walletapi.StateFrozen, "state = 'confirmed'"); err != nil {
			return err
		}
		if err := move(tx, f.UserID, 0, -f.AmountCents); err != nil {
			return err
		}
		return enter(tx, f.UserID, walletapi.KindPayment, orderNo, -f.AmountCents)
	}, database.SettleBy("SELECT order_no FROM freezes WHERE order_no = ? AND state = 'confirmed' FOR UPDATE", orderNo))
	if err == nil {
		crash.At(crash.WalletConfirmed)
	}
	return err
}

// Cancel returns the money that is frozen for an order. When there is no row it writes a tombstone, so that nothing is
// returned that was never taken, and a freeze that comes later is refused. A repeat changes nothing.
// walletapi.ErrFreezeConfirmed when the order was paid.
func (s *Store) Cancel(ctx context.Context, orderNo string, r walletapi.CancelRequest) error {
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		fresh, err := insertFreeze(tx, orderNo, r.UserID, r.AmountCents, walletapi.StateVoid)
		if err != nil || fresh {
			return err
		}
		f, known, err := lockFreeze(tx, orderNo)
		switch {
		case err != nil:
			return err
		case !known:
			return fmt.Errorf("%w: the freeze of %s was there and is gone", errInconsistent, orderNo)
		case f.State == walletapi.StateCancelled || f.State == walletapi.StateVoid:
			return nil
		case f.State != walletapi.StateFrozen:
			return walletapi.ErrFreezeConfirmed
		}
		if err := step(tx, orderNo, walletapi.StateFrozen, "state = 'cancelled'"); err != nil {
			return err
		}
		return move(tx, f.UserID, f.AmountCents, -f.AmountCents)
	}, database.SettleBy("SELECT order_no FROM freezes WHERE order_no = ? AND state IN ('cancelled', 'void') FOR UPDATE", orderNo))
	if err == nil {
		crash.At(crash.WalletCancelled)
	}
	return err
}

// Refund returns the payment of an order, with an entry. A repeat changes nothing. walletapi.ErrFreezeUnpaid when the
// order was not paid, walletapi.ErrUnknownFreeze.
func (s *Store) Refund(ctx context.Context, orderNo string) error {
	return database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		f, known, err := lockFreeze(tx, orderNo)
		switch {
		case err != nil:
			return err
		case !known:
			return walletapi.ErrUnknownFreeze
		case f.State != walletapi.StateConfirmed:
			return walletapi.ErrFreezeUnpaid
		case f.Refunded:
			return nil
		}
		if err := step(tx, orderNo, walletapi.StateConfirmed, "refunded_at = UTC_TIMESTAMP(6)"); err != nil {
			return err
		}
		if err := move(tx, f.UserID, f.AmountCents, 0); err != nil {
			return err
		}
		return enter(tx, f.UserID, walletapi.KindRefund, orderNo, f.AmountCents)
	}, database.SettleBy("SELECT order_no FROM freezes WHERE order_no = ? AND refunded_at IS NOT NULL FOR UPDATE", orderNo))
}

// lockFreeze reads the row of an order and locks it until the transaction ends.
func lockFreeze(tx *gorm.DB, orderNo string) (f walletapi.Freeze, known bool, err error) {
	var found []walletapi.Freeze
	if err := tx.Raw("SELECT "+freezeColumns+" FROM freezes WHERE order_no = ? FOR UPDATE", orderNo).Scan(&found).Error; err != nil {
		return f, false, fmt.Errorf("read the freeze of %s: %w", orderNo, err)
	}
	if len(found) == 0 {
		return f, false, nil
	}
	return found[0], true, nil
}

// step changes the row of an order that is in the state from. The row is locked, so the guard holds; it stays in the
// statement because the lock is one line away from being forgotten.
func step(tx *gorm.DB, orderNo, from, set string) error {
	res := tx.Exec("UPDATE freezes SET "+set+", updated_at = UTC_TIMESTAMP(6) WHERE order_no = ? AND state = ? AND refunded_at IS NULL", orderNo, from)
	if res.Error != nil {
		return fmt.Errorf("change the freeze of %s: %w", orderNo, res.Error)
	}
	if res.RowsAffected != 1 {
		return fmt.Errorf("%w: the freeze of %s is no longer %s", errInconsistent, orderNo, from)
	}
	return nil
}

// States returns the freezes of those of the orders that have one.
func (s *Store) States(ctx context.Context, orderNos []string) ([]walletapi.Freeze, error) {
	var found []walletapi.Freeze
	err := s.db.WithContext(ctx).Raw("SELECT "+freezeColumns+" FROM freezes WHERE order_no IN ? ORDER BY order_no", orderNos).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read the states of freezes: %w", database.Fault(err))
	}
	return found, nil
}

// Frozen returns up to limit freezes in state frozen, after an order number.
func (s *Store) Frozen(ctx context.Context, after string, limit int) ([]walletapi.Freeze, error) {
	var found []walletapi.Freeze
	err := s.db.WithContext(ctx).Raw("SELECT "+freezeColumns+` FROM freezes WHERE state = 'frozen' AND order_no > ? ORDER BY order_no LIMIT ?`,
		after, limit).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read the frozen money: %w", database.Fault(err))
	}
	return found, nil
}

package e09_test

import (
	"context"
	"errors"
	"testing"

	"gorm.io/gorm"

	start "holdfast/exercises/09-tcc"
	confirmunguarded "holdfast/exercises/09-tcc/attempts/confirm-unguarded"
	notombstone "holdfast/exercises/09-tcc/attempts/no-tombstone"
	tombstoneignored "holdfast/exercises/09-tcc/attempts/tombstone-ignored"
	"holdfast/exercises/internal/e09"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/09-tcc"
)

// TestExercise has the start, the three attempts and the solution, each with its own finding.
func TestExercise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		wallet e09.Wallet
		want   string
	}{
		{"start", e09.Wallet{
			Try: start.Try, Confirm: start.Confirm, Cancel: start.Cancel,
			ErrInsufficientFunds: start.ErrInsufficientFunds, ErrClosed: start.ErrClosed,
		}, "nothing-frozen"},
		{"no-tombstone", e09.Wallet{
			Try: notombstone.Try, Confirm: notombstone.Confirm, Cancel: notombstone.Cancel,
			ErrInsufficientFunds: notombstone.ErrInsufficientFunds, ErrClosed: notombstone.ErrClosed,
		}, "no-tombstone"},
		{"tombstone-ignored", e09.Wallet{
			Try: tombstoneignored.Try, Confirm: tombstoneignored.Confirm, Cancel: tombstoneignored.Cancel,
			ErrInsufficientFunds: tombstoneignored.ErrInsufficientFunds, ErrClosed: tombstoneignored.ErrClosed,
		}, "tombstone-ignored"},
		{"confirm-unguarded", e09.Wallet{
			Try: confirmunguarded.Try, Confirm: confirmunguarded.Confirm, Cancel: confirmunguarded.Cancel,
			ErrInsufficientFunds: confirmunguarded.ErrInsufficientFunds, ErrClosed: confirmunguarded.ErrClosed,
		}, "confirm-twice"},
		{"solution", right(), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e09.Exercise(c.wallet), e09.Texts(), c.want)
		})
	}
}

func right() e09.Wallet {
	return e09.Wallet{
		Try: solution.Try, Confirm: solution.Confirm, Cancel: solution.Cancel,
		ErrInsufficientFunds: solution.ErrInsufficientFunds, ErrClosed: solution.ErrClosed,
	}
}

// with is the solution with one phase of its own.
func with(change func(w *e09.Wallet)) e09.Wallet {
	w := right()
	change(&w)
	return w
}

type (
	tryFunc     = func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error
	confirmFunc = func(ctx context.Context, db *gorm.DB, orderNo string) error
)

const (
	insertFrozen = "INSERT IGNORE INTO freezes (order_no, user_id, cents, state) VALUES (?, ?, ?, 'frozen')"
	freeze       = "UPDATE wallets SET available = available - ?, frozen = frozen + ? WHERE user_id = ?"
	giveBack     = "UPDATE wallets SET available = available + ?, frozen = frozen - ? WHERE user_id = ?"
)

// hide answers with success instead of a refusal.
func hide(refusal error, try tryFunc) tryFunc {
	return func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
		if err := try(ctx, db, orderNo, userID, cents); !errors.Is(err, refusal) {
			return err
		}
		return nil
	}
}

// from moves the order's money if its row is in one of the states.
func from(states []string, to, move string) tryFunc {
	return func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
		return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			var found []string
			err := tx.Raw("SELECT state FROM freezes WHERE order_no = ? AND state IN ? FOR UPDATE", orderNo, states).Scan(&found).Error
			if err != nil || len(found) == 0 {
				return err
			}
			if err := tx.Exec("UPDATE freezes SET state = ? WHERE order_no = ?", to, orderNo).Error; err != nil {
				return err
			}
			return tx.Exec(move, cents, cents, userID).Error
		})
	}
}

// confirmFrom pays what the checks of exercise 9 freeze for an order.
func confirmFrom(states ...string) confirmFunc {
	confirm := from(states, "confirmed", "UPDATE wallets SET frozen = frozen - ? + 0 * ? WHERE user_id = ?")
	return func(ctx context.Context, db *gorm.DB, orderNo string) error {
		return confirm(ctx, db, orderNo, "ann", 300)
	}
}

// cancelFrom gives back, and writes a tombstone for an order without a row.
func cancelFrom(states ...string) tryFunc {
	cancel := from(states, "cancelled", giveBack)
	return func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
		res := db.WithContext(ctx).Exec("INSERT IGNORE INTO freezes (order_no, user_id, cents, state) VALUES (?, ?, ?, 'cancelled')", orderNo, userID, cents)
		if res.Error != nil || res.RowsAffected == 1 {
			return res.Error
		}
		return cancel(ctx, db, orderNo, userID, cents)
	}
}

// TestOtherMistakes has wallets that are wrong in other ways than the attempts.
func TestOtherMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want   string
		change func(w *e09.Wallet)
	}{
		{"not-paid", func(w *e09.Wallet) { w.Confirm = func(context.Context, *gorm.DB, string) error { return nil } }},
		{"not-returned", func(w *e09.Wallet) {
			w.Cancel = func(context.Context, *gorm.DB, string, string, int64) error { return nil }
		}},
		{"overdrawn", func(w *e09.Wallet) {
			w.Try = func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
				return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
					if err := tx.Exec(insertFrozen, orderNo, userID, cents).Error; err != nil {
						return err
					}
					return tx.Exec(freeze, cents, cents, userID).Error
				})
			}
		}},
		{"refusal-hidden", func(w *e09.Wallet) { w.Try = hide(solution.ErrInsufficientFunds, solution.Try) }},
		{"wrong-balance", func(w *e09.Wallet) {
			w.Try = func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
				return solution.Try(ctx, db, orderNo, userID, cents+1)
			}
		}},
		{"try-twice", func(w *e09.Wallet) {
			w.Try = func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
				return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
					res := tx.Exec(freeze+" AND available >= ?", cents, cents, userID, cents)
					if res.Error == nil && res.RowsAffected == 0 {
						return solution.ErrInsufficientFunds
					}
					return tx.Exec(insertFrozen, orderNo, userID, cents).Error
				})
			}
		}},
		{"cancel-twice", func(w *e09.Wallet) { w.Cancel = cancelFrom("frozen", "cancelled", "confirmed") }},
		{"blind-cancel", func(w *e09.Wallet) {
			w.Cancel = func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
				return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
					res := tx.Exec("INSERT INTO freezes (order_no, user_id, cents, state) VALUES (?, ?, ?, 'cancelled') "+
						"ON DUPLICATE KEY UPDATE state = 'cancelled'", orderNo, userID, cents)
					if res.Error != nil || res.RowsAffected == 0 {
						return res.Error // cancelled before
					}
					return tx.Exec(giveBack, cents, cents, userID).Error
				})
			}
		}},
		{"late-try-accepted", func(w *e09.Wallet) { w.Try = hide(solution.ErrClosed, solution.Try) }},
		{"confirm-after-cancel", func(w *e09.Wallet) { w.Confirm = confirmFrom("frozen", "cancelled") }},
		{"late-confirm-accepted", func(w *e09.Wallet) { w.Confirm = confirmFrom("frozen") }},
		{"cancel-after-confirm", func(w *e09.Wallet) { w.Cancel = cancelFrom("frozen", "confirmed") }},
		{"call-fails", func(w *e09.Wallet) {
			w.Cancel = func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
				var rows int64
				err := db.WithContext(ctx).Raw("SELECT COUNT(*) FROM freezes WHERE order_no = ?", orderNo).Scan(&rows).Error
				if err == nil && rows == 0 {
					err = gorm.ErrRecordNotFound
				}
				if err != nil {
					return err
				}
				return solution.Cancel(ctx, db, orderNo, userID, cents)
			}
		}},
		{"half-done", func(w *e09.Wallet) {
			w.Try = func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
				res := db.WithContext(ctx).Exec(insertFrozen, orderNo, userID, cents)
				if res.Error != nil {
					return res.Error
				}
				if res.RowsAffected == 0 {
					return solution.Try(ctx, db, orderNo, userID, cents) // a repeat, or refused
				}
				res = db.WithContext(ctx).Exec(freeze+" AND available >= ?", cents, cents, userID, cents)
				if res.Error == nil && res.RowsAffected == 0 {
					return solution.ErrInsufficientFunds
				}
				return res.Error
			}
		}},
	} {
		t.Run(c.want, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e09.Exercise(with(c.change)), e09.Texts(), c.want)
		})
	}
}

// TestOtherSolution has a wallet that is right in another way than the solution: it looks before it inserts, and leaves
// it to the unique key and to the coordinator's repeat when another call came in between.
func TestOtherSolution(t *testing.T) {
	t.Parallel()
	state := func(tx *gorm.DB, orderNo string) (state string, err error) {
		err = tx.Raw("SELECT state FROM freezes WHERE order_no = ? FOR UPDATE", orderNo).Scan(&state).Error
		return state, err
	}
	const insert = "INSERT INTO freezes (order_no, user_id, cents, state) VALUES (?, ?, ?, ?)"
	wallet := with(func(w *e09.Wallet) {
		w.Try = func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
			return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				switch found, err := state(tx, orderNo); {
				case err != nil || found == "frozen" || found == "confirmed":
					return err
				case found != "":
					return solution.ErrClosed
				}
				res := tx.Exec(freeze+" AND available >= ?", cents, cents, userID, cents)
				if res.Error == nil && res.RowsAffected == 0 {
					return solution.ErrInsufficientFunds
				}
				return errors.Join(res.Error, tx.Exec(insert, orderNo, userID, cents, "frozen").Error)
			})
		}
		w.Cancel = func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
			return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				switch found, err := state(tx, orderNo); {
				case err != nil:
					return err
				case found == "":
					return tx.Exec(insert, orderNo, userID, cents, "cancelled").Error
				case found != "frozen":
					return nil
				}
				err := tx.Exec("UPDATE freezes SET state = 'cancelled' WHERE order_no = ?", orderNo).Error
				return errors.Join(err, tx.Exec(giveBack, cents, cents, userID).Error)
			})
		}
	})
	trial.Prove(t, e09.Exercise(wallet), e09.Texts(), "")
}

package database_test

import (
	"context"
	"errors"
	"testing"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
)

func TestInTx_commits(t *testing.T) {
	t.Parallel()
	db, _ := fresh(t)
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { return errors.Join(insert(tx, "a"), insert(tx, "b")) })
	if err != nil {
		t.Fatal(err)
	}
	wantIDs(t, db, "a", "b")
}

func TestInTx_errorRollsBack(t *testing.T) {
	t.Parallel()
	db, _ := fresh(t)
	sold := fault.New(fault.Conflict, "out_of_stock", "not enough stock")
	runs := 0
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
		runs++
		return errors.Join(insert(tx, "a"), sold)
	})
	if !errors.Is(err, sold) || runs != 1 {
		t.Errorf("InTx = %v after %d runs, want fn's own error after 1", err, runs)
	}
	wantIDs(t, db)
}

func TestInTx_panicRollsBack(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	func() {
		defer func() {
			if got := recover(); got != "boom" {
				t.Errorf("recovered %v, want fn's own panic", got)
			}
		}()
		_ = database.InTx(t.Context(), db, func(tx *gorm.DB) error {
			if err := insert(tx, "a"); err != nil {
				t.Error(err)
			}
			panic("boom")
		})
	}()
	wantIDs(t, db)
	begun := begin(t, pool(t, dsn)) // the lock on a is free, too
	mustExec(t, begun, "INSERT INTO things (id, n) VALUES ('a', 1)")
}

// fn ignores an error and goes on: nothing more is sent, and what it did before is not kept.
func TestInTx_ignoredErrorRollsBack(t *testing.T) {
	t.Parallel()
	db, _ := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('taken', 1)")
	var next error
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
		if err := insert(tx, "a"); err != nil {
			return err
		}
		if err := insert(tx, "taken"); !database.IsDuplicate(err) {
			t.Errorf("insert = %v, want a duplicate", err)
		}
		next = insert(tx, "b")
		return nil
	})
	if !database.IsDuplicate(next) {
		t.Errorf("the next statement = %v, want it refused for the first one's error", next)
	}
	if !database.IsDuplicate(err) {
		t.Errorf("InTx = %v, want the ignored error", err)
	}
	wantIDs(t, db, "taken")
}

func TestInTx_cancelledLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]func(tx *gorm.DB) error{
		"fn goes on":     func(tx *gorm.DB) error { return insert(tx, "b") },
		"fn sees no end": func(*gorm.DB) error { return nil },
		"while waiting":  func(tx *gorm.DB) error { return tx.Exec("SELECT SLEEP(60)").Error },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, dsn := fresh(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := database.InTx(ctx, db, func(tx *gorm.DB) error {
				if err := insert(tx, "a"); err != nil {
					return err
				}
				if name == "while waiting" {
					go cancelWhenRunning(t, dsn, "SLEEP", cancel)
				} else {
					cancel()
				}
				return after(tx)
			})
			if !errors.Is(err, context.Canceled) || fault.Ambiguous(err) || fault.KindOf(err) != fault.Timeout {
				t.Errorf("InTx = %v (%s, ambiguous %v), want an unambiguous cancelled", err, fault.KindOf(err), fault.Ambiguous(err))
			}
			wantIDs(t, db)
		})
	}
}

// cancelWhenRunning cancels as soon as the server runs a statement with text.
func cancelWhenRunning(t *testing.T, dsn, text string, cancel context.CancelFunc) {
	defer cancel()
	db := pool(t, dsn)
	within(t, "the statement runs", func() bool {
		var n int
		err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM information_schema.processlist
			WHERE db = DATABASE() AND id <> CONNECTION_ID() AND info LIKE ?`, "%"+text+"%").Scan(&n)
		return err != nil || n > 0
	})
}

func TestInTx_endsItselfAlone(t *testing.T) {
	t.Parallel()
	db, _ := fresh(t)
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
		if err := insert(tx, "a"); err != nil {
			return err
		}
		if err := database.InTx(t.Context(), tx, func(*gorm.DB) error { return nil }); err == nil {
			t.Error("a transaction in a transaction must be refused")
		}
		if err := tx.Commit().Error; !errors.Is(err, gorm.ErrInvalidTransaction) {
			t.Errorf("Commit inside = %v, want it refused", err)
		}
		wantIDs(t, db)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantIDs(t, db, "a")
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	db, _ := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('a', 1)")
	count := func(tx *gorm.DB) (n int64) {
		t.Helper()
		if err := tx.Raw("SELECT COUNT(*) FROM things").Scan(&n).Error; err != nil {
			t.Fatal(err)
		}
		return n
	}
	reads := func(opts ...database.TxOption) (first, second int64) {
		t.Helper()
		err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
			first = count(tx)
			exec(t, db, "INSERT INTO things (id, n) SELECT UUID_SHORT(), 1") // another session
			second = count(tx)
			return nil
		}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return first, second
	}
	if first, second := reads(database.Snapshot()); first != 1 || second != 1 {
		t.Errorf("a snapshot saw %d rows, then %d, want 1 and 1", first, second)
	}
	if first, second := reads(); first != 2 || second != 3 {
		t.Errorf("READ COMMITTED saw %d rows, then %d, want 2 and 3", first, second)
	}
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { return insert(tx, "b") }, database.Snapshot())
	if err == nil {
		t.Error("a snapshot must be read only")
	}
}

func TestIsDuplicate_IsCheckViolated(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t, schema())
	exec(t, db, "INSERT INTO things (id, n) VALUES ('a', 1)")
	duplicate, below := insert(db, "a"), db.Exec("UPDATE things SET n = n - 2 WHERE id = 'a'").Error
	if !database.IsDuplicate(duplicate) || database.IsCheckViolated(duplicate) || database.IsRetryable(duplicate) {
		t.Errorf("%v is a duplicate and nothing else", duplicate)
	}
	if !database.IsCheckViolated(below) || database.IsDuplicate(below) || database.IsRetryable(below) {
		t.Errorf("%v is a violated check and nothing else", below)
	}
	if database.IsDuplicate(nil) || database.IsCheckViolated(nil) || database.IsRetryable(nil) || database.Fault(nil) != nil {
		t.Error("nil is no error")
	}
}

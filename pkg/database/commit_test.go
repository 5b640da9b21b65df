package database_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
)

const byKey = "SELECT id FROM things WHERE id = ? FOR UPDATE"

// through returns a database behind a proxy, and the same one directly.
func through(tb testing.TB) (db, direct *gorm.DB, p *dbtest.Proxy) {
	tb.Helper()
	dsn := dbtest.NewDSN(tb, schema())
	p = dbtest.NewProxy(tb, dsn)
	return dbtest.Open(tb, p.DSN, database.Options{}), dbtest.Open(tb, dsn, database.Options{}), p
}

func TestInTx_commitAnswerLost_committed(t *testing.T) {
	t.Parallel()
	db, direct, p := through(t)
	runs := 0
	p.Fail(dbtest.LoseAnswer)
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { runs++; return insert(tx, "a") }, database.SettleBy(byKey, "a"))
	if err != nil || runs != 1 {
		t.Errorf("InTx = %v after %d runs, want it found committed after 1", err, runs)
	}
	wantIDs(t, direct, "a")
}

func TestInTx_commitLost_runsAgain(t *testing.T) {
	t.Parallel()
	db, direct, p := through(t)
	runs := 0
	p.Fail(dbtest.LoseCommit)
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { runs++; return insert(tx, "a") }, database.SettleBy(byKey, "a"))
	if err != nil || runs != 2 {
		t.Errorf("InTx = %v after %d runs, want it found rolled back and run again", err, runs)
	}
	wantIDs(t, direct, "a")
}

// The only connection of the pool lost its COMMIT: the outcome is looked up on its successor, not beside it.
func TestInTx_commitAnswerLost_onlyConnection(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, schema())
	p := dbtest.NewProxy(t, dsn)
	db, direct := dbtest.Open(t, p.DSN, database.Options{MaxOpen: 1}), dbtest.Open(t, dsn, database.Options{})
	runs := 0
	p.Fail(dbtest.LoseAnswer)
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { runs++; return insert(tx, "a") }, database.SettleBy(byKey, "a"))
	if err != nil || runs != 1 {
		t.Errorf("InTx = %v after %d runs, want it found committed after 1", err, runs)
	}
	wantIDs(t, direct, "a")
}

// The server refuses the COMMIT and keeps the transaction open. Looked up on the same session, the row would be there
// although it is not committed.
func TestInTx_commitRefused_onlyConnection(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, schema())
	p := dbtest.NewProxy(t, dsn)
	db, direct := dbtest.Open(t, p.DSN, database.Options{MaxOpen: 1}), dbtest.Open(t, dsn, database.Options{})
	runs := 0
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
		runs++
		p.Rewrite("\x03COMMIT", "\x03COMMIX")
		if runs > 1 {
			p.Rewrite("", "")
		}
		return insert(tx, "a")
	}, database.SettleBy(byKey, "a"))
	if err != nil || runs != 2 {
		t.Errorf("InTx = %v after %d runs, want it found rolled back and run again", err, runs)
	}
	wantIDs(t, direct, "a")
}

// A snapshot's COMMIT ends nothing that could be half done: without an answer the reads are made again.
func TestInTx_commitAnswerLost_snapshot(t *testing.T) {
	t.Parallel()
	db, _, p := through(t)
	runs := 0
	p.Fail(dbtest.LoseAnswer)
	var n int
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
		runs++
		return tx.Raw("SELECT COUNT(*) FROM things").Row().Scan(&n)
	}, database.Snapshot())
	if err != nil || runs != 2 {
		t.Errorf("InTx = %v after %d runs, want the reads made again", err, runs)
	}
}

// The caller gives up while the outcome is looked up: the answer is that nothing was executed, and it is true.
func TestInTx_commitLost_noTimeLeft(t *testing.T) {
	t.Parallel()
	db, direct, p := through(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.Fail(dbtest.LoseCommit)
	p.Then(cancel)
	err := database.InTx(ctx, db, func(tx *gorm.DB) error { return insert(tx, "a") }, database.SettleBy(byKey, "a"))
	if !errors.Is(err, database.ErrContended) || fault.Ambiguous(err) {
		t.Errorf("InTx = %v (ambiguous %v), want an unambiguous ErrContended", err, fault.Ambiguous(err))
	}
	wantIDs(t, direct)
}

// The old session still holds its locks when we look: an answer given too early would be a guess.
func TestInTx_commitOnItsWay_isWaitedFor(t *testing.T) {
	t.Parallel()
	db, direct, p := through(t)
	runs := 0
	p.Fail(dbtest.HoldCommit)
	done := make(chan error, 1)
	go func() {
		done <- database.InTx(t.Context(), db, func(tx *gorm.DB) error { runs++; return insert(tx, "a") }, database.SettleBy(byKey, "a"))
	}()
	plain, err := direct.DB()
	if err != nil {
		t.Fatal(err)
	}
	blocked(t, plain, "FOR UPDATE")
	select {
	case err := <-done:
		t.Fatalf("InTx = %v while the COMMIT is on its way", err)
	default:
	}
	p.Release()
	if err := <-done; err != nil || runs != 1 {
		t.Errorf("InTx = %v after %d runs, want it found committed after 1", err, runs)
	}
	wantIDs(t, direct, "a")
}

// The server cannot be asked at first: the outcome is looked up again.
func TestInTx_commitAnswerLost_serverBackSoon(t *testing.T) {
	t.Parallel()
	db, direct, p := through(t)
	runs := 0
	p.Fail(dbtest.LoseAll)
	p.RefuseFor(3)
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { runs++; return insert(tx, "a") }, database.SettleBy(byKey, "a"))
	if err != nil || runs != 1 {
		t.Errorf("InTx = %v after %d runs, want it found committed after 1", err, runs)
	}
	wantIDs(t, direct, "a")
}

func TestInTx_commitUnknown(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]database.TxOption{
		"nobody can be asked":          {database.SettleBy(byKey, "a")},
		"nobody knows what to ask for": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, direct, p := through(t)
			if opts == nil {
				p.Fail(dbtest.LoseAnswer)
			} else {
				p.Fail(dbtest.LoseAll)
			}
			runs := 0
			began := time.Now()
			err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { runs++; return insert(tx, "a") }, opts...)
			if !errors.Is(err, database.ErrCommitUnknown) || !fault.Ambiguous(err) || runs != 1 {
				t.Errorf("InTx = %v (ambiguous %v) after %d runs, want an ambiguous ErrCommitUnknown after 1", err, fault.Ambiguous(err), runs)
			}
			if took := time.Since(began); took > patience {
				t.Errorf("it took %v to give up", took)
			}
			within(t, "the COMMIT takes effect after all", func() bool { return len(ids(t, direct)) == 1 })
		})
	}
}

// A server that is gone before COMMIT is no riddle: nothing was committed, and the fault says so.
func TestInTx_serverGone(t *testing.T) {
	t.Parallel()
	db, direct, p := through(t)
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error {
		if err := insert(tx, "a"); err != nil {
			return err
		}
		p.Cut()
		return insert(tx, "b")
	})
	if !errors.Is(err, database.ErrUnavailable) || fault.Ambiguous(err) {
		t.Errorf("InTx = %v (ambiguous %v), want an unambiguous ErrUnavailable", err, fault.Ambiguous(err))
	}
	wantIDs(t, direct)
	p.Restore()
	if err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { return insert(tx, "c") }); err != nil {
		t.Errorf("InTx after the server came back = %v", err)
	}
	wantIDs(t, direct, "c")
}

package database_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/pkg/database"
)

func prepared(tb testing.TB, b *database.Branches, want ...string) {
	tb.Helper()
	got, err := b.Recover(tb.Context())
	slices.Sort(got)
	if err != nil || !slices.Equal(got, want) {
		tb.Fatalf("prepared branches %v, error %v; want %v", got, err, want)
	}
}

func mustPrepare(tb testing.TB, b *database.Branches, gtrid string) {
	tb.Helper()
	if err := b.Prepare(tb.Context(), gtrid, func(tx *gorm.DB) error { return insert(tx, gtrid) }); err != nil {
		tb.Fatal(err)
	}
}

// TestBranches: a prepared branch shows nothing, holds its locks without a session, and ends as it is told. The pool
// has one connection, which a branch that stays in its session would poison.
func TestBranches(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, schema())
	db := dbtest.Open(t, dsn, database.Options{MaxOpen: 1, LockWait: time.Second})
	other := dbtest.Open(t, dsn, database.Options{LockWait: time.Second})
	b := database.NewBranches(db)
	mustPrepare(t, b, "ONE")
	mustPrepare(t, b, "TWO")
	prepared(t, b, "ONE", "TWO")
	wantIDs(t, other)
	err := database.InTx(t.Context(), other, func(tx *gorm.DB) error { return insert(tx, "ONE") }, database.ReturnLockWait())
	if !errors.Is(err, database.ErrContended) {
		t.Errorf("insert the key of a prepared branch: %v, want a lock wait", err)
	}
	if err := b.Prepare(t.Context(), "ONE", func(tx *gorm.DB) error { return insert(tx, "THREE") }); !errors.Is(err, database.ErrBranchExists) {
		t.Errorf("prepare again: %v, want %v", err, database.ErrBranchExists)
	}
	if found, err := b.Commit(t.Context(), "ONE"); !found || err != nil {
		t.Errorf("commit: %v, %v", found, err)
	}
	if found, err := b.Rollback(t.Context(), "TWO"); !found || err != nil {
		t.Errorf("roll back: %v, %v", found, err)
	}
	prepared(t, b)
	wantIDs(t, db, "ONE")
	for _, end := range []func(context.Context, string) (bool, error){b.Commit, b.Rollback} {
		if found, err := end(t.Context(), "ONE"); found || err != nil {
			t.Errorf("end a branch that has ended: found %v, error %v; want false and none", found, err)
		}
	}
	if err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { return insert(tx, "AFTER") }); err != nil {
		t.Errorf("the pool after branches: %v", err)
	}
}

// TestBranches_refused: what fails is rolled back and never prepared, also an error that fn ignores.
func TestBranches_refused(t *testing.T) {
	t.Parallel()
	db, _ := fresh(t)
	b := database.NewBranches(db)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('TAKEN', 1)")
	mine := errors.New("no")
	for name, c := range map[string]struct {
		fn   func(tx *gorm.DB) error
		want func(error) bool
	}{
		"own error": {func(tx *gorm.DB) error { return errors.Join(insert(tx, "X"), mine) }, func(err error) bool { return errors.Is(err, mine) }},
		"ignored": {func(tx *gorm.DB) error {
			_ = insert(tx, "TAKEN")
			_ = insert(tx, "Y")
			return nil
		}, database.IsDuplicate},
	} {
		err := b.Prepare(t.Context(), "G", c.fn)
		if !c.want(err) || errors.Is(err, database.ErrCommitUnknown) {
			t.Errorf("%s: %v", name, err)
		}
		prepared(t, b)
		wantIDs(t, db, "TAKEN")
	}
	if err := b.Prepare(t.Context(), "it's", nil); err == nil {
		t.Error("a name with a quotation mark was accepted")
	}
}

// TestBranches_deadlock: of two branches that wait for each other one is contended, and can be repeated.
func TestBranches_deadlock(t *testing.T) {
	t.Parallel()
	db, _ := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('A', 0), ('B', 0)")
	b := database.NewBranches(db)
	var both, running sync.WaitGroup
	both.Add(2)
	errs := make([]error, 2)
	for i, ids := range [][2]string{{"A", "B"}, {"B", "A"}} {
		running.Go(func() {
			errs[i] = b.Prepare(t.Context(), fmt.Sprintf("G%d", i), func(tx *gorm.DB) error {
				if err := tx.Exec("UPDATE things SET n = n + 1 WHERE id = ?", ids[0]).Error; err != nil {
					return err
				}
				both.Done()
				both.Wait()
				return tx.Exec("UPDATE things SET n = n + 1 WHERE id = ?", ids[1]).Error
			})
		})
	}
	running.Wait()
	winner := slices.Index(errs, nil)
	if winner < 0 || !errors.Is(errs[1-winner], database.ErrContended) {
		t.Fatalf("errors %v, want one to win and one to be contended", errs)
	}
	prepared(t, b, fmt.Sprintf("G%d", winner))
	if found, err := b.Rollback(t.Context(), fmt.Sprintf("G%d", winner)); !found || err != nil {
		t.Fatalf("roll back: %v, %v", found, err)
	}
	// Until the server has noticed that the loser's connection is closed, its session has the name: still contended.
	testkit.Eventually(t, patience, "the loser is repeated", func() error {
		loser := fmt.Sprintf("G%d", 1-winner)
		err := b.Prepare(t.Context(), loser, func(tx *gorm.DB) error { return insert(tx, loser) })
		if err != nil && !errors.Is(err, database.ErrContended) {
			t.Fatal(err)
		}
		return err
	})
}

// TestBranches_ownDatabase: the branches of another database are neither listed nor ended.
func TestBranches_ownDatabase(t *testing.T) {
	t.Parallel()
	mine, _ := fresh(t)
	other, _ := fresh(t)
	a, b := database.NewBranches(mine), database.NewBranches(other)
	mustPrepare(t, a, "G")
	prepared(t, b)
	if found, err := b.Rollback(t.Context(), "G"); found || err != nil {
		t.Errorf("roll back a branch of another database: %v, %v", found, err)
	}
	prepared(t, a, "G")
}

// TestBranches_sessionStays: a branch is not ended while its session may still be letting it go, which its named lock
// says. Here another session has the lock.
func TestBranches_sessionStays(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	b := database.NewBranches(db)
	mustPrepare(t, b, "G")
	session, err := pool(t, dsn).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, session, "DO GET_LOCK(SHA2(?, 224), 20)", "'G','"+cfg.DBName+"'")
	early, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if found, err := b.Commit(early, "G"); found || err == nil {
		t.Errorf("commit while a session has the lock: %v, %v", found, err)
	}
	prepared(t, b, "G")
	_ = session.Raw(func(any) error { return driver.ErrBadConn })
	if found, err := b.Commit(t.Context(), "G"); !found || err != nil {
		t.Errorf("commit after the end of the session: %v, %v", found, err)
	}
	wantIDs(t, db, "G")
}

// TestBranches_privilege: MySQL lists branches only for a user with XA_RECOVER_ADMIN. Without it none is prepared.
func TestBranches_privilege(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, schema())
	admin := pool(t, dsn)
	var version string
	if err := admin.QueryRowContext(t.Context(), "SELECT VERSION()").Scan(&version); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(version, "MariaDB") {
		t.Skip("MariaDB lets every user list branches; set HOLDFAST_MYSQL to a MySQL")
	}
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	user := cfg.DBName[:20]
	mustExec(t, admin, "CREATE USER "+user+"@'%' IDENTIFIED BY 'secret'")
	t.Cleanup(func() { _, _ = admin.ExecContext(context.WithoutCancel(t.Context()), "DROP USER "+user+"@'%'") })
	mustExec(t, admin, "GRANT ALL ON "+cfg.DBName+".* TO "+user+"@'%'")
	cfg.User, cfg.Passwd = user, "secret"
	b := database.NewBranches(dbtest.Open(t, cfg.FormatDSN(), database.Options{}))
	if err := b.Prepare(t.Context(), "G", func(tx *gorm.DB) error { return insert(tx, "G") }); !errors.Is(err, database.ErrNoBranches) {
		t.Errorf("without the privilege: %v, want %v", err, database.ErrNoBranches)
	}
	mustExec(t, admin, "GRANT XA_RECOVER_ADMIN ON *.* TO "+user+"@'%'")
	b = database.NewBranches(dbtest.Open(t, cfg.FormatDSN(), database.Options{}))
	mustPrepare(t, b, "G")
	if found, err := b.Commit(t.Context(), "G"); !found || err != nil {
		t.Errorf("with the privilege: %v, %v", found, err)
	}
}

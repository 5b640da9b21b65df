package database_test

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/pkg/database"
)

// preparer is what the stories need of branches.
type preparer interface {
	Prepare(ctx context.Context, gtrid string, fn func(tx *gorm.DB) error) error
	Rollback(ctx context.Context, gtrid string) (found bool, err error)
}

// branchMistake is a guard of branches that is left out, and the story in which it is missed. A story returns what is
// wrong at its end.
type branchMistake struct {
	name  string
	make  func(*database.Branches) preparer
	story func(t *testing.T, edit func(*database.Branches) preparer) string
}

func branchMistakes() []branchMistake {
	return []branchMistake{
		{"keeps-its-session", func(b *database.Branches) preparer { return database.KeepingBranches{Branches: b} }, usesThePool},
		{"ends-foreign-branches", func(b *database.Branches) preparer { return database.ForeignBranches{Branches: b} }, sharesTheServer},
		{"believes-in-statements", func(b *database.Branches) preparer { return database.BelievingBranches{Branches: b} }, ignoresAnError},
	}
}

// usesThePool: after a branch was prepared, the next caller gets a connection of the same pool.
func usesThePool(t *testing.T, edit func(*database.Branches) preparer) string {
	t.Helper()
	db := dbtest.Open(t, dbtest.NewDSN(t, schema()), database.Options{MaxOpen: 1})
	if err := edit(database.NewBranches(db)).Prepare(t.Context(), "G", func(tx *gorm.DB) error { return insert(tx, "G") }); err != nil {
		t.Fatal(err)
	}
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { return insert(tx, "NEXT") })
	endBranch(t, db, "G")
	if err != nil {
		return "the next transaction fails: " + err.Error()
	}
	return ""
}

// sharesTheServer: another database has a branch of the same global transaction.
func sharesTheServer(t *testing.T, edit func(*database.Branches) preparer) string {
	t.Helper()
	mine, _ := fresh(t)
	other, _ := fresh(t)
	theirs := database.NewBranches(other)
	gtrid := rand.Text() // branches of other tests, and of the story before, have other names
	mustPrepare(t, theirs, gtrid)
	if _, err := edit(database.NewBranches(mine)).Rollback(t.Context(), gtrid); err != nil {
		t.Fatal(err)
	}
	left, err := theirs.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(left, gtrid) {
		return "the branch of another database has ended"
	}
	return ""
}

// ignoresAnError: a statement of the branch fails, and the function goes on.
func ignoresAnError(t *testing.T, edit func(*database.Branches) preparer) string {
	t.Helper()
	db, _ := fresh(t)
	exec(t, db, "INSERT INTO things (id, n) VALUES ('TAKEN', 1)")
	err := edit(database.NewBranches(db)).Prepare(t.Context(), "G", func(tx *gorm.DB) error {
		_ = insert(tx, "TAKEN")
		return insert(tx, "HALF")
	})
	if err == nil {
		endBranch(t, db, "G")
		return "half of the work is prepared"
	}
	return ""
}

// endBranch rolls back a branch. While the server detaches a branch from the session that has just ended, it may
// neither list the branch nor find it.
func endBranch(t *testing.T, db *gorm.DB, gtrid string) {
	t.Helper()
	within(t, "the branch is rolled back", func() bool {
		found, err := database.NewBranches(db).Rollback(t.Context(), gtrid)
		return found && err == nil
	})
}

// TestBranches_Mutants takes the guards of branches away, one by one. With its guard the same story ends well.
func TestBranches_Mutants(t *testing.T) {
	t.Parallel()
	for _, m := range branchMistakes() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			if wrong := m.story(t, func(b *database.Branches) preparer { return b }); wrong != "" {
				t.Errorf("with its guard: %s", wrong)
			}
			if m.name == "keeps-its-session" && !strings.Contains(version(t), "MariaDB") {
				t.Skip("MySQL detaches a prepared branch from its session, so the guard is needed on MariaDB only")
			}
			wrong := m.story(t, m.make)
			if wrong == "" {
				t.Error("without its guard nothing is wrong")
			}
			t.Logf("without its guard: %s", wrong)
		})
	}
}

// version is that of the server.
func version(t *testing.T) (v string) {
	t.Helper()
	if err := pool(t, dbtest.NewDSN(t, nil)).QueryRowContext(t.Context(), "SELECT VERSION()").Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

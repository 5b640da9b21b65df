package database_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/pkg/database"
)

// widened is schema with a migration that alters the table of the branches.
func widened(before string) fstest.MapFS {
	fsys := schema().(fstest.MapFS)
	fsys["0002_wider.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + before + "CREATE TABLE witness (id INT PRIMARY KEY);\nALTER TABLE things ADD wide INT NULL;\n")}
	return fsys
}

// migrating migrates in the background, logs to log, and sends the outcome.
func migrating(tb testing.TB, dsn string, fsys fstest.MapFS, limit time.Duration, log io.Writer) <-chan error {
	tb.Helper()
	db := dbtest.Open(tb, dsn, database.Options{})
	ended := make(chan error, 1)
	go func() {
		w := database.BranchWait{Limit: limit, Action: "start the coordinator"}
		ended <- database.MigrateAfterBranches(context.WithoutCancel(tb.Context()), db, fsys, slog.New(slog.NewTextHandler(log, nil)), w)
	}()
	return ended
}

func says(tb testing.TB, log *testkit.Buffer, words ...string) {
	tb.Helper()
	within(tb, "the log has "+strings.Join(words, ", "), func() bool {
		for line := range strings.Lines(log.String()) {
			all := true
			for _, word := range words {
				all = all && strings.Contains(line, word)
			}
			if all {
				return true
			}
		}
		return false
	})
}

func result(tb testing.TB, ended <-chan error) error {
	tb.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Minute):
		tb.Fatal("the migration does not end")
		return nil
	}
}

// tables are the tables of the database.
func tables(tb testing.TB, db *gorm.DB) (names string) {
	tb.Helper()
	var found []string
	if err := db.Raw("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name").Scan(&found).Error; err != nil {
		tb.Fatal(err)
	}
	return strings.Join(found, " ")
}

// TestMigrateAfterBranches_ended: a migration says for which branch it waits, and goes on when another service has
// ended it. Until then it has executed no statement, so nobody waits behind it for the table.
func TestMigrateAfterBranches_ended(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	b := database.NewBranches(db)
	mustPrepare(t, b, "DOUBTFUL")
	var log testkit.Buffer
	ended := migrating(t, dsn, widened(""), time.Hour, &log)
	says(t, &log, "level=WARN", "migration waits for prepared branches", "DOUBTFUL", "start the coordinator")
	if got := tables(t, db); strings.Contains(got, "witness") {
		t.Errorf("the migration has begun: %s", got)
	}
	wantIDs(t, db) // reading the table does not wait
	if found, err := b.Commit(t.Context(), "DOUBTFUL"); !found || err != nil {
		t.Fatalf("commit: %v, %v", found, err)
	}
	if err := result(t, ended); err != nil {
		t.Fatal(err)
	}
	exec(t, db, "UPDATE things SET wide = 1 WHERE id = 'DOUBTFUL'")
	if n := strings.Count(log.String(), "migration waits"); n > 2 {
		t.Errorf("%d lines about one wait:\n%s", n, log.String())
	}
}

// TestMigrateAfterBranches_limit: a branch that nothing ends is an error, after which nothing has changed.
func TestMigrateAfterBranches_limit(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	b := database.NewBranches(db)
	mustPrepare(t, b, "DOUBTFUL")
	mustPrepare(t, b, "FORGOTTEN")
	var log testkit.Buffer
	err := result(t, migrating(t, dsn, widened(""), 2*time.Second, &log))
	if !errors.Is(err, database.ErrBranchesPrepared) || !strings.Contains(err.Error(), "DOUBTFUL, FORGOTTEN") {
		t.Errorf("error %v, want %v with the names of both", err, database.ErrBranchesPrepared)
	}
	if got := tables(t, db); strings.Contains(got, "witness") {
		t.Errorf("the migration has begun: %s", got)
	}
	prepared(t, b, "DOUBTFUL", "FORGOTTEN")
	// What has nothing to migrate does not wait, nor does a database with branches in another one.
	if err := result(t, migrating(t, dsn, schema().(fstest.MapFS), time.Hour, &log)); err != nil {
		t.Errorf("without a pending migration: %v", err)
	}
	_, other := fresh(t)
	if err := result(t, migrating(t, other, widened(""), time.Hour, &log)); err != nil {
		t.Errorf("another database: %v", err)
	}
}

// TestMigrateAfterBranches_later: a branch that is prepared after the first statement is logged, and waited for.
func TestMigrateAfterBranches_later(t *testing.T) {
	t.Parallel()
	db, dsn := fresh(t)
	b := database.NewBranches(db)
	holder, err := pool(t, dsn).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Close() })
	name := "begun_" + strings.ToLower(t.Name())
	mustExec(t, holder, "DO GET_LOCK('"+name+"', 0)")
	var log testkit.Buffer
	ended := migrating(t, dsn, widened("DO GET_LOCK('"+name+"', 60);\n"), time.Hour, &log)
	within(t, "the migration's first statement waits", func() bool {
		var n int
		if err := db.Raw("SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE() AND info LIKE 'DO GET_LOCK(%, 60%'").Scan(&n).Error; err != nil {
			t.Fatal(err)
		}
		return n > 0
	})
	mustPrepare(t, b, "LATE")
	mustExec(t, holder, "DO RELEASE_LOCK('"+name+"')")
	says(t, &log, "migration may wait for branches", "LATE")
	if found, err := b.Rollback(t.Context(), "LATE"); !found || err != nil {
		t.Fatalf("roll back: %v, %v", found, err)
	}
	if err := result(t, ended); err != nil {
		t.Fatal(err)
	}
}

package database_test

import (
	"context"
	"database/sql"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/pkg/database"
)

// patience is how long a test waits for something that should happen soon.
const patience = 20 * time.Second

// schema is one table with a key and a counter that a CHECK keeps from going below zero.
func schema() fs.FS {
	return fstest.MapFS{"0001_rows.sql": {Data: []byte(`-- +goose Up
CREATE TABLE things (id VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, n INT NOT NULL, PRIMARY KEY (id),
  CONSTRAINT things_n CHECK (n >= 0)) ENGINE = InnoDB;
-- +goose Down
DROP TABLE things;
`)}}
}

func exec(tb testing.TB, db *gorm.DB, statement string, args ...any) {
	tb.Helper()
	if err := db.WithContext(tb.Context()).Exec(statement, args...).Error; err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

func insert(tx *gorm.DB, id string) error {
	return tx.Exec("INSERT INTO things (id, n) VALUES (?, 1)", id).Error
}

// ids returns what is committed, as another session sees it.
func ids(tb testing.TB, db *gorm.DB) []string {
	tb.Helper()
	list := []string{}
	if err := db.WithContext(tb.Context()).Raw("SELECT id FROM things ORDER BY id").Scan(&list).Error; err != nil {
		tb.Fatal(err)
	}
	return list
}

func wantIDs(tb testing.TB, db *gorm.DB, want ...string) {
	tb.Helper()
	got := ids(tb, db)
	if len(got) != len(want) {
		tb.Fatalf("committed rows = %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			tb.Fatalf("committed rows = %v, want %v", got, want)
		}
	}
}

// pool is a plain pool without any of our rules, to show what the server does by itself.
func pool(tb testing.TB, dsn string) *sql.DB {
	tb.Helper()
	separator := "?"
	if strings.Contains(dsn, "?") {
		separator = "&"
	}
	db, err := sql.Open("mysql", dsn+separator+"interpolateParams=true")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

// begin starts a plain transaction that is rolled back at the end, if it still is one.
func begin(tb testing.TB, db *sql.DB) *sql.Tx {
	tb.Helper()
	tx, err := db.BeginTx(context.WithoutCancel(tb.Context()), nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

func mustExec(tb testing.TB, db interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, statement string, args ...any,
) {
	tb.Helper()
	if _, err := db.ExecContext(tb.Context(), statement, args...); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}

// lock holds a row's lock until the returned function is called.
func lock(tb testing.TB, dsn, id string) (release func()) {
	tb.Helper()
	tx := begin(tb, pool(tb, dsn))
	mustExec(tb, tx, "UPDATE things SET n = n + 1 WHERE id = ?", id)
	return func() {
		if err := tx.Rollback(); err != nil {
			tb.Error(err)
		}
	}
}

// blocked waits until some session of this test's database waits for a row lock with a statement that contains text.
func blocked(tb testing.TB, db *sql.DB, text string) {
	tb.Helper()
	// InnoDB answers from a copy that it renews only after 100 ms without a read. More frequent reads return the same old
	// copy each time.
	every(tb, 150*time.Millisecond, "a session waits for a lock with "+text, func() bool {
		var n int
		err := db.QueryRowContext(tb.Context(), `SELECT COUNT(*) FROM information_schema.innodb_trx t
			JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
			WHERE p.db = DATABASE() AND t.trx_state = 'LOCK WAIT' AND t.trx_query LIKE ?`, "%"+text+"%").Scan(&n)
		if err != nil {
			tb.Fatal(err)
		}
		return n > 0
	})
}

func within(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	every(tb, 5*time.Millisecond, what, ok)
}

func every(tb testing.TB, pause time.Duration, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(pause)
	}
}

func fresh(tb testing.TB) (*gorm.DB, string) {
	tb.Helper()
	dsn := dbtest.NewDSN(tb, schema())
	return dbtest.Open(tb, dsn, database.Options{}), dsn
}

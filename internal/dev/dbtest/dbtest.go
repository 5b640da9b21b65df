// Package dbtest gives each test a fresh, migrated database on the server of [stacktest.MySQL]. The caller passes the
// schema.
package dbtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/jsonfile"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/pkg/database"
)

// NewDSN creates a database for this test, migrates it to the newest version of fsys and returns its DSN. The test can
// open several pools with it. A nil fsys leaves the database empty. The database is dropped when the test ends.
func NewDSN(tb testing.TB, fsys fs.FS) string {
	tb.Helper()
	admin := stacktest.MySQL(tb)
	db, err := sql.Open("mysql", admin)
	if err != nil {
		tb.Fatal(err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	if _, err := db.ExecContext(tb.Context(), "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { drop(tb, db, name) })
	dsn := withDatabase(admin, name)
	if fsys != nil {
		prepare(tb, dsn, fsys)
	}
	return dsn
}

// prepare brings an empty database to the newest version of fsys: with the statements that an earlier test has
// captured, or else with the migrations.
func prepare(tb testing.TB, dsn string, fsys fs.FS) {
	tb.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			tb.Errorf("close the pool: %v", err)
		}
	}()
	file, err := schemaFile(tb.Context(), db, fsys)
	if err != nil {
		tb.Fatalf("find the schema's file: %v", err)
	}
	var made schema
	found, err := jsonfile.Read(file, &made)
	if err != nil {
		tb.Fatalf("read the schema in %s, which can be removed: %v", file, err)
	}
	if found {
		if err := made.apply(tb.Context(), db); err != nil {
			tb.Fatalf("make the schema in %s, which can be removed: %v", file, err)
		}
		return
	}
	migrate(tb, dsn, fsys)
	if made, err = capture(tb.Context(), db); err == nil {
		err = jsonfile.Replace(file, made)
	}
	if err != nil {
		tb.Fatalf("capture the schema: %v", err)
	}
}

// New calls [NewDSN] and opens a pool, which is closed before the database is dropped.
func New(tb testing.TB, fsys fs.FS) *gorm.DB {
	tb.Helper()
	return Open(tb, NewDSN(tb, fsys), database.Options{})
}

// Open opens a pool that is closed when the test ends.
func Open(tb testing.TB, dsn string, o database.Options) *gorm.DB {
	tb.Helper()
	db, err := database.Open(tb.Context(), dsn, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := database.Close(db); err != nil {
			tb.Errorf("close the test's pool: %v", err)
		}
	})
	return db
}

func migrate(tb testing.TB, dsn string, fsys fs.FS) {
	tb.Helper()
	db, err := database.Open(tb.Context(), dsn, database.Options{MaxOpen: 4})
	if err != nil {
		tb.Fatal(err)
	}
	if err := database.Migrate(tb.Context(), db, fsys, slog.New(slog.DiscardHandler)); err != nil {
		tb.Fatal(err)
	}
	if err := database.Close(db); err != nil {
		tb.Fatal(err)
	}
}

// drop runs in Cleanup, after the test's context has ended.
func drop(tb testing.TB, db *sql.DB, name string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := database.RollbackAll(ctx, db, name); err != nil {
		tb.Errorf("end the test's prepared branches: %v", err)
	}
	if _, err := db.ExecContext(ctx, "DROP DATABASE "+name); err != nil {
		tb.Errorf("drop the test's database: %v", err)
	}
	if err := db.Close(); err != nil {
		tb.Errorf("close the admin's pool: %v", err)
	}
}

// withDatabase inserts the name after the DSN's last slash, before its parameters.
func withDatabase(dsn, name string) string {
	address, params, found := strings.Cut(dsn, "?")
	if found {
		params = "?" + params
	}
	return address[:strings.LastIndex(address, "/")+1] + name + params
}

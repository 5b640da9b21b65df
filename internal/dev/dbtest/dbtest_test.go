package dbtest_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	schema "holdfast/sql"
)

func TestNew(t *testing.T) {
	t.Parallel()
	stacktest.MySQL(t)
	began := time.Now()
	db := dbtest.New(t, schema.Inventory())
	t.Logf("a migrated database took %v", time.Since(began))
	other := dbtest.New(t, schema.Orders())
	if db.Migrator().CurrentDatabase() == other.Migrator().CurrentDatabase() {
		t.Error("two calls gave the same database")
	}
	if !db.Migrator().HasTable("stock") || db.Migrator().HasTable("orders") || !other.Migrator().HasTable("orders") {
		t.Error("the databases do not have their own schema")
	}
}

// TestNewDSN_sameSchema compares a database that was made from captured statements with one that was migrated.
func TestNewDSN_sameSchema(t *testing.T) {
	for name, fsys := range map[string]fs.FS{"inventory": schema.Inventory(), "orders": schema.Orders(), "wallet": schema.Wallet()} {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir() // nobody has captured anything
			t.Setenv("XDG_CACHE_HOME", cache)
			migrated := describe(t, dbtest.NewDSN(t, fsys))
			captured := describe(t, dbtest.NewDSN(t, fsys))
			if files, err := filepath.Glob(filepath.Join(cache, "holdfast", "schemas", "*.json")); err != nil || len(files) != 1 {
				t.Fatalf("captured files %v, error %v", files, err)
			}
			if len(migrated) < 4 {
				t.Fatalf("only %d tables: %v", len(migrated), migrated)
			}
			for table, want := range migrated {
				if got := captured[table]; got != want {
					t.Errorf("%s was captured as\n%s\nwant\n%s", table, got, want)
				}
			}
			if len(captured) != len(migrated) {
				t.Errorf("%d tables and views, want %d", len(captured), len(migrated))
			}
		})
	}
}

// describe returns for each table and view how it is created and how many rows it has.
func describe(t *testing.T, dsn string) map[string]string {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var names []string
	rows, err := db.QueryContext(t.Context(), "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range names {
		all[name] = created(t.Context(), t, db, name)
	}
	return all
}

func created(ctx context.Context, t *testing.T, db *sql.DB, name string) string {
	t.Helper()
	var text, ignored string
	if err := db.QueryRowContext(ctx, "SHOW CREATE TABLE `"+name+"`").Scan(&ignored, &text); err != nil {
		// A view has more columns.
		if err := db.QueryRowContext(ctx, "SHOW CREATE VIEW `"+name+"`").Scan(&ignored, &text, &ignored, &ignored); err != nil {
			t.Fatal(err)
		}
	}
	var count int
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM `"+name+"`").Scan(&count); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s, %d rows", text, count)
}

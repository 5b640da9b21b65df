package dbtest_test

import (
	"testing"
	"time"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/sql"
)

func TestNew(t *testing.T) {
	t.Parallel()
	stacktest.MySQL(t)
	began := time.Now()
	db := dbtest.New(t, sql.Inventory())
	t.Logf("a migrated database took %v", time.Since(began))
	other := dbtest.New(t, sql.Orders())
	if db.Migrator().CurrentDatabase() == other.Migrator().CurrentDatabase() {
		t.Error("two calls gave the same database")
	}
	if !db.Migrator().HasTable("stock") || db.Migrator().HasTable("orders") || !other.Migrator().HasTable("orders") {
		t.Error("the databases do not have their own schema")
	}
}

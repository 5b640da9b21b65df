package database_test

import (
	"log/slog"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"holdfast/internal/dev/dbtest"
	"holdfast/pkg/database"
)

// Replicas start at once, and the migration takes longer than the server lets other sessions be silent.
func TestMigrate_atOnce(t *testing.T) {
	t.Parallel()
	slow := fstest.MapFS{
		"0001_slow.sql": {Data: []byte("-- +goose Up\nCREATE TABLE once (id INT PRIMARY KEY);\nINSERT INTO once (id) SELECT SLEEP(3);\n")},
		"0002_next.sql": {Data: []byte("-- +goose Up\nALTER TABLE once ADD n INT NULL;\n")},
	}
	dsn := dbtest.NewDSN(t, nil)
	var replicas sync.WaitGroup
	for range 4 {
		db := dbtest.Open(t, dsn, database.Options{IdleTimeout: time.Second})
		replicas.Go(func() {
			if err := database.Migrate(t.Context(), db, slow, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		})
	}
	replicas.Wait()
	db := dbtest.Open(t, dsn, database.Options{})
	var versions, rows int
	if err := db.Raw("SELECT COUNT(*) FROM goose_db_version WHERE version_id > 0").Scan(&versions).Error; err != nil {
		t.Fatal(err)
	}
	if err := db.Raw("SELECT COUNT(*) FROM once WHERE n IS NULL").Scan(&rows).Error; err != nil {
		t.Fatal(err)
	}
	if versions != 2 || rows != 1 {
		t.Errorf("%d versions were recorded and %d rows written, want 2 and 1: each migration runs once", versions, rows)
	}
}

func TestMigrate_broken(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t, nil)
	broken := fstest.MapFS{"0001_broken.sql": {Data: []byte("-- +goose Up\nCREATE TABEL oops (id INT);\n")}}
	if err := database.Migrate(t.Context(), db, broken, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a broken migration must be an error")
	}
	if err := database.Migrate(t.Context(), db, schema(), slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("the lock was not given back: %v", err)
	}
}

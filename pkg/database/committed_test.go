package database_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/pkg/database"
	"holdfast/pkg/wait"
)

// manyBranches executes a story for each of many branches, of 24 workers at the same time.
func manyBranches(t *testing.T, each int, story func(ctx context.Context, db *gorm.DB, id string)) {
	t.Helper()
	const workers = 24
	db := dbtest.Open(t, dbtest.NewDSN(t, schema()), database.Options{MaxOpen: 3 * workers})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := range each {
				story(ctx, db, fmt.Sprintf("%d-%d", w, i))
			}
		})
	}
	running.Wait()
}

// TestBranches_committed commits branches from another session right after they were prepared, many at the same time:
// what an XA COMMIT was answered about is there. MariaDB loses one of some hundred branches that a session still keeps
// while it ends.
func TestBranches_committed(t *testing.T) {
	t.Parallel()
	manyBranches(t, 50, func(ctx context.Context, db *gorm.DB, id string) {
		b := database.NewBranches(db)
		if err := b.Prepare(ctx, id, func(tx *gorm.DB) error { return insert(tx, id) }); err != nil {
			t.Errorf("prepare %s: %v", id, err)
			return
		}
		if found, err := b.Commit(ctx, id); !found || err != nil {
			t.Errorf("commit %s: found %v, %v", id, found, err)
			return
		}
		var there bool
		if err := db.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM things WHERE id = ?)", id).Row().Scan(&there); err != nil || !there {
			t.Errorf("%s was committed, and its row is there: %v, %v", id, there, err)
		}
	})
}

// TestBranches_rolledBack rolls branches back while they are being prepared, as the abort of a request does that has
// given up: a branch that an XA ROLLBACK was answered about keeps no row locked.
func TestBranches_rolledBack(t *testing.T) {
	t.Parallel()
	manyBranches(t, 25, func(ctx context.Context, db *gorm.DB, id string) {
		var preparing sync.WaitGroup
		preparing.Go(func() {
			if err := database.NewBranches(db).Prepare(ctx, id, func(tx *gorm.DB) error { return insert(tx, id) }); err != nil {
				t.Errorf("prepare %s: %v", id, err)
			}
		})
		rollBackFound(ctx, t, db, id)
		preparing.Wait()
		// The server waits for a row lock of a lost branch until this wait is given up.
		if err := db.WithContext(ctx).Exec("INSERT INTO things (id, n) VALUES (?, 1)", id).Error; err != nil {
			t.Errorf("%s was rolled back, and its row can be written: %v", id, err)
		}
	})
}

// rollBackFound rolls a branch back as soon as it is found. It may run in any goroutine.
func rollBackFound(ctx context.Context, t *testing.T, db *gorm.DB, id string) {
	t.Helper()
	b := database.NewBranches(db)
	backoff := wait.Backoff{First: time.Millisecond, Max: 20 * time.Millisecond}
	for try := 1; ; try++ {
		if found, err := b.Rollback(ctx, id); found && err == nil {
			return
		}
		if err := backoff.Sleep(ctx, try); err != nil {
			t.Errorf("%s is found: %v", id, err)
			return
		}
	}
}

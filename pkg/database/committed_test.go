package database_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/pkg/database"
)

// TestBranches_committed commits branches from another session right after they were prepared, many at the same time:
// what an XA COMMIT was answered about is there. MariaDB loses one of some hundred branches that a session still keeps
// while it ends.
func TestBranches_committed(t *testing.T) {
	t.Parallel()
	const workers, each = 24, 50
	db := dbtest.Open(t, dbtest.NewDSN(t, schema()), database.Options{MaxOpen: 3 * workers})
	b := database.NewBranches(db)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", w, i)
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
			}
		})
	}
	running.Wait()
}

// TestBranches_rolledBack rolls branches back while they are being prepared, as the abort of a request does that has
// given up: a branch that an XA ROLLBACK was answered about keeps no row locked.
func TestBranches_rolledBack(t *testing.T) {
	t.Parallel()
	const workers, each = 24, 25
	db := dbtest.Open(t, dbtest.NewDSN(t, schema()), database.Options{MaxOpen: 3 * workers})
	one, two := database.NewBranches(db), database.NewBranches(db)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	for w := range workers {
		running.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", w, i)
				var preparing sync.WaitGroup
				preparing.Go(func() {
					if err := one.Prepare(ctx, id, func(tx *gorm.DB) error { return insert(tx, id) }); err != nil {
						t.Errorf("prepare %s: %v", id, err)
					}
				})
				testkit.EventuallyTrue(t, patience, id+" is found", func() bool {
					found, err := two.Rollback(ctx, id)
					return found && err == nil
				})
				preparing.Wait()
				// The server waits for a row lock of a lost branch until this wait is given up.
				if err := db.WithContext(ctx).Exec("INSERT INTO things (id, n) VALUES (?, 1)", id).Error; err != nil {
					t.Errorf("%s was rolled back, and its row can be written: %v", id, err)
				}
			}
		})
	}
	running.Wait()
}

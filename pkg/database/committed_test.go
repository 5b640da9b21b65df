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
)

// TestBranches_committed commits branches from another session right after they were prepared, many at the same time:
// what an XA COMMIT was answered about is there. MariaDB lost one of some hundred branches whose session was just
// ending.
func TestBranches_committed(t *testing.T) {
	t.Parallel()
	const workers, each = 12, 100
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

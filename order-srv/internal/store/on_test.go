package store_test

import (
	"context"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/database"
	"holdfast/sql"
)

// TestStore_On takes every connection of the pool for placing. A store on another pool still works, and is notified of
// what the first one commits.
func TestStore_On(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, sql.Orders())
	placing := dbtest.Open(t, dsn, database.Options{MaxOpen: 1})
	s := store.New(placing, nil)
	upkeep := s.On(dbtest.Open(t, dsn, database.Options{MaxOpen: 1}))

	held, release := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- database.InTx(context.Background(), placing, func(*gorm.DB) error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Overdue(short, 0, store.Place{}, 10); err == nil {
		t.Error("the pool for placing had a connection left: the test does not show what it means to")
	}
	if _, err := upkeep.Overdue(t.Context(), 0, store.Place{}, 10); err != nil {
		t.Errorf("the sweeper's question while all connections place: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.Outbox().Kick()
	select {
	case <-upkeep.Outbox().Notify():
	case <-time.After(10 * time.Second):
		t.Error("the relay is not notified of what was committed through the other pool")
	}
}

package replicatest

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// Killer ends connections of this world's database, from one of its own.
type Killer struct{ db *sql.DB }

// Killer returns a killer of this world's connections.
func (w *World) Killer(t *testing.T) Killer {
	t.Helper()
	db, err := sql.Open("mysql", w.DSN)
	if err != nil {
		t.Fatalf("open the killer's connection: %v", err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return Killer{db}
}

// ids are the connections of the database, but for the killer's own.
func (k Killer) ids(ctx context.Context) (ids []int64) {
	rows, err := k.db.QueryContext(ctx, "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()")
	if err != nil {
		return nil
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id int64
		if rows.Scan(&id) == nil {
			ids = append(ids, id)
		}
	}
	if rows.Err() != nil {
		return nil
	}
	return ids
}

// End ends a connection and reports whether it did; it may be gone already.
func (k Killer) End(ctx context.Context, id int64) bool {
	_, err := k.db.ExecContext(ctx, fmt.Sprintf("KILL %d", id))
	return err == nil
}

// one ends a connection chosen at random and reports whether it did.
func (k Killer) one(ctx context.Context) bool {
	ids := k.ids(ctx)
	return len(ids) > 0 && k.End(ctx, ids[rand.IntN(len(ids))])
}

// All ends every connection and returns how many.
func (k Killer) All(ctx context.Context) (killed int) {
	for _, id := range k.ids(ctx) {
		if k.End(ctx, id) {
			killed++
		}
	}
	return killed
}

// maxKills leaves a slow machine a chance: a strategy that does one order at a time would meet a kill in each.
const maxKills = 60

// Until kills one after another until ctx is done, or it is enough, and counts them in killed.
func (k Killer) Until(ctx context.Context, killed *atomic.Int64) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if killed.Load() < maxKills && k.one(ctx) {
				killed.Add(1)
			}
		}
	}
}

package inventorylab

import (
	"context"
	"time"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/lock"
)

// Point is a place in the code of a strategy or of a mistake, at which a lesson may stop it.
type Point struct {
	At         PointKind
	SQL        string // of AtStatement: sent when the lesson returns
	Args       []any
	Connection int64 // of AtStatement: the server's number of the transaction's connection; 0 outside a transaction
}

// PointKind says what the code does at a point.
type PointKind string

// The points at which a lab calls Config.At.
const (
	AtStatement PointKind = "statement" // before a statement of Reserve
	AtLocked    PointKind = "locked"    // after a lease was granted
	AtUnlocked  PointKind = "unlocked"  // after a lease was released
)

// reserveKey marks the context of a Reserve, so that statements of the lab's own loops are no points.
type reserveKey struct{}

// stopAtStatements calls at before each statement that a Reserve sends.
func stopAtStatements(db *gorm.DB, at func(Point)) error {
	stop := func(tx *gorm.DB) {
		ctx := tx.Statement.Context
		if ctx.Value(reserveKey{}) == nil || tx.Error != nil {
			return
		}
		at(Point{At: AtStatement, SQL: tx.Statement.SQL.String(), Args: tx.Statement.Vars, Connection: connectionOf(ctx, tx)})
	}
	if err := db.Callback().Row().Before("gorm:row").Register("lesson:row", stop); err != nil {
		return err
	}
	return db.Callback().Raw().Before("gorm:raw").Register("lesson:raw", stop)
}

// connectionOf returns 0 outside a transaction, where each statement may use another connection.
func connectionOf(ctx context.Context, tx *gorm.DB) (id int64) {
	if pool, err := tx.DB(); err == nil && tx.Statement.ConnPool == gorm.ConnPool(pool) {
		return 0
	}
	if err := tx.Statement.ConnPool.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		return 0 // the statement itself will report what is wrong
	}
	return id
}

// stoppingLocker calls at after each lease.
type stoppingLocker struct {
	strategy.Locker
	at func(Point)
}

// Acquire implements strategy.Locker.
func (l stoppingLocker) Acquire(ctx context.Context, keys ...string) (*lock.Lease, error) {
	lease, err := l.Locker.Acquire(ctx, keys...)
	if err == nil && l.at != nil {
		l.at(Point{At: AtLocked})
	}
	return lease, err
}

// stoppingObserver calls at after each release.
type stoppingObserver struct{ at func(Point) }

var _ lock.Observer = stoppingObserver{}

// Waited implements lock.Observer.
func (stoppingObserver) Waited([]string, time.Duration, error) {}

// Renewed implements lock.Observer.
func (stoppingObserver) Renewed([]string, error) {}

// Lost implements lock.Observer.
func (stoppingObserver) Lost([]string, error) {}

// Released implements lock.Observer.
func (o stoppingObserver) Released([]string, time.Duration, error) { o.at(Point{At: AtUnlocked}) }

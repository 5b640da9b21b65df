package lesson

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"log/slog"
	"time"

	"holdfast/pkg/database"
	"holdfast/sql"
)

// sku is the product of the lessons.
const sku = "MUG-CLASSIC"

// shelf is a stock row with the inventory service's schema, in a database of the lesson.
type shelf struct {
	dsn string
	db  *stdsql.DB
}

func (e *Env) shelf(ctx context.Context) (*shelf, error) {
	dsn, err := e.DSN(ctx)
	if err != nil {
		return nil, err
	}
	db, err := database.Open(ctx, dsn, database.Options{})
	if err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error { return database.Close(db) })
	if err := database.Migrate(ctx, db, sql.Inventory(), slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	pool, err := db.DB()
	return &shelf{dsn: dsn, db: pool}, err
}

// fill sets the row to a lesson's initial stock. The fence stays, because tokens of one lesson only grow.
func (s *shelf) fill(ctx context.Context, available int64) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO stock (sku, available, updated_at) VALUES (?, ?, UTC_TIMESTAMP(6))
		ON DUPLICATE KEY UPDATE available = VALUES(available)`, sku, available)
	return err
}

// left returns the committed stock.
func (s *shelf) left(ctx context.Context) (int64, error) { return readStock(ctx, s.db) }

// querier is implemented by a pool, a connection and a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *stdsql.Row
	ExecContext(ctx context.Context, query string, args ...any) (stdsql.Result, error)
}

// readStock reads without a lock, as the course's code does.
func readStock(ctx context.Context, q querier) (int64, error) {
	var n int64
	err := q.QueryRowContext(ctx, "SELECT available FROM stock WHERE sku = ?", sku).Scan(&n)
	return n, err
}

// writeStock writes an absolute value, as an ORM's Save does. It is correct only if no other transaction wrote since
// the read.
func writeStock(ctx context.Context, q querier, available int64) error {
	n, err := affected(q.ExecContext(ctx, "UPDATE stock SET available = ?, version = version + 1 WHERE sku = ?", available, sku))
	if err == nil && n != 1 {
		err = fmt.Errorf("the stock row of %s does not exist", sku)
	}
	return err
}

func affected(res stdsql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// sales is the result of several sales.
type sales struct {
	accepted, refused int64
	gone              int64 // decrease of the stock
}

// lost returns the number of sales that the row has not recorded.
func (s sales) lost() int64 { return s.accepted - s.gone }

// lockWait is how long a lesson's transaction waits for a row. It is longer than any pause of a lesson.
const lockWait = 30 * time.Second

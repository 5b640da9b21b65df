package lesson

import (
	"context"
	stdsql "database/sql"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/pkg/database"
	"holdfast/sql"
)

// sku is the product of the lessons.
const sku = "MUG-CLASSIC"

// shelf is a stock row with the inventory service's schema, in a database of the lesson.
type shelf struct {
	dsn string
	db  *stdsql.DB

	mu        sync.Mutex
	actors    map[int64]string    // by the server's number of the connection
	executing map[int64]time.Time // when a connection was first seen in its statement, see executes

	results sync.Mutex // held while a result is counted: a step that waited may end together with another one
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
	return newShelf(dsn, pool), err
}

// newShelf returns the view of a database, for lessons with a table of their own.
func newShelf(dsn string, db *stdsql.DB) *shelf {
	return &shelf{dsn: dsn, db: db, actors: map[int64]string{}, executing: map[int64]time.Time{}}
}

// fill sets the row to a scene's initial stock. The fence stays, because tokens of one lesson only grow.
func (s *shelf) fill(ctx context.Context, available int64) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO stock (sku, lab, available, updated_at) VALUES (?, 1, ?, UTC_TIMESTAMP(6))
		ON DUPLICATE KEY UPDATE available = VALUES(available), reserved = 0`, sku, available)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO products (sku, title, price_cents, created_at) VALUES (?, ?, 100, UTC_TIMESTAMP(6))
		ON DUPLICATE KEY UPDATE sku = sku`, sku, sku)
	return err
}

// left returns the committed stock.
func (s *shelf) left(ctx context.Context) (n int64, err error) {
	err = s.db.QueryRowContext(ctx, readRow, sku).Scan(&n)
	return n, err
}

func affected(res stdsql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// setActor records on which connection an actor works.
func (s *shelf) setActor(connection int64, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.actors[connection] = name
}

// names returns the actors by their connections.
func (s *shelf) names() map[int64]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.actors)
}

// actor returns the name of the actor on a connection, or a mark for another one.
func (s *shelf) actor(connection int64) string {
	if name := s.names()[connection]; name != "" {
		return name
	}
	return "?"
}

// look shows the row, and who waits for it.
func (s *shelf) look() []step.Looker {
	return []step.Looker{
		s.lookRows(step.T("step.row"), "SELECT available, reserved, version, fence FROM stock WHERE sku = ?", sku),
		s.lookLocks,
	}
}

// lockWait is how long a lesson's transaction waits for a row. It is longer than any pause of a lesson.
const lockWait = 30 * time.Second

// written returns the number that an UPDATE of stock writes into available: its first argument.
func written(args []any) int64 {
	if len(args) == 0 {
		return -1
	}
	n, ok := args[0].(int64)
	if !ok {
		return -1
	}
	return n
}

// isUpdate reports whether the statement changes the table.
func isUpdate(statement, table string) bool {
	return strings.HasPrefix(oneLine(statement), "UPDATE "+table+" ")
}

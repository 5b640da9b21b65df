package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"

	"holdfast/internal/lab/step"
	"holdfast/pkg/database"
)

// session is an actor with a connection of its own, for statements that no code of the inventory sends.
type session struct {
	name       string
	shelf      *shelf
	connection int64
	conn       *stdsql.Conn
	tx         *stdsql.Tx // nil: no transaction is open
}

// session opens the connection, which is closed at the end of the scene.
func (e *Env) session(ctx context.Context, s *shelf, name string) (*session, error) {
	wait := e.patience(lockWait)
	db, err := database.Open(ctx, s.dsn, database.Options{MaxOpen: 1, LockWait: wait, IdleTimeout: 2 * wait, IOTimeout: 2 * wait})
	if err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error { return database.Close(db) })
	pool, err := db.DB()
	if err != nil {
		return nil, err
	}
	one := &session{name: name, shelf: s}
	if one.conn, err = pool.Conn(ctx); err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error { return one.conn.Close() })
	if err := one.conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&one.connection); err != nil {
		return nil, err
	}
	s.setActor(one.connection, name)
	return one, nil
}

func (s *session) actor(steps ...step.Step) *step.Actor {
	return &step.Actor{Name: s.name, Steps: steps, Blocked: func(ctx context.Context) (bool, error) {
		return s.shelf.blocked(ctx, s.connection)
	}}
}

const lockingRead = "SELECT available FROM stock WHERE sku = ? FOR UPDATE"

// lock is a step that locks a product's row. A deadlock ends the transaction, and the actor leaves.
func (s *session) lock(label step.Text, ask, product string, deadlock func()) step.Step {
	return step.Step{
		Label: label, Ask: ask, Statement: lockingRead,
		Do: func(ctx context.Context) (_ step.Result, err error) {
			if s.tx == nil {
				if s.tx, err = s.conn.BeginTx(ctx, nil); err != nil {
					return step.Result{}, err
				}
			}
			var n int64
			err = s.tx.QueryRowContext(ctx, lockingRead, product).Scan(&n)
			if !database.IsRetryable(err) {
				return step.Result{}, err
			}
			s.shelf.results.Lock()
			deadlock()
			s.shelf.results.Unlock()
			return step.Result{Text: step.T("unsorted-locks.deadlock"), Leaves: true}, s.end((*stdsql.Tx).Rollback)
		},
	}
}

// commit is a step that ends the transaction.
func (s *session) commit() step.Step {
	return step.Step{Label: step.T("unsorted-locks.commit"), Do: func(context.Context) (step.Result, error) {
		return step.Result{}, s.end((*stdsql.Tx).Commit)
	}}
}

func (s *session) end(how func(*stdsql.Tx) error) error {
	tx := s.tx
	s.tx = nil
	if err := how(tx); err != nil && !errors.Is(err, stdsql.ErrTxDone) {
		return err
	}
	return nil
}

package database

import (
	"context"

	"gorm.io/gorm"
)

// The mutants break Branches in one place each. They live in this package because what they break is not exported; the
// tests that run them are outside.

// KeepingBranches has the session keep its prepared branch, and returns the connection to the pool.
type KeepingBranches struct{ *Branches }

// Prepare is Branches.Prepare without the statement by which MariaDB detaches a branch.
func (b KeepingBranches) Prepare(ctx context.Context, gtrid string, fn func(tx *gorm.DB) error) error {
	pool, xid, err := b.named(gtrid)
	if err != nil {
		return err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // it goes back to the pool
	if _, err := conn.ExecContext(ctx, "XA START "+xid); err != nil {
		return err
	}
	if err := b.work(ctx, conn, fn); err != nil {
		rollBackActive(ctx, conn, xid, err)
		return err
	}
	return prepare(ctx, conn, xid)
}

// ForeignBranches ends the branch of a global transaction in whichever database it is.
type ForeignBranches struct{ *Branches }

// Rollback rolls back the first branch that has the gtrid.
func (b ForeignBranches) Rollback(ctx context.Context, gtrid string) (found bool, err error) {
	pool, _, err := b.pool()
	if err != nil {
		return false, err
	}
	all, err := ListXids(ctx, pool)
	for _, x := range all {
		if x.Gtrid == gtrid {
			xid, err := x.quoted()
			if err == nil {
				_, err = pool.ExecContext(ctx, "XA ROLLBACK "+xid)
			}
			return err == nil, err
		}
	}
	return false, err
}

// BelievingBranches prepare what is left when fn has ignored the error of a statement.
type BelievingBranches struct{ *Branches }

// Prepare is Branches.Prepare without the record of failed statements.
func (b BelievingBranches) Prepare(ctx context.Context, gtrid string, fn func(tx *gorm.DB) error) error {
	pool, xid, err := b.named(gtrid)
	if err != nil {
		return err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer discard(conn)
	if _, err := conn.ExecContext(ctx, "XA START "+xid); err != nil {
		return err
	}
	session := b.db.Session(&gorm.Session{NewDB: true, Context: ctx})
	session.Statement.ConnPool = statements{conn}
	if err := fn(session); err != nil {
		rollBackActive(ctx, conn, xid, err)
		return err
	}
	return prepare(ctx, conn, xid)
}

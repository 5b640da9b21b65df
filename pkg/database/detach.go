package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// A prepared branch is ended by any session, so the one that prepared it has to let it go. MySQL's does with XA PREPARE
// (xa_detach_on_prepare). MariaDB's keeps it until the session ends, and then lets it go in two steps: first the
// server's list of branches does, and then InnoDB. An XA COMMIT or XA ROLLBACK between the two finds the branch in the
// list and not in InnoDB: it is answered with success, does nothing, and removes the branch from the list. The rows
// stay locked until the server restarts. Of 3,706 branches of twelve workers 14 were lost so, and 6 of 7,253 when
// COMMIT came after the session had left information_schema.processlist, which it does between the two steps
// (10.11.19). In the source: unlink_thd (sql/mysqld.cc), trans_xa_detach and trans_xa_commit (sql/xa.cc),
// trx_disconnect_prepared and trx_get_trx_by_xid (storage/innobase/trx/trx0trx.cc).
//
// So MariaDB's session lets its branch go with XA PREPARE too: with pseudo_slave_mode PREPARE takes both steps before
// it answers, as the replay of a binary log needs it (slave_applier_reset_xa_trans in sql/xa.cc). While PREPARE is at
// work both servers have such a moment: of 600 branches that were rolled back meanwhile MySQL lost 3 (9.7.4). So the
// session has a named lock from before the branch begins until after PREPARE, and a branch is not ended while that is
// taken.

// errKept is a branch that cannot be ended, because its session works on it.
var errKept = errors.New("a session works on the branch")

// lockName is the name of a branch's lock in SQL. A branch's own name may be longer than a lock's, which has 64 bytes.
const lockName = "SHA2(?, 224)"

// preparing is a session that has the named lock of a branch.
type preparing struct {
	mariaDB  bool
	detaches bool // XA PREPARE lets the branch go; with MySQL before 8.0.29 only the end of the session does
}

// claim takes the named lock of a branch for the session of conn, which the session's end releases too, and has the
// session's next XA PREPARE let the branch go, if it does not already.
func claim(ctx context.Context, conn *sql.Conn, xid string) (p preparing, err error) {
	var claimed bool
	if err := conn.QueryRowContext(ctx, "SELECT VERSION() LIKE '%MariaDB%', GET_LOCK("+lockName+", 0)", xid).Scan(&p.mariaDB, &claimed); err != nil {
		return p, notExecuted(err)
	}
	if !claimed {
		return p, ErrContended.Wrap(fmt.Errorf("%w: another session works on it", ErrBranchExists))
	}
	if p.mariaDB {
		p.detaches = true
		_, err = conn.ExecContext(ctx, "SET SESSION pseudo_slave_mode = 1")
		return p, notExecuted(err)
	}
	err = conn.QueryRowContext(ctx, "SELECT @@SESSION.xa_detach_on_prepare").Scan(&p.detaches)
	if isNumber(err, unknownVariable) {
		err = nil
	}
	return p, notExecuted(err)
}

// release releases the lock of claim. clean is false when the connection has to be closed: the session may keep the
// lock or the branch.
func (p preparing) release(ctx context.Context, conn *sql.Conn, xid string) (clean bool) {
	statement := "DO RELEASE_LOCK(" + lockName + ")"
	if p.mariaDB {
		statement = "SET SESSION pseudo_slave_mode = 0, @released = RELEASE_LOCK(" + lockName + ")"
	}
	_, err := conn.ExecContext(ctx, statement, xid)
	return err == nil && p.detaches
}

// endBranch sends COMMIT or ROLLBACK for a branch, unless its session works on it: errKept.
func endBranch(ctx context.Context, server *sql.DB, verb, xid string) error {
	var kept bool
	err := server.QueryRowContext(ctx, "SELECT IS_FREE_LOCK("+lockName+") = 0", xid).Scan(&kept)
	if err != nil {
		return fmt.Errorf("ask whether a session works on a branch: %w", err)
	}
	if kept {
		return errKept
	}
	_, err = server.ExecContext(ctx, verb+xid)
	return err //nolint:wrapcheck // the caller looks at its number
}

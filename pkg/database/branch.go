package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"

	"holdfast/pkg/wait"
)

// Branches are the parts that one database has in global transactions: two-phase commit, MySQL's XA. A branch is named
// by the global transaction (gtrid) and the database (bqual). MariaDB lists the branches of all databases and lets any
// user end them, so Branches touch only those of their own database.
//
// A branch differs from a transaction of [InTx] once it is prepared: it keeps its changes and its row locks without a
// session, through a crash and a restart of the server, until COMMIT or ROLLBACK names it. A caller that prepares a
// branch must end it, and after a crash [Branches.Recover] is the only way to find it.
type Branches struct {
	db     *gorm.DB
	listed atomic.Bool // Recover has succeeded
}

// NewBranches returns the branches of the database of db, which [Open] has opened.
func NewBranches(db *gorm.DB) *Branches { return &Branches{db: db} }

// Prepare runs fn in a new branch, on one connection, and prepares the branch when fn returns nil. fn runs once and
// must write something: MariaDB prepares a branch that only read, and refuses to commit it. After an error nothing
// stays, except after [ErrCommitUnknown].
//
// Errors: fn's own; [ErrContended] after a lost race, which the caller may repeat, and with [ErrBranchExists];
// [ErrNoBranches]; [ErrUnavailable]; [ErrCommitUnknown] when the answer to PREPARE was lost.
func (b *Branches) Prepare(ctx context.Context, gtrid string, fn func(tx *gorm.DB) error) error {
	pool, xid, err := b.named(gtrid)
	if err != nil {
		return err
	}
	if !b.listed.Load() {
		if _, err := b.Recover(ctx); err != nil { // else a crash would leave a branch that nothing finds
			return notExecuted(err)
		}
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return notExecuted(err)
	}
	clean := false
	defer func() {
		if !clean {
			discard(conn) // this also rolls back a branch that is not prepared
		}
		_ = conn.Close()
	}()
	session, err := claim(ctx, conn, xid)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "XA START "+xid); err != nil {
		if isNumber(err, duplicateXid) {
			return ErrContended.Wrap(fmt.Errorf("%w: %w", ErrBranchExists, err))
		}
		return notExecuted(err)
	}
	if err := b.work(ctx, conn, fn); err != nil {
		rollBackActive(ctx, conn, xid, err)
		return refused(err)
	}
	if err := prepare(ctx, conn, xid); err != nil {
		return err
	}
	clean = session.release(ctx, conn, xid)
	return nil
}

// work runs fn by the rule of InTx: after an error the connection takes no statement but those that end the branch.
func (b *Branches) work(ctx context.Context, conn *sql.Conn, fn func(tx *gorm.DB) error) error {
	r := &record{caller: ctx}
	if err := setRecord(conn, r); err != nil {
		return err
	}
	session := b.db.Session(&gorm.Session{NewDB: true, Context: ctx})
	session.Statement.ConnPool = statements{conn}
	err := fn(session)
	if r.failed != nil && (err == nil || IsRetryable(r.failed) || isLost(r.failed)) {
		err = r.failed // fn ignored it, or put its own words in its place
	}
	return errors.Join(err, setRecord(conn, nil))
}

// setRecord has the driver's connection record errors in r; nil ends that.
func setRecord(on *sql.Conn, r *record) error {
	return on.Raw(func(raw any) error {
		c, ok := raw.(*conn)
		if !ok {
			return fmt.Errorf("the pool was not opened with database.Open: %T", raw)
		}
		c.tx = r
		return nil
	})
}

// rollBackActive ends a branch that is not prepared. After a deadlock the branch takes nothing but ROLLBACK; otherwise
// END comes first. When this fails, the server rolls back with the end of the session.
func rollBackActive(ctx context.Context, conn *sql.Conn, xid string, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if !isNumber(cause, deadlock) {
		_, _ = conn.ExecContext(ctx, "XA END "+xid)
	}
	_, _ = conn.ExecContext(ctx, "XA ROLLBACK "+xid)
}

// prepare ends the work on a branch and prepares it.
func prepare(ctx context.Context, conn *sql.Conn, xid string) error {
	if _, err := conn.ExecContext(ctx, "XA END "+xid); err != nil {
		rollBackActive(ctx, conn, xid, err)
		return refused(err)
	}
	// Like COMMIT, PREPARE outlives the caller's deadline a little: a deadline that passes during PREPARE would leave a
	// branch that its coordinator does not have.
	ctx, cancel := commitContext(ctx)
	defer cancel()
	_, err := conn.ExecContext(ctx, "XA PREPARE "+xid)
	_, answered := errors.AsType[*mysql.MySQLError](err)
	switch {
	case err == nil:
		return nil
	case answered:
		rollBackActive(ctx, conn, xid, err)
		return refused(err)
	case errors.Is(err, driver.ErrBadConn):
		return notExecuted(err)
	}
	return ErrCommitUnknown.Wrap(fmt.Errorf("the answer to XA PREPARE was lost: %w", err))
}

// refused is the error of a branch that was rolled back.
func refused(err error) error {
	if IsRetryable(err) || isNumber(err, branchLost, branchTimedOut, branchDeadlock) {
		return ErrContended.Wrap(err)
	}
	return notExecuted(err)
}

// Commit commits a prepared branch. found is false when there is no such branch. That is not success: it was committed,
// or rolled back, or never prepared, and the caller must read a row that the branch wrote to know which.
//
// A branch is not ended while its session works on it. Commit repeats the call while the branch is listed.
// Errors: [ErrBranchRolledBack]; [ErrNoBranches]; [ErrUnavailable], after which the caller may repeat the call; ctx's.
func (b *Branches) Commit(ctx context.Context, gtrid string) (found bool, err error) {
	found, err = b.end(ctx, "XA COMMIT ", gtrid)
	if isNumber(err, branchLost) {
		return true, fmt.Errorf("%w: %w", ErrBranchRolledBack, err)
	}
	return found, err
}

// Rollback rolls back a prepared branch. found is false when there is no such branch: see [Branches.Commit], also for
// errors.
func (b *Branches) Rollback(ctx context.Context, gtrid string) (found bool, err error) {
	found, err = b.end(ctx, "XA ROLLBACK ", gtrid)
	if isNumber(err, branchLost) {
		return true, nil
	}
	return found, err
}

func (b *Branches) end(ctx context.Context, verb, gtrid string) (found bool, err error) {
	pool, xid, err := b.named(gtrid)
	if err != nil {
		return false, err
	}
	backoff := wait.Backoff{First: firstBackoff, Max: lastBackoff}
	for try := 1; ; try++ {
		there, err := b.lists(ctx, gtrid)
		if err != nil || !there {
			return false, err
		}
		err = endBranch(ctx, pool, verb, xid)
		if !errors.Is(err, errKept) && !isNumber(err, unknownXid) {
			return err == nil, Fault(err)
		}
		if err := backoff.Sleep(ctx, try); err != nil {
			return false, fmt.Errorf("%s%s: its session still has the branch: %w", verb, gtrid, err)
		}
	}
}

// Recover returns the gtrids of this database's prepared branches. [ErrNoBranches] when the user may not ask (MySQL).
func (b *Branches) Recover(ctx context.Context) (gtrids []string, err error) {
	pool, bqual, err := b.pool()
	if err != nil {
		return nil, err
	}
	all, err := ListXids(ctx, pool)
	if err != nil {
		return nil, err
	}
	for _, x := range all {
		if x.Bqual == bqual {
			gtrids = append(gtrids, x.Gtrid)
		}
	}
	b.listed.Store(true)
	return gtrids, nil
}

// Xid names a branch: the global transaction, and the database that has this part of it.
type Xid struct{ Gtrid, Bqual string }

// ListXids returns the prepared branches of all databases of a server. [ErrNoBranches] when the user may not ask
// (MySQL); [ErrUnavailable].
func ListXids(ctx context.Context, server *sql.DB) (all []Xid, err error) {
	rows, err := server.QueryContext(ctx, "XA RECOVER")
	if isNumber(err, branchRefused, privilegeDenied) {
		return nil, ErrNoBranches.Wrap(err)
	}
	if err != nil {
		return nil, fmt.Errorf("list prepared branches: %w", Fault(err))
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	for rows.Next() {
		var format, first, second int
		var data string
		if err := rows.Scan(&format, &first, &second, &data); err != nil {
			return nil, fmt.Errorf("list prepared branches: %w", Fault(err))
		}
		if first+second == len(data) {
			all = append(all, Xid{data[:first], data[first:]})
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list prepared branches: %w", Fault(err))
	}
	return all, nil
}

// RollbackAll rolls back all prepared branches of one database of a server, whose coordinator is gone for good: DROP
// DATABASE would wait for them as long as lock_wait_timeout says, a day on MariaDB and a year on MySQL. A service never
// calls it, because a branch may be decided.
func RollbackAll(ctx context.Context, server *sql.DB, name string) error {
	backoff := wait.Backoff{First: firstBackoff, Max: lastBackoff}
	for try := 1; ; try++ {
		left, err := rollBackListed(ctx, server, name)
		if err != nil || left == 0 {
			return err
		}
		if err := backoff.Sleep(ctx, try); err != nil {
			return fmt.Errorf("roll back the branches of %s: the sessions of %d still have them: %w", name, left, err)
		}
	}
}

// rollBackListed rolls back the branches of a database that are listed. left is the number of those whose sessions
// still have them: MariaDB lists them, and answers that they are unknown.
func rollBackListed(ctx context.Context, server *sql.DB, name string) (left int, err error) {
	all, err := ListXids(ctx, server)
	errs := []error{err}
	for _, x := range all {
		if x.Bqual != name {
			continue
		}
		xid, err := x.quoted()
		if err == nil {
			err = endBranch(ctx, server, "XA ROLLBACK ", xid)
		}
		if errors.Is(err, errKept) || isNumber(err, unknownXid) {
			left++
			continue
		}
		errs = append(errs, err)
	}
	return left, errors.Join(errs...)
}

func (b *Branches) lists(ctx context.Context, gtrid string) (bool, error) {
	all, err := b.Recover(ctx)
	return slices.Contains(all, gtrid), err
}

// pool returns the pool and the name of its database, which is the bqual.
func (b *Branches) pool() (*sql.DB, string, error) {
	pool, err := b.db.DB()
	if err != nil {
		return nil, "", fmt.Errorf("branch: %w (is this a transaction already?)", err)
	}
	d, ok := pool.Driver().(connectorDriver)
	if !ok {
		return nil, "", fmt.Errorf("the pool was not opened with database.Open but with %T", pool.Driver())
	}
	return pool, d.connector.cfg.DBName, nil
}

// maxXid is how long each part of a branch's name may be.
const maxXid = 64

// named returns the pool and the branch's name in SQL.
func (b *Branches) named(gtrid string) (*sql.DB, string, error) {
	pool, bqual, err := b.pool()
	if err != nil {
		return nil, "", err
	}
	xid, err := Xid{gtrid, bqual}.quoted()
	return pool, xid, err
}

// quoted returns the name in SQL. XA statements take no parameters.
func (x Xid) quoted() (string, error) {
	for _, part := range []string{x.Gtrid, x.Bqual} {
		if part == "" || len(part) > maxXid || strings.ContainsFunc(part, func(r rune) bool { return r <= ' ' || r > '~' || r == '\'' || r == '\\' }) {
			return "", fmt.Errorf("%q cannot name a branch", part)
		}
	}
	return "'" + x.Gtrid + "','" + x.Bqual + "'", nil
}

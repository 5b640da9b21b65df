package database

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"

	"github.com/go-sql-driver/mysql"

	"holdfast/pkg/fault"
)

// The server's error numbers that mean something to us. MySQL and MariaDB share all but the last two groups.
const (
	checkread       = 1020 // MariaDB: the row changed since the snapshot was taken
	tooManyConns    = 1040
	tableDenied     = 1142
	shuttingDown    = 1053
	duplicateKey    = 1062
	unknownVariable = 1193
	tooManyUserConn = 1203
	lockWaitTimeout = 1205
	deadlock        = 1213
	privilegeDenied = 1227

	unknownXid     = 1397 // no such branch, or one that its session still has; see Branches.Commit
	branchRefused  = 1401 // MySQL: XA RECOVER without the privilege XA_RECOVER_ADMIN
	branchLost     = 1402 // the branch was rolled back, or wrote nothing (MariaDB)
	duplicateXid   = 1440
	branchTimedOut = 1613
	branchDeadlock = 1614

	killedMySQL  = 4031 // MySQL: the session was ended for being silent
	killedMaria  = 1927 // MariaDB: the connection was killed
	checkMySQL   = 3819
	checkMariaDB = 4025
	wrongValue   = 1366 // MySQL: a value of the wrong type or character set
)

// The faults of this package.
var (
	// ErrUnavailable is a database that cannot be reached, or a connection that broke.
	ErrUnavailable = fault.New(fault.Unavailable, "database_unavailable", "the database cannot be reached")
	// ErrContended is a transaction that lost too many races for locks; it was rolled back each time.
	ErrContended = fault.New(fault.Contended, "contended", "too many others wanted the same rows; nothing was done")
	// ErrCommitUnknown is a transaction with an unknown outcome: the answer to COMMIT was lost.
	ErrCommitUnknown = fault.New(fault.Unavailable, "commit_unknown", "the answer to COMMIT was lost and could not be looked up")
	// ErrNoBranches is a database user that may not list prepared branches. Nothing would find what a crash leaves.
	ErrNoBranches = fault.New(fault.Forbidden, "no_branches", "the database user may not list prepared branches: MySQL needs XA_RECOVER_ADMIN")
)

// The errors of branches.
var (
	// ErrBranchExists is a branch that was begun before: it is prepared, or another session still works on it.
	ErrBranchExists = errors.New("the branch was begun before")
	// ErrBranchRolledBack is a prepared branch that the server has rolled back by itself.
	ErrBranchRolledBack = errors.New("the database has rolled back a prepared branch")
)

// errRolledBack is a transaction whose COMMIT was found to have had no effect.
var errRolledBack = errors.New("the answer to COMMIT was lost, and the transaction was found rolled back")

func isNumber(err error, numbers ...uint16) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && slices.Contains(numbers, e.Number)
}

// IsDuplicate reports a violated primary or unique key.
func IsDuplicate(err error) bool { return isNumber(err, duplicateKey) }

// IsCheckViolated reports a violated CHECK constraint, such as a counter that would have gone below zero.
func IsCheckViolated(err error) bool { return isNumber(err, checkMySQL, checkMariaDB) }

// IsRetryable reports an error after which the whole transaction may be run again as if it had never been: a deadlock,
// a lock wait timeout, a row that changed under a snapshot. The transaction must have been rolled back; [InTx] does
// both.
func IsRetryable(err error) bool { return isNumber(err, checkread, lockWaitTimeout, deadlock) }

// IsLockWait reports a wait for a row lock that ran out.
func IsLockWait(err error) bool { return isNumber(err, lockWaitTimeout) }

// IsDenied reports a statement that the user may not execute.
func IsDenied(err error) bool { return isNumber(err, tableDenied, privilegeDenied) }

// IsData reports a fault in the values of a statement, such as one that is too long or violates a constraint: the
// statement may succeed with other rows. A missing table or a lost connection is not one.
func IsData(err error) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return false
	}
	class := string(e.SQLState[:2]) // 22: data exception, 23: integrity constraint violation
	return class == "22" || class == "23" || isNumber(err, checkMySQL, checkMariaDB, wrongValue)
}

// isLost reports a connection that broke or that the server ended.
func isLost(err error) bool {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || isNumber(err, shuttingDown, killedMySQL, killedMaria) {
		return true
	}
	_, network := errors.AsType[net.Error](err)
	return network && !isContext(err)
}

// isContext is asked first where both could hold: a context's deadline is a net.Error, too.
func isContext(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// isRefused reports that the server was not reached at all or turned us away at the door.
func isRefused(err error) bool {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return true
	}
	return isNumber(err, tooManyConns, tooManyUserConn)
}

// Fault turns an error of the connection into [ErrUnavailable], which is ambiguous unless nothing can have been sent.
// Faults, errors of a context and answers of the server are returned as they are.
func Fault(err error) error {
	if err == nil || isContext(err) {
		return err
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	switch {
	case isRefused(err) || errors.Is(err, driver.ErrBadConn):
		return ErrUnavailable.Wrap(err).NotExecuted()
	case isLost(err):
		return ErrUnavailable.Wrap(err)
	}
	return err
}

// notExecuted is Fault for a transaction that was certainly not committed.
func notExecuted(err error) error {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		if errors.Is(e, ErrUnavailable) {
			return e.NotExecuted()
		}
		return err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fault.ErrTimeout.Wrap(err).NotExecuted()
	case errors.Is(err, context.Canceled):
		return fault.ErrCanceled.Wrap(err).NotExecuted()
	case isRefused(err) || isLost(err):
		return ErrUnavailable.Wrap(err).NotExecuted()
	}
	return err
}

package lesson

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/pkg/database"
	"holdfast/pkg/wait"
)

// blocked reports whether the connection waits for a row lock. It asks the monitor of InnoDB: the tables of lock waits
// of MariaDB are a copy that may be a tenth of a second old, or older while other clients read it.
func (s *shelf) blocked(ctx context.Context, connection int64) (bool, error) {
	var kind, name, status string
	err := s.db.QueryRowContext(ctx, "SHOW ENGINE INNODB STATUS").Scan(&kind, &name, &status)
	if database.IsDenied(err) {
		return s.executes(ctx, connection)
	}
	if err != nil {
		return false, err
	}
	return waitsIn(status, connection), nil
}

// thread is the line of the monitor that names a transaction's connection.
var thread = regexp.MustCompile(`(?m)^(?:MySQL|MariaDB) thread id (\d+),`)

// waitsIn reports whether the monitor's text has a transaction of the connection that waits for a lock. The section of
// the last deadlock comes first and has such transactions too, of the past.
func waitsIn(status string, connection int64) bool {
	return strings.Contains(transactionIn(status, connection), "LOCK WAIT")
}

// transactionIn returns the part of the monitor's text about the open transaction of a connection; empty: it has none.
func transactionIn(status string, connection int64) string {
	_, now, _ := strings.Cut(status, "\nTRANSACTIONS\n")
	for transaction := range strings.SplitSeq(now, "\n---TRANSACTION ") {
		id := thread.FindStringSubmatch(transaction)
		if id != nil && id[1] == strconv.FormatInt(connection, 10) {
			return transaction
		}
	}
	return ""
}

// rowLocks is what the monitor says about a transaction's record locks.
var rowLocks = regexp.MustCompile(`(\d+) row lock\(s\)`)

// rowLocksIn returns the number of record locks that the monitor's text has for the connection's open transaction.
func rowLocksIn(status string, connection int64) int64 {
	found := rowLocks.FindStringSubmatch(transactionIn(status, connection))
	if found == nil {
		return 0
	}
	n, _ := strconv.ParseInt(found[1], 10, 64) // digits
	return n
}

// longStatement is longer than a statement takes that does not wait. On a busy machine a quick statement may take tens
// of milliseconds, and a lesson that took it for a waiting one would go on too early.
const longStatement = 300 * time.Millisecond

// executes reports whether the connection has executed a statement at every look since longStatement ago. It is for a
// user who may not see locks.
func (s *shelf) executes(ctx context.Context, connection int64) (bool, error) {
	var n int
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.processlist WHERE id = ? AND command = 'Query'", connection).Scan(&n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || n == 0 {
		delete(s.executing, connection)
		return false, err
	}
	since, seen := s.executing[connection]
	if !seen {
		since = time.Now()
		s.executing[connection] = since
	}
	return time.Since(since) >= longStatement, nil
}

// Lock waits by their connections, with the waiting statement, the table, and the index and the record that is locked.
const (
	mariaDBLockWaits = `SELECT r.trx_mysql_thread_id, b.trx_mysql_thread_id, COALESCE(r.trx_query, ''), l.lock_table,
	COALESCE(l.lock_index, ''), COALESCE(l.lock_data, '')
FROM information_schema.innodb_lock_waits w
JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_trx_id
JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id
JOIN information_schema.innodb_locks l ON l.lock_id = w.requested_lock_id`
	mysqlLockWaits = `SELECT r.processlist_id, b.processlist_id, COALESCE(r.processlist_info, ''),
	CONCAT(l.object_schema, '.', l.object_name), COALESCE(l.index_name, ''), COALESCE(l.lock_data, '')
FROM performance_schema.data_lock_waits w
JOIN performance_schema.threads r ON r.thread_id = w.requesting_thread_id
JOIN performance_schema.threads b ON b.thread_id = w.blocking_thread_id
JOIN performance_schema.data_locks l ON l.engine_lock_id = w.requesting_engine_lock_id`
)

// rowWait is a row of the queries above.
type rowWait struct {
	waiting, blocking int64
	statement, table  string
	index, record     string
}

// lockWaitAge is how old MariaDB's tables of lock waits may be.
const lockWaitAge = 110 * time.Millisecond

// lookLocks shows which actor waits for which, as the server's own tables say.
func (s *shelf) lookLocks(ctx context.Context) (step.View, error) {
	v := step.View{Name: step.T("step.locks")}
	settled, cancel := context.WithTimeout(ctx, 5*lockWaitAge)
	defer cancel()
	waits, err := s.settledWaits(settled)
	if database.IsDenied(err) {
		return step.View{Name: step.T("step.locks.denied"), Rows: []string{"-"}}, nil
	}
	if err != nil && settled.Err() == nil {
		return v, err
	}
	for _, w := range waits {
		v.Rows = append(v.Rows, fmt.Sprintf("%s <- %s   %s   %s",
			s.actor(w.waiting), s.actor(w.blocking), tableOf(w.table), oneLine(w.statement)))
	}
	return v, nil
}

// settledWaits returns the lock waits as soon as the server's tables agree with its monitor. If ctx ends before, it
// returns what the tables had last, and ctx's error.
func (s *shelf) settledWaits(ctx context.Context) (waits []rowWait, err error) {
	err = wait.Until(ctx, lockWaitAge, func(ctx context.Context) (same bool, err error) {
		if waits, err = s.lockWaits(ctx); err != nil {
			return false, err
		}
		return s.agree(ctx, waits)
	})
	return waits, err
}

// tableOf returns the table's name without the database's.
func tableOf(name string) string {
	return strings.ReplaceAll(name[strings.LastIndex(name, ".")+1:], "`", "")
}

// agree reports whether the rows are what the monitor says now about the actors.
func (s *shelf) agree(ctx context.Context, waits []rowWait) (bool, error) {
	for connection := range s.names() {
		listed := false
		for _, w := range waits {
			listed = listed || w.waiting == connection
		}
		blocked, err := s.blocked(ctx, connection)
		if err != nil || blocked != listed {
			return false, err
		}
	}
	return true, nil
}

// lockWaits returns the lock waits in which an actor of the lesson waits.
func (s *shelf) lockWaits(ctx context.Context) (waits []rowWait, err error) {
	mariaDB, err := s.isMariaDB(ctx)
	if err != nil {
		return nil, err
	}
	query := mysqlLockWaits
	if mariaDB {
		query = mariaDBLockWaits
	}
	rows, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // rows.Err says what is wrong
	names := s.names()
	for rows.Next() {
		var w rowWait
		if err := rows.Scan(&w.waiting, &w.blocking, &w.statement, &w.table, &w.index, &w.record); err != nil {
			return nil, err
		}
		if names[w.waiting] != "" {
			waits = append(waits, w)
		}
	}
	return waits, rows.Err()
}

func (s *shelf) isMariaDB(ctx context.Context) (bool, error) {
	var version string
	err := s.db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version)
	return strings.Contains(version, "MariaDB"), err
}

// lookRows shows the rows of a query, as other transactions see them.
func (s *shelf) lookRows(name step.Text, query string, args ...any) step.Looker {
	return lookQuery(s.db, name, query, args...)
}

// lookQuery shows the rows of a query.
func lookQuery(db *stdsql.DB, name step.Text, query string, args ...any) step.Looker {
	return func(ctx context.Context) (step.View, error) {
		v := step.View{Name: name}
		rows, err := db.QueryContext(ctx, query, args...)
		if err != nil {
			return v, err
		}
		defer rows.Close() //nolint:errcheck // rows.Err says what is wrong
		columns, err := rows.Columns()
		if err != nil {
			return v, err
		}
		for rows.Next() {
			row, err := scanRow(rows, columns)
			if err != nil {
				return v, err
			}
			v.Rows = append(v.Rows, row)
		}
		return v, rows.Err()
	}
}

// scanRow formats the current row: column=value, in the order of the query.
func scanRow(rows *stdsql.Rows, columns []string) (string, error) {
	values := make([]stdsql.NullString, len(columns))
	pointers := make([]any, len(columns))
	for i := range values {
		pointers[i] = &values[i]
	}
	if err := rows.Scan(pointers...); err != nil {
		return "", err
	}
	cells := make([]string, len(columns))
	for i, v := range values {
		cells[i] = columns[i] + "=" + v.String
		if !v.Valid {
			cells[i] = columns[i] + "=NULL"
		}
	}
	return strings.Join(cells, " "), nil
}

// oneLine joins the lines of a statement.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

package explore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// rollbackPoll is how often the server is asked whether a connection has ended.
const rollbackPoll = time.Millisecond

// kill closes the connection and returns when the server has ended its session: what was open is rolled back then.
func (c *conn) kill(ctx context.Context) error {
	if err := c.Close(); err != nil {
		return fmt.Errorf("close the killed actor's connection: %w", err)
	}
	for end := time.Now().Add(answerTimeout); time.Now().Before(end); time.Sleep(rollbackPoll) {
		var n int
		const query = "SELECT COUNT(*) FROM information_schema.processlist WHERE id = ?"
		if err := c.watch.QueryRowContext(ctx, query, c.id).Scan(&n); err != nil {
			return fmt.Errorf("look for the killed actor's session: %w", err)
		}
		if n == 0 {
			return nil
		}
	}
	return fmt.Errorf("the killed actor's session %d has not ended within %v", c.id, answerTimeout)
}

// blocked reports whether the connection's statement waits for another session, as the server says. It asks the monitor
// of InnoDB: information_schema.innodb_trx is a copy that may be a tenth of a second old, or older while others read
// it.
func (c *conn) blocked(ctx context.Context) (bool, error) {
	var kind, name, status string
	if err := c.watch.QueryRowContext(ctx, "SHOW ENGINE INNODB STATUS").Scan(&kind, &name, &status); err != nil {
		return false, fmt.Errorf("ask whether a statement waits: %w", err)
	}
	if waitsIn(status, c.id) {
		return true, nil
	}
	var state sql.NullString
	err := c.watch.QueryRowContext(ctx, "SELECT state FROM information_schema.processlist WHERE id = ?", c.id).Scan(&state)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, fmt.Errorf("ask whether a statement waits: %w", err)
	}
	// GET_LOCK, LOCK TABLES
	return state.String == "User lock" || strings.HasPrefix(state.String, "Waiting for table"), nil
}

// waitsIn reports whether the monitor's text has a transaction of the connection that waits for a lock. The section of
// the last dead lock comes first and has such transactions too, of the past.
func waitsIn(status string, connection int64) bool {
	_, now, _ := strings.Cut(status, "\nTRANSACTIONS\n")
	thread := regexp.MustCompile(fmt.Sprintf(`(?m)^(?:MySQL|MariaDB) thread id %d,`, connection))
	for transaction := range strings.SplitSeq(now, "\n---TRANSACTION ") {
		if thread.MatchString(transaction) {
			return strings.Contains(transaction, "LOCK WAIT")
		}
	}
	return false
}

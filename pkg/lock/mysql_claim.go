package lock

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// mysqlClaim is one pinned connection while it holds its locks. Whatever is doubtful ends with the connection: what
// is not on the server any more holds no lock there.
type mysqlClaim struct {
	backend *mysqlBackend
	set     settings
	names   []string

	mu    sync.Mutex // between the lease and the timer
	conn  *sql.Conn  // nil: closed, or given back
	timer *time.Timer
	ended error // why it was closed
}

var _ claim = (*mysqlClaim)(nil)

// take implements claim. It never waits for a lock while it holds another, so two who want the same locks in different
// orders cannot deadlock (the server's error 3058) and one who waits for [a b] leaves a to others: it takes what is free,
// gives it all back when one is not, waits for that one with empty hands, and takes the others then.
func (c *mysqlClaim) take(ctx context.Context, patience time.Duration) (grant, error) {
	sent := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience+mysqlTimeout)
	defer cancel()
	conn, err := c.backend.db.Conn(ctx)
	if err != nil {
		return grant{}, unavailable(err)
	}
	held, err := c.takeAll(ctx, conn, -1)
	if err == nil && held >= 0 && patience > 0 {
		sent, held, err = c.queue(ctx, conn, held, patience)
	}
	switch {
	case err != nil:
		discard(conn)
		return grant{}, unavailable(err)
	case held >= 0:
		if err := conn.Close(); err != nil {
			return grant{}, unavailable(err)
		}
		return grant{}, &heldError{left: 0}
	}
	set := c.set
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	c.timer = time.AfterFunc(time.Until(sent.Add(set.ttl)), c.expire)
	return grant{until: sent.Add(set.ttl - set.drift())}, nil
}

// queue waits for the lock that is held, and takes the others when it has it.
func (c *mysqlClaim) queue(ctx context.Context, conn *sql.Conn, wanted int, patience time.Duration) (sent time.Time, held int, err error) {
	// A waiter's second is not the lease's: the validity counts from when the wait was over, and no earlier than that
	// is the lock surely ours.
	ok, err := getLock(ctx, conn, c.names[wanted], patience)
	sent = time.Now()
	if err != nil || !ok {
		return sent, wanted, err
	}
	held, err = c.takeAll(ctx, conn, wanted)
	return sent, held, err
}

// takeAll takes all locks but the one that the connection has already (-1: it has none), or gives back what it has and
// returns the first that somebody else holds.
func (c *mysqlClaim) takeAll(ctx context.Context, conn *sql.Conn, have int) (held int, err error) {
	for i, name := range c.names {
		if i == have {
			continue
		}
		ok, err := getLock(ctx, conn, name, 0)
		if err != nil {
			return -1, err
		}
		if !ok {
			return i, c.giveBack(ctx, conn, i, have)
		}
	}
	return -1, nil
}

// giveBack releases the locks before the one that was held, and the one that the connection had.
func (c *mysqlClaim) giveBack(ctx context.Context, conn *sql.Conn, before, have int) error {
	for i, name := range c.names {
		if i < before || i == have {
			if ok, err := releaseLock(ctx, conn, name); err != nil || !ok {
				return errors.Join(err, fmt.Errorf("lock %s could not be given back", name))
			}
		}
	}
	return nil
}

// giveUp implements claim: a waiter that has left the server's queue leaves nothing behind.
func (c *mysqlClaim) giveUp(context.Context) {}

// extend implements claim: there is no time to set, so it asks whether the locks are still this connection's.
func (c *mysqlClaim) extend(ctx context.Context, ttl time.Duration) (time.Time, error) {
	sent := time.Now()
	// Not under the lease's context: a release must wait for the answer and not break the connection.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mysqlTimeout)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return time.Time{}, c.ended
	}
	ours, err := c.ours(ctx)
	switch {
	case err != nil:
		// The driver has given the connection up, or will: no later answer could be trusted.
		return time.Time{}, c.end(fmt.Errorf("%w: the connection broke: %v", ErrLost, err)) //nolint:errorlint // A deadline of ours is no caller's.
	case !ours:
		return time.Time{}, c.end(fmt.Errorf("%w: the connection does not hold its locks any more", ErrLost))
	case !c.timer.Reset(time.Until(sent.Add(ttl))):
		return time.Time{}, c.end(errExpired) // the timer waits for the mutex to do the same
	}
	return sent.Add(ttl - c.set.drift()), nil
}

func (c *mysqlClaim) ours(ctx context.Context) (bool, error) {
	args := make([]any, len(c.names))
	for i, name := range c.names {
		args[i] = name
	}
	var ours sql.NullBool // NULL: nobody holds one of them
	query := "SELECT IS_USED_LOCK(?) = CONNECTION_ID()" + strings.Repeat(" AND IS_USED_LOCK(?) = CONNECTION_ID()", len(args)-1)
	err := c.conn.QueryRowContext(ctx, query, args...).Scan(&ours)
	return ours.Valid && ours.Bool, err
}

// drop implements claim. It is done when the connection is closed instead: the server frees its locks then.
func (c *mysqlClaim) drop(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return c.ended
	}
	lost := false
	for _, name := range c.names {
		ok, err := releaseLock(ctx, c.conn, name)
		if err != nil {
			return c.end(unavailable(err))
		}
		lost = lost || !ok
	}
	if lost {
		return c.end(fmt.Errorf("%w: a key was another owner's or nobody's at the end", ErrLost))
	}
	c.timer.Stop()
	conn := c.conn
	c.conn, c.ended = nil, errors.New("lock: released before")
	if err := conn.Close(); err != nil {
		return unavailable(err)
	}
	return nil
}

var errExpired = fmt.Errorf("%w: nobody renewed it in time", ErrLost)

// expire does what the TTL does elsewhere: it frees the locks of a lease that nobody renewed or released.
func (c *mysqlClaim) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.end(errExpired)
	}
}

// end closes the connection and returns why; the caller has locked c.
func (c *mysqlClaim) end(why error) error {
	c.timer.Stop()
	discard(c.conn)
	c.conn, c.ended = nil, why
	return why
}

// mysqlTimeout bounds one call. It is generous, as a call that ran out of time costs the connection and so the lease.
const mysqlTimeout = releaseTimeout

// discard closes the connection for good; Close would give it back to the pool with its locks.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

// getLock waits for whole seconds, as MySQL knows no others.
func getLock(ctx context.Context, conn *sql.Conn, name string, wait time.Duration) (bool, error) {
	return ask(ctx, conn, "SELECT GET_LOCK(?, ?)", name, int(wait/time.Second))
}

func releaseLock(ctx context.Context, conn *sql.Conn, name string) (bool, error) {
	return ask(ctx, conn, "SELECT RELEASE_LOCK(?)", name)
}

// ask runs one of the server's lock functions: 1 is yes, 0 is no, and NULL an error or, from RELEASE_LOCK, a lock that
// nobody holds.
func ask(ctx context.Context, conn *sql.Conn, query string, args ...any) (bool, error) {
	var answer sql.NullInt64
	err := conn.QueryRowContext(ctx, query, args...).Scan(&answer)
	return answer.Valid && answer.Int64 == 1, err
}

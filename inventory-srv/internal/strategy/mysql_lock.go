package strategy

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// MySQLLock takes a named lock of the server for each SKU of the order, and holds them until its transaction has
// committed.
//
// Idea:        queue the contenders in the database, but not on the row: a named lock belongs to no table and no
// transaction.
// Statements:  on a connection of its own SELECT GET_LOCK(…), a SKU each, in SKU order; on another one the guarded
// UPDATEs of Conditional and COMMIT; only then, on the first one, SELECT RELEASE_ALL_LOCKS().
// Goes wrong:  the lock belongs to its connection. When that breaks, the server frees the lock while the transaction on
// the other connection continues, and two holders work at once; there is no fencing token, so the condition in the
// UPDATE decides. A connection that returns to its pool with a lock keeps it. Names are common to all databases of the
// server, not to its replicas.
// Cost:        a round trip for each SKU and one for the release; a connection for each order that waits or works.
// Choose it:   one worker at a time for what is no row, a migration for example, without another server. For stock, the
// row lock of ForUpdate ends with its transaction, whatever breaks.
//
// Transcript of mysql-lock, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	SELECT GET_LOCK(SHA2(CONCAT(DATABASE(), '/stock/', 'CAP'), 256), <seconds>)
//	SELECT GET_LOCK(SHA2(CONCAT(DATABASE(), '/stock/', 'MUG'), 256), <seconds>)
//	START TRANSACTION
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2', 'reserved', '<hash>', 'mysql-lock')
//	    ON DUPLICATE KEY UPDATE order_no = order_no
//	UPDATE stock
//	    SET available = available - 1, reserved = reserved + 1, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'CAP' AND layout = 'row' AND available >= 1
//	UPDATE stock
//	    SET available = available - 2, reserved = reserved + 2, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'MUG' AND layout = 'row' AND available >= 2
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2', 'CAP', 1, 250), ('ORDER-2', 'MUG', 2, 250)
//	COMMIT
//	SELECT RELEASE_ALL_LOCKS()
type MySQLLock struct {
	rowStock // Confirm and Release, common to the row layout
	pool     *sql.DB
	log      *slog.Logger
	lost     prometheus.Counter
}

var _ stock.Reserver = (*MySQLLock)(nil)

// DefaultLockPool is the number of connections that MySQLLock has at most for its locks.
const DefaultLockPool = 32

// OpenLockPool opens the connections of MySQLLock's locks, at most maxOpen at a time. They are a pool of their own: if
// waiting orders pinned the connections of the ledger, the order that has the lock would find none for its transaction.
// The caller closes the pool.
func OpenLockPool(ctx context.Context, dsn string, maxOpen int, log *slog.Logger) (*sql.DB, error) {
	db, err := database.Open(ctx, dsn, database.Options{MaxOpen: maxOpen, Log: log})
	if err != nil {
		return nil, err
	}
	return db.DB()
}

func newMySQLLock(d Deps) stock.Reserver {
	return &MySQLLock{
		rowStock: rowStock{ledger: d.Ledger}, pool: d.LockPool, log: d.Log,
		lost: promauto.With(d.Registry).NewCounter(prometheus.CounterOpts{
			Name: "stock_mysql_lock_lost_total", Help: "Reserves during which the connection that held their named locks was lost.",
		}),
	}
}

// Reserve implements stock.Reserver.
func (s *MySQLLock) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	if err := s.ledger.Refuse(ctx, r); err != nil {
		return stock.Receipt{}, err
	}
	conn, err := s.lock(ctx, r)
	if err != nil {
		return stock.Receipt{}, notLocked(ctx, err, database.ErrUnavailable)
	}
	defer s.unlock(ctx, conn, r)
	return s.ledger.Reserve(ctx, r, deductConditionally)
}

// lock returns the connection that holds the locks of the order's SKUs. All orders lock in SKU order, so that no two of
// them wait for each other.
func (s *MySQLLock) lock(ctx context.Context, r stock.Request) (*sql.Conn, error) {
	conn, err := s.pool.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a connection for the locks: %w", err)
	}
	for _, sku := range slices.Sorted(slices.Values(r.SKUs())) {
		if err := getLock(ctx, conn, sku); err != nil {
			discard(conn)
			return nil, err
		}
	}
	return conn, nil
}

// getLock waits for the SKU's lock until ctx ends, and returns stock.ErrContended when the server's own wait, in whole
// seconds, has ended before. A name has at most 64 characters, as many as SHA2-256 has in hex. The database's name is a
// part of it, as names are common to all databases of the server.
func getLock(ctx context.Context, conn *sql.Conn, sku string) error {
	wait := time.Minute
	if deadline, ok := ctx.Deadline(); ok {
		wait = time.Until(deadline)
	}
	var got sql.NullBool // NULL is an error of the server
	err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(SHA2(CONCAT(DATABASE(), '/stock/', ?), 256), ?)",
		sku, int64(wait/time.Second)+1).Scan(&got)
	switch {
	case err != nil:
		return fmt.Errorf("lock %s: %w", sku, err)
	case !got.Valid:
		return fmt.Errorf("lock %s: GET_LOCK returned NULL", sku)
	case !got.Bool:
		return stock.ErrContended.With("sku", sku)
	}
	return nil
}

// unlock frees the locks and returns the connection to the pool. It works with a cancelled ctx, too. If the locks were
// lost before, another order may have worked at the same time: what was reserved stands, as the guarded UPDATE decided.
func (s *MySQLLock) unlock(ctx context.Context, conn *sql.Conn, r stock.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	var freed int
	err := conn.QueryRowContext(ctx, "SELECT RELEASE_ALL_LOCKS()").Scan(&freed)
	if err != nil || freed != len(r.Lines) {
		s.lost.Inc()
		s.log.WarnContext(ctx, "named locks lost while reserving", "order_no", r.OrderNo, "freed", freed, "locks", len(r.Lines), "err", err)
		discard(conn)
		return
	}
	_ = conn.Close() // returns it to the pool
}

// discard ends the connection, and with it its locks; Close alone would return both to the pool.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

package strategy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/lock"
)

// RedisLock takes a lease on all SKUs of the order and works on the stock rows for as long as the lease holds.
//
// Idea:        queue the contenders in Redis, outside the database, which then sees one of them at a time.
// Statements:  the lease; UPDATE … SET fence = ? … AND fence < ? (the claim); SELECT; UPDATE … SET available = ?;
// COMMIT; only then the end of the lease.
// Goes wrong:  leases end. Unlocked before commit, the next one reads old stock; without the claim, a holder that slept
// past the end overwrites the next one's sale; a fence checked only at the write comes after the read it should guard.
// Cost:        two round trips to Redis and one statement more than ForUpdate, and no sale at all while Redis is down.
// Choose it:   contenders must not fill the database's connections. For the stock's sake alone ForUpdate does as much
// with less: here the lock buys the queue, and the claim's row lock is what makes it exact.
//
// Transcript of redis-lock, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	Redis: EVALSHA acquire.lua 6 {lock:}key:stock:CAP {lock:}key:stock:MUG {lock:}fence {lock:}ticket
//	      {lock:}keep:stock:CAP {lock:}keep:stock:MUG <owner>:1 <owner> 8000 2 -1 500
//	Redis:   GET {lock:}key:stock:CAP
//	Redis:   GET {lock:}keep:stock:CAP
//	Redis:   GET {lock:}key:stock:MUG
//	Redis:   GET {lock:}keep:stock:MUG
//	Redis:   INCR {lock:}fence
//	Redis:   SET {lock:}key:stock:CAP <owner>:1 PX 8000
//	Redis:   SET {lock:}key:stock:MUG <owner>:1 PX 8000
//	START TRANSACTION
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2', 'reserved', '<hash>', 'redis-lock')
//	    ON DUPLICATE KEY UPDATE order_no = order_no
//	UPDATE stock SET fence = 2, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = 'CAP' AND fence < 2
//	UPDATE stock SET fence = 2, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = 'MUG' AND fence < 2
//	SELECT sku, layout, lab, available, reserved, version
//	    FROM stock FORCE INDEX (PRIMARY)
//	    WHERE sku IN ('CAP','MUG') ORDER BY sku
//	UPDATE stock
//	    SET available = 998, reserved = 2, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'CAP'
//	UPDATE stock
//	    SET available = 996, reserved = 4, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'MUG'
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2', 'CAP', 1, 250), ('ORDER-2', 'MUG', 2, 250)
//	COMMIT
//	Redis: EVALSHA release.lua 2 {lock:}key:stock:CAP {lock:}key:stock:MUG <owner>:1 {lock:}freed
//	Redis:   GET {lock:}key:stock:CAP
//	Redis:   DEL {lock:}key:stock:CAP
//	Redis:   PUBLISH {lock:}freed {lock:}key:stock:CAP
//	Redis:   GET {lock:}key:stock:MUG
//	Redis:   DEL {lock:}key:stock:MUG
//	Redis:   PUBLISH {lock:}freed {lock:}key:stock:MUG
type RedisLock struct {
	rowStock // Confirm and Release, common to the row layout
	locker   Locker
	log      *slog.Logger
	leased   leased
	stale    prometheus.Counter
}

var _ stock.Reserver = (*RedisLock)(nil)

// Locker is what RedisLock needs of pkg/lock.
type Locker interface {
	Acquirer
	Raise(ctx context.Context, key string, atLeast int64) error
}

func newRedisLock(d Deps) stock.Reserver {
	metrics := promauto.With(d.Registry)
	return &RedisLock{
		rowStock: rowStock{ledger: d.Ledger}, locker: d.Locker, log: d.Log,
		stale: metrics.NewCounter(prometheus.CounterOpts{
			Name: "stock_stale_fence_total", Help: "Claims that the stock row refused because it has seen a newer fencing token.",
		}),
		leased: leased{log: d.Log, lost: metrics.NewCounter(prometheus.CounterOpts{
			Name: "stock_lease_lost_total", Help: "Reserves that were cut because their lease was lost or too old.",
		})},
	}
}

// Reserve implements stock.Reserver. A holder whose lease has ended acquires a new one, until ctx ends.
func (s *RedisLock) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	// An order for a SKU that does not exist is refused before it waits for a lock.
	if err := s.ledger.Refuse(ctx, r); err != nil {
		return stock.Receipt{}, err
	}
	return s.leased.reserve(ctx, s.locker, r, func(work context.Context, lease *lock.Lease) (stock.Receipt, error) {
		receipt, err := s.ledger.Reserve(work, r, func(tx *gorm.DB, lines []stock.Line) error {
			if err := s.claim(tx, lease, lines); err != nil {
				return err
			}
			rows, err := readRows(tx, lines, "")
			if err != nil {
				return err
			}
			if err := rows.take(lines); err != nil {
				return err
			}
			return rows.save(tx)
		})
		return receipt, s.explain(ctx, r, err)
	})
}

// claim writes the lease's tokens onto the stock rows before anything is read from them. It refuses a holder whose
// lease ended and was given to another, and its row lock keeps a later holder waiting until this transaction ends.
func (s *RedisLock) claim(tx *gorm.DB, lease *lock.Lease, lines []stock.Line) error {
	for _, l := range lines {
		token := lease.Token(LockKey(l.SKU))
		if token == 0 {
			return fmt.Errorf("claim %s: the lock gave no fencing token", l.SKU)
		}
		res := tx.Exec("UPDATE stock SET fence = ?, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ? AND fence < ?",
			token, l.SKU, token)
		if res.Error != nil {
			return fmt.Errorf("claim %s: %w", l.SKU, res.Error)
		}
		if res.RowsAffected == 0 {
			return s.refused(tx, l.SKU, token)
		}
	}
	return nil
}

// staleError is a claim that its row refused.
type staleError struct {
	sku   string
	token int64 // ours
	fence int64 // the row's
}

// Error implements error.
func (e *staleError) Error() string {
	return fmt.Sprintf("claim %s with token %d: the row has seen %d", e.sku, e.token, e.fence)
}

// Unwrap makes a stale claim both what pkg/lock calls it and the contention that it is to a caller.
func (e *staleError) Unwrap() []error { return []error{lock.ErrStale, stock.ErrStaleFence} }

// refused returns why a claim changed no row.
func (s *RedisLock) refused(tx *gorm.DB, sku string, token int64) error {
	var fence []int64
	if err := tx.Raw("SELECT fence FROM stock WHERE sku = ?", sku).Scan(&fence).Error; err != nil {
		return fmt.Errorf("read the fence of %s: %w", sku, err)
	}
	if len(fence) == 0 {
		return stock.UnknownSKU(sku)
	}
	return &staleError{sku: sku, token: token, fence: fence[0]}
}

// explain makes a stale claim a reason for a new lease, after the counter was raised. Either another holder overtook
// this one, or Redis has lost its counter; then no token would be new enough for any row. So the counter is raised
// above all of them at once.
func (s *RedisLock) explain(ctx context.Context, r stock.Request, err error) error {
	stale, ok := errors.AsType[*staleError](err)
	if !ok {
		return err
	}
	s.stale.Inc()
	s.log.WarnContext(ctx, "stale fencing token, raising the counter",
		"order_no", r.OrderNo, "sku", stale.sku, "token", stale.token, "fence", stale.fence)
	newest, readErr := s.ledger.NewestFence(ctx)
	if readErr != nil {
		return readErr
	}
	if err := s.locker.Raise(ctx, LockKey(stale.sku), newest); err != nil {
		return notLocked(ctx, err, errRedis)
	}
	return fmt.Errorf("%w: %w", errAgain, err)
}

package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// LogState is the state of an order in the coordinator's log of the flow tcc.
type LogState string

// A row is Trying while its order is PENDING, and Tried while it is PLACED. The next three are phases, which the
// coordinator executes until they succeed.
const (
	LogTrying     LogState = "trying"
	LogTried      LogState = "tried"
	LogConfirming LogState = "confirming"
	LogCancelling LogState = "cancelling"
	LogRefunding  LogState = "refunding"
	LogDone       LogState = "done"
)

// logLook is how long after the time at which its order should have ended the coordinator looks at a row that was not
// changed: a replica of a version that does not know the flow may have ended the order.
const logLook = time.Minute

// BeginLog writes the rows of orders that are inserted. Call it in their transaction: there is then no order without a
// row, and what a crash leaves behind can be found.
func (tx *Tx) BeginLog(orders []order.Order) error {
	var args []any
	for _, o := range orders {
		args = append(args, o.OrderNo, o.UserID, LogTrying, logLook.Microseconds())
	}
	const row = "(?, ?, ?, TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6)), "
	rows := strings.TrimSuffix(strings.Repeat(row, len(orders)), ", ")
	// A transaction that is repeated after a COMMIT of unknown outcome may find the rows.
	err := tx.db.Exec("INSERT INTO tcc_log (order_no, user_id, state, next_at, created_at, updated_at) VALUES "+rows+" ON DUPLICATE KEY UPDATE order_no = tcc_log.order_no", args...).Error
	if err != nil {
		return fmt.Errorf("write the coordinator's log: %w", err)
	}
	return nil
}

// FollowLog has the rows of orders follow their statuses. Call it in the transaction that changes a status: what is to
// be confirmed or cancelled is then decided with the order, and no crash comes between the two.
func (tx *Tx) FollowLog(orderNos []string) error { return followLog(tx.db, orderNos, "") }

// followLog sets each row to the state that its order's status asks for. An order that was REJECTED and is settled took
// nothing from anybody, so there is nothing to cancel.
func followLog(tx *gorm.DB, orderNos []string, guard string) error {
	err := tx.Exec(`UPDATE tcc_log AS t FORCE INDEX (PRIMARY) JOIN orders AS o ON o.order_no = t.order_no SET
		t.state = CASE o.status WHEN 'PENDING' THEN 'trying' WHEN 'PLACED' THEN 'tried' WHEN 'PAID' THEN 'confirming' WHEN 'REFUND_DUE' THEN 'refunding'
			WHEN 'REJECTED' THEN IF(o.settled_at IS NULL, 'cancelling', 'done') ELSE 'cancelling' END,
		t.next_at = CASE o.status WHEN 'PENDING' THEN TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))
			WHEN 'PLACED' THEN TIMESTAMPADD(MICROSECOND, ?, GREATEST(o.expires_at, UTC_TIMESTAMP(6)))
			WHEN 'REJECTED' THEN IF(o.settled_at IS NULL, UTC_TIMESTAMP(6), NULL) ELSE UTC_TIMESTAMP(6) END,
		t.amount_cents = COALESCE(o.amount_cents, t.amount_cents), t.attempts = 0, t.failure = '', t.updated_at = UTC_TIMESTAMP(6)
		WHERE t.order_no IN ?`+guard, logLook.Microseconds(), logLook.Microseconds(), orderNos).Error
	if err != nil {
		return fmt.Errorf("have the coordinator's log follow: %w", err)
	}
	return nil
}

// LeaveLog deletes the rows of orders that leave. An order whose phase is not done is an error.
func (tx *Tx) LeaveLog(orderNos []string) error {
	return tx.leaveLog("tcc_log", "order_no", string(LogDone), orderNos)
}

// leaveLog deletes rows of a coordinator's log, with the order's number in key, that are done. One that is not done is
// an error.
func (tx *Tx) leaveLog(table, key, done string, orderNos []string) error {
	if err := tx.db.Exec("DELETE FROM "+table+" WHERE "+key+" IN ? AND state = ?", orderNos, done).Error; err != nil {
		return fmt.Errorf("delete from the coordinator's log: %w", err)
	}
	var open []struct{ OrderNo, State string }
	err := tx.db.Raw("SELECT "+key+" AS order_no, state FROM "+table+" WHERE "+key+" IN ? LIMIT 1", orderNos).Scan(&open).Error
	if err != nil {
		return fmt.Errorf("look for rows of the coordinator's log that are not done: %w", err)
	}
	if len(open) > 0 {
		return fmt.Errorf("order %s is %s in the coordinator's log", open[0].OrderNo, open[0].State)
	}
	return nil
}

// Phase is a row of the log that was claimed.
type Phase struct {
	OrderNo, UserID string
	AmountCents     int64 // 0: unknown, the order was never PLACED
	State           LogState
	Attempts        int // with this one
}

// ClaimPhases claims up to limit rows that are due: for the time of lease no replica gets them again. A replica that
// dies loses its claims with the lease. Rows that were only to be looked at follow their orders, and are not returned.
// n is how many rows were due.
func (s *Store) ClaimPhases(ctx context.Context, limit int, lease time.Duration) (phases []Phase, n int, err error) {
	var due bool
	err = s.db.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM tcc_log FORCE INDEX (tcc_log_due) WHERE next_at <= UTC_TIMESTAMP(6))").Row().Scan(&due)
	if err != nil || !due { // as a rule: one statement, and no transaction
		return nil, 0, database.Fault(err)
	}
	var rows []Phase
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		rows = nil
		err := tx.Raw(`SELECT order_no, user_id, COALESCE(amount_cents, 0) AS amount_cents, state, attempts + 1 AS attempts FROM tcc_log FORCE INDEX (tcc_log_due)
			WHERE next_at <= UTC_TIMESTAMP(6) ORDER BY next_at LIMIT ? FOR UPDATE SKIP LOCKED`, limit).Scan(&rows).Error
		if err != nil || len(rows) == 0 {
			return err
		}
		orderNos := make([]string, len(rows))
		for i, r := range rows {
			orderNos[i] = r.OrderNo
		}
		return tx.Exec("UPDATE tcc_log SET attempts = attempts + 1, next_at = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) WHERE order_no IN ?",
			lease.Microseconds(), orderNos).Error
	})
	if err != nil {
		return nil, 0, fmt.Errorf("claim phases: %w", err)
	}
	var open []string
	for _, r := range rows {
		if r.State == LogTrying || r.State == LogTried {
			open = append(open, r.OrderNo)
			continue
		}
		phases = append(phases, r)
	}
	return phases, len(rows), s.followLate(ctx, open)
}

// followLate has rows follow that were not changed when their orders should have ended. It locks the orders before
// the log, as all others do; an order that is locked is being ended.
func (s *Store) followLate(ctx context.Context, orderNos []string) error {
	if len(orderNos) == 0 {
		return nil
	}
	return database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		var free []string
		err := tx.Raw("SELECT order_no FROM orders FORCE INDEX (PRIMARY) WHERE order_no IN ? ORDER BY order_no FOR UPDATE SKIP LOCKED", orderNos).Scan(&free).Error
		if err != nil || len(free) == 0 {
			return err
		}
		return followLog(tx, free, " AND t.state IN ('trying', 'tried')")
	})
}

// EndPhases records that phases were executed. A row whose order has changed since it was claimed stays as it is: it
// has another phase now. An order that needed more than one attempt is recorded as healed by the coordinator.
func (s *Store) EndPhases(ctx context.Context, phases []Phase) error {
	byState := map[LogState][]string{}
	var healed []string
	for _, p := range phases {
		byState[p.State] = append(byState[p.State], p.OrderNo)
		if p.Attempts > 1 {
			healed = append(healed, p.OrderNo)
		}
	}
	slices.Sort(healed) // the replicas lock the rows in one order
	return database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		for _, state := range []LogState{LogConfirming, LogCancelling, LogRefunding} {
			if len(byState[state]) == 0 {
				continue
			}
			err := tx.Exec("UPDATE tcc_log SET state = 'done', next_at = NULL, failure = '', updated_at = UTC_TIMESTAMP(6) WHERE order_no IN ? AND state = ?",
				byState[state], state).Error
			if err != nil {
				return fmt.Errorf("end phases: %w", err)
			}
		}
		_, err := heal(tx, Coordinator, actionPhase, healed...)
		return err
	})
}

// RetryPhase records that an attempt has failed, and when the next one is due. A row whose order has changed, or that
// another replica has claimed since, stays as it is.
func (s *Store) RetryPhase(ctx context.Context, p Phase, pause time.Duration, failure string) error {
	_, err := database.Exec(ctx, s.db, `UPDATE tcc_log SET next_at = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)), failure = ?
		WHERE order_no = ? AND state = ? AND attempts = ?`, pause.Microseconds(), database.Clip(failure, 255), p.OrderNo, p.State, p.Attempts)
	if err != nil {
		return fmt.Errorf("put off the phase of %s: %w", p.OrderNo, err)
	}
	return nil
}

// InDoubt is how many orders are in a state of the log, and for how long the oldest has been.
type InDoubt struct {
	State  LogState
	Orders int
	Oldest time.Duration
}

// InDoubt returns the states of the log in which there are orders, without done.
func (s *Store) InDoubt(ctx context.Context) ([]InDoubt, error) {
	var rows []struct {
		State  LogState
		Orders int
		Micros int64
	}
	err := s.db.WithContext(ctx).Raw(`SELECT state, COUNT(*) AS orders, MAX(TIMESTAMPDIFF(MICROSECOND, updated_at, UTC_TIMESTAMP(6))) AS micros
		FROM tcc_log FORCE INDEX (tcc_log_due) WHERE next_at IS NOT NULL GROUP BY state`).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read what is in doubt: %w", database.Fault(err))
	}
	found := make([]InDoubt, len(rows))
	for i, r := range rows {
		found[i] = InDoubt{r.State, r.Orders, time.Duration(r.Micros) * time.Microsecond}
	}
	return found, nil
}

// AuditedLog is a row of the log with its order's status of the same moment.
type AuditedLog struct {
	OrderNo, UserID string
	AmountCents     int64
	State           LogState
	Status          order.Status // "": there is no order
}

const selectLogs = `SELECT t.order_no, t.user_id, COALESCE(t.amount_cents, 0) AS amount_cents, t.state, COALESCE(o.status, '') AS status
	FROM tcc_log AS t LEFT JOIN orders AS o ON o.order_no = t.order_no `

// LogUsed reports whether an order was ever placed by the flow tcc.
func (s *Store) LogUsed(ctx context.Context) (used bool, err error) {
	if err := s.db.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM tcc_log)").Row().Scan(&used); err != nil {
		return false, fmt.Errorf("look into the coordinator's log: %w", database.Fault(err))
	}
	return used, nil
}

// AuditLogs returns up to limit rows after an order number, up to another ("": to the end), with open only those that
// are not done.
func (s *Store) AuditLogs(ctx context.Context, after, to string, open bool, limit int) (found []AuditedLog, err error) {
	where, args := "WHERE t.order_no > ?", []any{after}
	if to != "" {
		where, args = where+" AND t.order_no <= ?", append(args, to)
	}
	if open {
		where += " AND t.next_at IS NOT NULL"
	}
	err = s.db.WithContext(ctx).Raw(selectLogs+where+" ORDER BY t.order_no LIMIT ?", append(args, limit)...).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read the coordinator's log: %w", database.Fault(err))
	}
	return found, nil
}

// LogsOf returns the rows of those of the orders that have one.
func (s *Store) LogsOf(ctx context.Context, orderNos []string) (found []AuditedLog, err error) {
	if len(orderNos) == 0 {
		return nil, nil
	}
	if err := s.db.WithContext(ctx).Raw(selectLogs+"WHERE t.order_no IN ?", orderNos).Scan(&found).Error; err != nil {
		return nil, fmt.Errorf("read the coordinator's log: %w", database.Fault(err))
	}
	return found, nil
}

package store

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// The states of an audit.
const (
	AuditQueued  = "queued"
	AuditRunning = "running"
	AuditDone    = "done"
	AuditFailed  = "failed"
)

const (
	keptAudits = 20  // that have ended
	maxFailure = 255 // characters of an audit's failure: the width of the column
)

// Audit is a job that checks both ledgers.
type Audit struct {
	ID          string
	State       string
	Everything  bool   // settled history is proven again
	Checked     int64  // orders read so far
	Reached     string // the last of them
	RequestedAt time.Time
	StartedAt   stdsql.NullTime
	EndedAt     stdsql.NullTime
	Report      stdsql.NullString // JSON
	Failure     string
}

const auditColumns = "id, state, everything, checked, reached, requested_at, started_at, ended_at, report, failure"

// RollUp is the settled history that audits have proven: totals over the orders up to the cut-off.
type RollUp struct {
	Cutoff string
	Totals string        // JSON
	Age    time.Duration // since the proof of all history began
	Known  string        // what that proof has found about the sums of SKUs; "": nothing
}

// RequestAudit queues an audit and returns its id. An audit that is queued and has not begun serves the request too:
// what it reads, it reads later. Old audits leave.
func (s *Store) RequestAudit(ctx context.Context, everything bool) (id string, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		if err := lockAudits(tx); err != nil {
			return err
		}
		var queued []string
		if err := tx.Raw("SELECT id FROM audits WHERE state = 'queued'").Scan(&queued).Error; err != nil {
			return fmt.Errorf("look for a queued audit: %w", err)
		}
		if len(queued) > 0 {
			id = queued[0]
			return tx.Exec("UPDATE audits SET everything = everything OR ? WHERE id = ?", everything, id).Error
		}
		id = ulid.Make().String()
		err := tx.Exec("INSERT INTO audits (id, state, everything, requested_at) VALUES (?, 'queued', ?, UTC_TIMESTAMP(6))", id, everything).Error
		if err != nil {
			return fmt.Errorf("queue an audit: %w", err)
		}
		return forgetAudits(tx)
	})
	return id, err
}

// lockAudits makes the transactions that decide about audits follow one another.
func lockAudits(tx *gorm.DB) error {
	var id int
	if err := tx.Raw("SELECT id FROM audit_rollup WHERE id = 1 FOR UPDATE").Row().Scan(&id); err != nil {
		return fmt.Errorf("lock the audits: %w", err)
	}
	return nil
}

func forgetAudits(tx *gorm.DB) error {
	var oldest []string
	err := tx.Raw("SELECT id FROM audits WHERE state IN ('done', 'failed') ORDER BY id DESC LIMIT 1 OFFSET ?", keptAudits-1).Scan(&oldest).Error
	if err != nil || len(oldest) == 0 {
		return err
	}
	return tx.Exec("DELETE FROM audits WHERE state IN ('done', 'failed') AND id < ?", oldest[0]).Error
}

// Audit returns an audit, or order.ErrUnknownAudit.
func (s *Store) Audit(ctx context.Context, id string) (Audit, error) {
	var found []Audit
	if err := s.db.WithContext(ctx).Raw("SELECT "+auditColumns+" FROM audits WHERE id = ?", id).Scan(&found).Error; err != nil {
		return Audit{}, fmt.Errorf("read an audit: %w", database.Fault(err))
	}
	if len(found) == 0 {
		return Audit{}, order.ErrUnknownAudit
	}
	return found[0], nil
}

// ClaimAudit leases the oldest audit that has not ended; ok is false when none exists, or another replica runs one.
// An audit that runs and has no lease belonged to a replica that died. owner must be new for each claim.
func (s *Store) ClaimAudit(ctx context.Context, owner string, lease time.Duration) (a Audit, ok bool, err error) {
	var waiting bool
	err = s.db.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM audits WHERE state IN ('queued', 'running'))").Row().Scan(&waiting)
	if err != nil || !waiting { // as a rule
		return a, false, database.Fault(err)
	}
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		ok = false
		res := tx.Exec(`UPDATE audit_rollup SET owner = ?, lease_until = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))
			WHERE id = 1 AND lease_until <= UTC_TIMESTAMP(6)`, owner, lease.Microseconds())
		if res.Error != nil || res.RowsAffected == 0 {
			return res.Error
		}
		var found []Audit
		if err := tx.Raw("SELECT " + auditColumns + " FROM audits WHERE state IN ('queued', 'running') ORDER BY id LIMIT 1").Scan(&found).Error; err != nil {
			return err
		}
		if len(found) == 0 {
			return endLease(tx, owner)
		}
		a, ok = found[0], true
		return tx.Exec("UPDATE audits SET state = 'running', started_at = COALESCE(started_at, UTC_TIMESTAMP(6)) WHERE id = ?", a.ID).Error
	})
	if err != nil {
		return a, false, fmt.Errorf("claim an audit: %w", err)
	}
	return a, ok, nil
}

func endLease(tx *gorm.DB, owner string) error {
	return tx.Exec("UPDATE audit_rollup SET owner = '', lease_until = UTC_TIMESTAMP(6) WHERE id = 1 AND owner = ?", owner).Error
}

// LeaveAudit ends owner's lease, so that another replica goes on with the audit.
func (s *Store) LeaveAudit(ctx context.Context, owner string) error {
	return database.InTx(ctx, s.db, func(tx *gorm.DB) error { return endLease(tx, owner) })
}

// ErrAuditLost is an audit whose lease ran out: another replica may be running it.
var ErrAuditLost = errors.New("the lease of the audit was lost")

// owned runs fn in a transaction in which owner holds the lease, or returns ErrAuditLost.
func (s *Store) owned(ctx context.Context, owner string, fn func(tx *gorm.DB) error) error {
	return database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		var held bool
		err := tx.Raw("SELECT owner = ? AND lease_until > UTC_TIMESTAMP(6) FROM audit_rollup WHERE id = 1 FOR UPDATE", owner).Row().Scan(&held)
		if err != nil {
			return fmt.Errorf("look for the audit's lease: %w", err)
		}
		if !held {
			return ErrAuditLost
		}
		return fn(tx)
	})
}

// RenewAudit extends owner's lease and records how far the audit is.
func (s *Store) RenewAudit(ctx context.Context, owner string, lease time.Duration, a Audit) error {
	return s.owned(ctx, owner, func(tx *gorm.DB) error {
		err := tx.Exec("UPDATE audit_rollup SET lease_until = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) WHERE id = 1", lease.Microseconds()).Error
		if err != nil {
			return err
		}
		return tx.Exec("UPDATE audits SET checked = ?, reached = ? WHERE id = ?", a.Checked, a.Reached, a.ID).Error
	})
}

// EndAudit records how the audit has ended, and ends owner's lease.
func (s *Store) EndAudit(ctx context.Context, owner string, a Audit) error {
	err := s.owned(ctx, owner, func(tx *gorm.DB) error {
		err := tx.Exec("UPDATE audits SET state = ?, checked = ?, reached = ?, report = ?, failure = ?, ended_at = UTC_TIMESTAMP(6) WHERE id = ?",
			a.State, a.Checked, a.Reached, a.Report, database.Clip(a.Failure, maxFailure), a.ID).Error
		if err != nil {
			return err
		}
		return endLease(tx, owner)
	})
	if err != nil {
		return fmt.Errorf("end the audit: %w", err)
	}
	return nil
}

// RolledUp returns the roll-up.
func (s *Store) RolledUp(ctx context.Context) (RollUp, error) {
	var r RollUp
	var micros int64
	err := s.db.WithContext(ctx).Raw("SELECT cutoff, totals, TIMESTAMPDIFF(MICROSECOND, begun_at, UTC_TIMESTAMP(6)), COALESCE(known, '') FROM audit_rollup WHERE id = 1").
		Row().Scan(&r.Cutoff, &r.Totals, &micros, &r.Known)
	if err != nil {
		return r, fmt.Errorf("read the roll-up: %w", database.Fault(err))
	}
	r.Age = time.Duration(micros) * time.Microsecond
	return r, nil
}

// SetRollUp replaces the roll-up, or returns ErrAuditLost. With begin the proof of all history begins now.
func (s *Store) SetRollUp(ctx context.Context, owner string, r RollUp, begin bool) error {
	err := s.owned(ctx, owner, func(tx *gorm.DB) error {
		return tx.Exec("UPDATE audit_rollup SET cutoff = ?, totals = ?, begun_at = IF(?, UTC_TIMESTAMP(6), begun_at) WHERE id = 1", r.Cutoff, r.Totals, begin).Error
	})
	if err != nil {
		return fmt.Errorf("write the roll-up: %w", err)
	}
	return nil
}

// SetKnown records what the proof of all history has found about the sums of SKUs, or returns ErrAuditLost.
func (s *Store) SetKnown(ctx context.Context, owner, known string) error {
	err := s.owned(ctx, owner, func(tx *gorm.DB) error {
		return tx.Exec("UPDATE audit_rollup SET known = ? WHERE id = 1", known).Error
	})
	if err != nil {
		return fmt.Errorf("record what the proof has found: %w", err)
	}
	return nil
}

// AuditedOrder is what an audit reads of an order.
type AuditedOrder struct {
	OrderNo, UserID, Key string // Key is the idempotency key, also one that the order has freed
	Flow                 string
	Status               order.Status
	Settled, Freed       bool
	Archived             bool
	ExpiresAt            time.Time // zero: none
	Lines                map[string]int64
}

// auditPage reads the next orders of an audit, in order.
const auditPage = `SELECT order_no, user_id, COALESCE(idempotency_key, freed_key, '') AS idem, flow, status, settled_at IS NOT NULL AS settled,
	idempotency_key IS NULL AND freed_key IS NOT NULL AS freed, expires_at, 0 AS archived FROM orders WHERE order_no > ? ORDER BY order_no LIMIT ?`

// auditArchivePage is auditPage with the archived orders.
const auditArchivePage = "SELECT * FROM ((" + auditPage + `) UNION ALL (SELECT order_no, user_id, COALESCE(idempotency_key, ''), flow, status,
	settled_at IS NOT NULL, 0, expires_at, 1 FROM orders_archive WHERE order_no > ? ORDER BY order_no LIMIT ?)) AS p ORDER BY order_no LIMIT ?`

// AuditPage returns up to limit orders after an order number, archived or not, in order, and the time before they were
// read. An order's lines are read after it, and never change once it is placed. No order leaves while an audit has its
// lease.
func (s *Store) AuditPage(ctx context.Context, after string, limit int) (orders []AuditedOrder, readAt time.Time, err error) {
	db := s.db.WithContext(ctx)
	var archivedTo string
	if err := db.Raw("SELECT UTC_TIMESTAMP(6), archived_to FROM retention WHERE id = 1").Row().Scan(&readAt, &archivedTo); err != nil {
		return nil, readAt, fmt.Errorf("read the clock: %w", database.Fault(err))
	}
	query, args := auditPage, []any{after, limit}
	inArchive := after < archivedTo
	if inArchive {
		query, args = auditArchivePage, []any{after, limit, after, limit, limit}
	}
	rows, err := db.Raw(query, args...).Rows()
	if err != nil {
		return nil, readAt, fmt.Errorf("read orders: %w", database.Fault(err))
	}
	defer rows.Close() //nolint:errcheck // Err below
	place := make(map[string]int, limit)
	for rows.Next() {
		var o AuditedOrder
		var expires stdsql.NullTime
		if err := rows.Scan(&o.OrderNo, &o.UserID, &o.Key, &o.Flow, &o.Status, &o.Settled, &o.Freed, &expires, &o.Archived); err != nil {
			return nil, readAt, fmt.Errorf("read an order: %w", err)
		}
		o.ExpiresAt, o.Lines = expires.Time, make(map[string]int64, 1)
		place[o.OrderNo] = len(orders)
		orders = append(orders, o)
	}
	if err := rows.Err(); err != nil || len(orders) == 0 {
		return nil, readAt, database.Fault(err)
	}
	return orders, readAt, addLines(db, orders, place, inArchive)
}

func addLines(db *gorm.DB, orders []AuditedOrder, place map[string]int, inArchive bool) error {
	first, last := orders[0].OrderNo, orders[len(orders)-1].OrderNo
	query, args := "SELECT order_no, sku, quantity FROM order_items WHERE order_no BETWEEN ? AND ?", []any{first, last}
	if inArchive {
		query, args = query+" UNION ALL SELECT order_no, sku, quantity FROM order_items_archive WHERE order_no BETWEEN ? AND ?", append(args, first, last)
	}
	rows, err := db.Raw(query, args...).Rows()
	if err != nil {
		return fmt.Errorf("read items: %w", database.Fault(err))
	}
	defer rows.Close() //nolint:errcheck // Err below
	for rows.Next() {
		var orderNo, sku string
		var quantity int64
		if err := rows.Scan(&orderNo, &sku, &quantity); err != nil {
			return fmt.Errorf("read an item: %w", err)
		}
		if i, ok := place[orderNo]; ok { // else the order was inserted after the page was read
			orders[i].Lines[sku] = quantity
		}
	}
	return database.Fault(rows.Err())
}

// SameKey returns another order of the user that has or had the idempotency key and is neither REJECTED nor ABANDONED;
// ok is false when none exists.
func (s *Store) SameKey(ctx context.Context, userID, key, orderNo string) (o AuditedOrder, ok bool, err error) {
	var found []AuditedOrder
	err = s.db.WithContext(ctx).Raw(`SELECT order_no, status FROM orders WHERE user_id = ? AND idempotency_key = ? AND order_no <> ?
		AND status NOT IN ('REJECTED', 'ABANDONED')
		UNION ALL SELECT order_no, status FROM orders WHERE user_id = ? AND freed_key = ? AND order_no <> ?
		AND status NOT IN ('REJECTED', 'ABANDONED') LIMIT 1`, userID, key, orderNo, userID, key, orderNo).Scan(&found).Error
	if err != nil || len(found) == 0 {
		return o, false, database.Fault(err)
	}
	return found[0], true, nil
}

// LinesOf returns the lines of those of the orders that there are.
func (s *Store) LinesOf(ctx context.Context, orderNos []string) (map[string]map[string]int64, error) {
	lines := make(map[string]map[string]int64, len(orderNos))
	if len(orderNos) == 0 {
		return lines, nil
	}
	var rows []struct {
		OrderNo, SKU string
		Quantity     int64
	}
	err := s.db.WithContext(ctx).Raw(`SELECT o.order_no, COALESCE(i.sku, '') AS sku, COALESCE(i.quantity, 0) AS quantity
		FROM orders o LEFT JOIN order_items i ON i.order_no = o.order_no WHERE o.order_no IN ?`, orderNos).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the lines of orders: %w", database.Fault(err))
	}
	for _, r := range rows {
		if lines[r.OrderNo] == nil {
			lines[r.OrderNo] = map[string]int64{}
		}
		if r.SKU != "" {
			lines[r.OrderNo][r.SKU] = r.Quantity
		}
	}
	return lines, nil
}

package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// archiveStep is how many orders, messages or healings one transaction of the retention reads: some ten milliseconds of
// the server's time.
const archiveStep = 500

// Retention is how far the retention is and how far it may go.
type Retention struct {
	ArchivedTo string // no order up to this number is in orders
	Limit      string // the orders up to this number are older than the retention, and an audit has proven them
	Target     string // the orders up to this number are older than the retention
	Cutoff     string // of the audits' roll-up
	Ready      bool   // no replica of a version runs that reads only orders by other keys, see WriteLean
}

// Retention returns the state of the retention for orders that are older than age, by the database's clock.
func (s *Store) Retention(ctx context.Context, age time.Duration) (Retention, error) {
	f, err := s.form(ctx)
	if err != nil {
		return Retention{}, err
	}
	r := Retention{Target: lastNumber(f.Now.Add(-age)), Ready: f.Stage == stageDone}
	err = s.db.WithContext(ctx).Raw("SELECT r.archived_to, a.cutoff FROM retention AS r JOIN audit_rollup AS a ON a.id = 1 WHERE r.id = 1").
		Row().Scan(&r.ArchivedTo, &r.Cutoff)
	if err != nil {
		return Retention{}, fmt.Errorf("read the state of the retention: %w", database.Fault(err))
	}
	r.Limit = min(r.Target, r.Cutoff)
	return r, nil
}

// Unproven reports whether there are at least count orders after an order number, up to another.
func (s *Store) Unproven(ctx context.Context, after, to string, count int) (bool, error) {
	var found []numbered
	err := s.db.WithContext(ctx).Raw(`SELECT order_no, flow FROM orders FORCE INDEX (PRIMARY) WHERE order_no > ? AND order_no <= ?
		ORDER BY order_no LIMIT 1 OFFSET ?`, after, to, count-1).Scan(&found).Error
	if err != nil {
		return false, fmt.Errorf("look for orders that are not proven: %w", database.Fault(err))
	}
	return len(found) > 0, nil
}

// ClaimHistory leases the history for the retention, with the lease under which audits run: an audit reads the orders
// and then their reservations, so none must leave in between. ok is false while an audit runs or waits, or another
// replica has the lease. owner must be new for each claim. LeaveAudit ends the lease.
func (s *Store) ClaimHistory(ctx context.Context, owner string, lease time.Duration) (ok bool, err error) {
	n, err := database.Exec(ctx, s.db, `UPDATE audit_rollup SET owner = ?, lease_until = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))
		WHERE id = 1 AND lease_until <= UTC_TIMESTAMP(6) AND NOT EXISTS (SELECT 1 FROM audits WHERE state IN ('queued', 'running'))`,
		owner, lease.Microseconds())
	if err != nil {
		return false, fmt.Errorf("lease the history: %w", err)
	}
	return n == 1, nil
}

// AuditWaits reports whether an audit is queued.
func (s *Store) AuditWaits(ctx context.Context) (waits bool, err error) {
	err = s.db.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM audits WHERE state = 'queued')").Row().Scan(&waits)
	if err != nil {
		return false, fmt.Errorf("look for a queued audit: %w", database.Fault(err))
	}
	return waits, nil
}

// ArchiveStep is what a step of Archive has done.
type ArchiveStep struct {
	ArchivedTo string
	Archived   int  // paid orders that have moved to the archive
	Deleted    int  // other orders that were deleted
	More       bool // there may be more orders up to the number
}

// leaving is what a step reads of an order.
type leaving struct {
	OrderNo, Flow string
	Status        order.Status
	Settled       bool
}

// Archive takes the next step of the retention, under owner's lease of the history: the next orders, up to an order
// number, leave the table orders. Orders that were paid move to the archive with their items; the others are deleted,
// and their keys and answers with them. It returns ErrAuditLost without the lease, and an error when the number is
// beyond what an audit has proven or an order has not ended: then nothing leaves.
//
// A step is one transaction, so a replica that dies in it leaves nothing half done.
func (s *Store) Archive(ctx context.Context, owner, to string) (step ArchiveStep, err error) {
	err = s.owned(ctx, owner, func(tx *gorm.DB) error {
		step = ArchiveStep{}
		var cutoff string
		err := tx.Raw("SELECT r.archived_to, a.cutoff FROM retention AS r JOIN audit_rollup AS a ON a.id = 1 WHERE r.id = 1").
			Row().Scan(&step.ArchivedTo, &cutoff)
		if err != nil {
			return fmt.Errorf("read the cut-off: %w", err)
		}
		if to > cutoff {
			return fmt.Errorf("no audit has proven the orders up to %s", to)
		}
		if step.ArchivedTo >= to {
			return nil
		}
		var page []leaving
		err = tx.Raw(`SELECT order_no, flow, status, settled_at IS NOT NULL AS settled FROM orders FORCE INDEX (PRIMARY)
			WHERE order_no > ? AND order_no <= ? ORDER BY order_no LIMIT ? FOR UPDATE`, step.ArchivedTo, to, archiveStep).Scan(&page).Error
		if err != nil {
			return fmt.Errorf("lock the next orders: %w", err)
		}
		if err := s.leave(tx, page, &step); err != nil {
			return err
		}
		step.ArchivedTo, step.More = to, len(page) == archiveStep
		if step.More {
			step.ArchivedTo = page[len(page)-1].OrderNo
		}
		return tx.Exec("UPDATE retention SET archived_to = ? WHERE id = 1", step.ArchivedTo).Error
	})
	if err != nil {
		return ArchiveStep{}, fmt.Errorf("archive orders: %w", err)
	}
	return step, nil
}

// kept reports that an order is archived: money was paid for it.
func kept(s order.Status) bool { return s == order.Paid || s == order.RefundDue }

// leave archives or deletes the orders of a page, whose rows are locked.
func (s *Store) leave(tx *gorm.DB, page []leaving, step *ArchiveStep) error {
	if len(page) == 0 {
		return nil
	}
	byFlow := map[string][]string{}
	for _, o := range page {
		if !o.Settled || o.Status == order.Pending || o.Status == order.Placed {
			return fmt.Errorf("order %s, which is %s, has not ended or is not settled", o.OrderNo, o.Status)
		}
		if kept(o.Status) {
			step.Archived++
		}
		byFlow[o.Flow] = append(byFlow[o.Flow], o.OrderNo)
	}
	step.Deleted = len(page) - step.Archived
	const archived = `order_no, group_id, user_id, idempotency_key, status, reason, amount_cents, flow, strategy, created_at, updated_at,
		expires_at, paid_at, settled_at`
	const items = "i.order_no, i.sku, i.title, i.quantity, i.unit_price_cents"
	first, last := page[0].OrderNo, page[len(page)-1].OrderNo
	for _, query := range []string{
		"INSERT INTO orders_archive (" + archived + ") SELECT " + archived + ` FROM orders FORCE INDEX (PRIMARY)
			WHERE order_no BETWEEN ? AND ? AND status IN ('PAID', 'REFUND_DUE')`,
		"INSERT INTO order_items_archive (" + strings.ReplaceAll(items, "i.", "") + ") SELECT " + items + ` FROM orders AS o FORCE INDEX (PRIMARY)
			JOIN order_items AS i ON i.order_no = o.order_no WHERE o.order_no BETWEEN ? AND ? AND o.status IN ('PAID', 'REFUND_DUE')`,
		"DELETE FROM order_items WHERE order_no BETWEEN ? AND ?",
		"DELETE FROM notifications WHERE order_no BETWEEN ? AND ?", // what the archive keeps is the order
	} {
		if err := tx.Exec(query, first, last).Error; err != nil {
			return fmt.Errorf("move orders to the archive: %w", err)
		}
	}
	res := tx.Exec("DELETE FROM orders WHERE order_no BETWEEN ? AND ?", first, last)
	if res.Error != nil {
		return fmt.Errorf("delete orders: %w", res.Error)
	}
	if res.RowsAffected != int64(len(page)) {
		return fmt.Errorf("%d orders were read and %d deleted: one was inserted between them", len(page), res.RowsAffected)
	}
	if s.flows == nil {
		return nil
	}
	for name, orderNos := range byFlow {
		if err := s.flows.Left(&Tx{db: tx}, name, orderNos); err != nil {
			return err
		}
	}
	return nil
}

// DeleteOld deletes messages that were sent, and healings that were made, before an order number was made: up to a
// step's worth of each. more reports that there may be others. No event of an order up to the number is written any
// more.
func (s *Store) DeleteOld(ctx context.Context, orderNo string) (n int, more bool, err error) {
	id, err := ulid.ParseStrict(orderNo)
	if err != nil {
		return 0, false, fmt.Errorf("read the time of %s: %w", orderNo, err)
	}
	before := id.Timestamp().UTC()
	messages, err := s.outbox.DeleteSent(ctx, before, archiveStep)
	if err != nil {
		return 0, false, err
	}
	healings, err := database.Exec(ctx, s.db, "DELETE FROM healings WHERE healed_at < ? ORDER BY healed_at LIMIT ?", before, archiveStep)
	if err != nil {
		return messages, false, fmt.Errorf("delete healings: %w", err)
	}
	return messages + int(healings), messages == archiveStep || healings == archiveStep, nil
}

// ProvenTo returns the order number up to which every reservation is known to belong to an order that has ended: an
// audit has proven it, or the reservations have been archived.
func (s *Store) ProvenTo(ctx context.Context) (orderNo string, err error) {
	err = s.db.WithContext(ctx).Raw("SELECT GREATEST(r.archived_to, a.cutoff) FROM retention AS r JOIN audit_rollup AS a ON a.id = 1 WHERE r.id = 1").
		Row().Scan(&orderNo)
	if err != nil {
		return "", fmt.Errorf("read what is proven: %w", database.Fault(err))
	}
	return orderNo, nil
}

package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// statusBatch is how many orders one statement reads.
const statusBatch = 1000

// Statuses returns the status of each of the orders that there is.
func (s *Store) Statuses(ctx context.Context, orderNos []string) (map[string]order.Status, error) {
	found := make(map[string]order.Status, len(orderNos))
	for batch := range slices.Chunk(orderNos, statusBatch) {
		var rows []struct {
			OrderNo string
			Status  order.Status
		}
		err := s.db.WithContext(ctx).Raw("SELECT order_no, status FROM orders WHERE order_no IN ?", batch).Scan(&rows).Error
		if err != nil {
			return nil, fmt.Errorf("read the orders' statuses: %w", database.Fault(err))
		}
		for _, r := range rows {
			found[r.OrderNo] = r.Status
		}
	}
	return found, nil
}

// abandonBatch is how many orders one transaction abandons: enough to share the cost of its COMMIT, few enough that its
// row locks are short.
const abandonBatch = 500

// Abandon ends those of the orders that are still PENDING and older than age as ABANDONED, several hundred in a
// transaction, and returns how many it ended. An order's idempotency key is freed, so that a retry with the key places
// a new order. With giveBack it asks inventory by message to release the orders; otherwise the caller does. by is
// recorded as their healer.
//
// A row that another transaction has locked is skipped: that transaction is ending the order. The caller finds the
// order's status with [Store.Statuses]. Errors are those of database.InTx and end the call; a transaction that was
// repeated counts once.
func (s *Store) Abandon(ctx context.Context, orderNos []string, age time.Duration, giveBack bool, by Healer) (n int, err error) {
	for batch := range slices.Chunk(slices.Sorted(slices.Values(orderNos)), abandonBatch) {
		won, err := s.abandon(ctx, batch, age, giveBack, by)
		if err != nil {
			return n, fmt.Errorf("abandon: %w", err)
		}
		n += won
	}
	return n, nil
}

// abandon is one transaction. Its row locks are taken in order of the order numbers, as FORCE INDEX keeps the server
// from reading along another index.
func (s *Store) abandon(ctx context.Context, orderNos []string, age time.Duration, giveBack bool, by Healer) (n int, err error) {
	var old []string
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		old = nil
		var pending []pendingRow
		err := tx.Raw(`SELECT order_no, group_id, flow FROM orders FORCE INDEX (PRIMARY) WHERE order_no IN ? AND status = 'PENDING'
			AND created_at < TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) ORDER BY order_no FOR UPDATE SKIP LOCKED`,
			orderNos, -age.Microseconds()).Scan(&pending).Error
		if err != nil || len(pending) == 0 {
			return err
		}
		var members []member
		byFlow := map[string][]string{}
		for _, o := range pending {
			old = append(old, o.OrderNo)
			members = append(members, member{o.OrderNo, o.GroupID})
			byFlow[o.Flow] = append(byFlow[o.Flow], o.OrderNo)
		}
		if _, err := (change{from: order.Pending, to: order.Abandoned, set: freeKey}).apply(tx, old...); err != nil {
			return err
		}
		if err := s.decided(tx, byFlow); err != nil {
			return err
		}
		if giveBack {
			if err := release(tx, "abandoned", members...); err != nil {
				return err
			}
		}
		_, err = heal(tx, by, actionAbandoned, old...)
		return err
	})
	if err != nil || len(old) == 0 {
		return 0, err
	}
	s.count(order.Abandoned, len(old))
	s.woken(old)
	if giveBack {
		s.outbox.Kick()
	}
	return len(old), nil
}

// Settle records that inventory agrees with the orders in this status. An order whose status has changed is not
// settled: inventory agreed to the old one. n is how many orders this call settled.
func (s *Store) Settle(ctx context.Context, status order.Status, orderNos []string) (n int64, err error) {
	return s.settle(ctx, status, orderNos, NoHealer, "")
}

// MarkReconciled is Settle for an order that the reconciler has confirmed or released at inventory. n is 1 for the
// first replica that records it, also if another replica has settled the order in between.
func (s *Store) MarkReconciled(ctx context.Context, status order.Status, orderNo string) (n int64, err error) {
	action := actionReleased
	if status == order.Paid {
		action = actionConfirmed
	}
	return s.settle(ctx, status, []string{orderNo}, Reconciler, action)
}

func (s *Store) settle(ctx context.Context, status order.Status, orderNos []string, by Healer, action string) (n int64, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		res := tx.Exec("UPDATE orders SET settled_at = UTC_TIMESTAMP(6), due_at = NULL WHERE order_no IN ? AND status = ? AND settled_at IS NULL", orderNos, status)
		n = res.RowsAffected
		if res.Error != nil || by == NoHealer {
			return res.Error
		}
		var err error
		n, err = heal(tx, by, action, orderNos...)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("settle: %w", err)
	}
	return n, nil
}

// RefundDue turns a PAID order into REFUND_DUE: inventory refused to confirm it, so the buyer gets the money back. An
// order that inventory has confirmed is settled and never changes. won reports whether this call changed the order.
func (s *Store) RefundDue(ctx context.Context, orderNo, reason string) (won bool, err error) {
	err = s.inTx(ctx, orderNo, order.RefundDue, func(tx *gorm.DB) error {
		n, err := change{from: order.Paid, to: order.RefundDue, set: ", reason = ?", setArgs: []any{reason}, guard: " AND settled_at IS NULL"}.apply(tx, orderNo)
		if won = n == 1; err != nil || !won {
			return err
		}
		if _, err := heal(tx, Reconciler, actionRefund, orderNo); err != nil || s.flows == nil {
			return err
		}
		o, err := one(tx, "order_no = ?", orderNo)
		if err != nil {
			return err
		}
		return s.flows.Ended(&Tx{db: tx}, o)
	})
	if err != nil || !won {
		return false, err
	}
	s.count(order.RefundDue, 1)
	return true, nil
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// XAState is the state of an order in the coordinator's log of the flow xa.
type XAState string

// XACommit and XAAbort are decided, and not yet executed by both branches.
const (
	XAPreparing XAState = "preparing"
	XACommit    XAState = "commit"
	XAAbort     XAState = "abort"
	XADone      XAState = "done"
)

// XA is a row of the log.
type XA struct {
	OrderNo  string
	State    XAState
	Decision XAState       // XACommit or XAAbort, also of a row that is done; "": none
	Age      time.Duration // since the row was written
	Since    time.Duration // since the state began
}

// BeginXA writes the rows of orders that are inserted, in their transaction: no branch is prepared for an order that
// the log does not have.
func (tx *Tx) BeginXA(orders []order.Order) error {
	var args []any
	for _, o := range orders {
		args = append(args, o.OrderNo, XAPreparing)
	}
	rows := strings.TrimSuffix(strings.Repeat("(?, ?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6)), ", len(orders)), ", ")
	// A transaction that is repeated after a COMMIT of unknown outcome may find the rows.
	err := tx.db.Exec("INSERT INTO xa_log (gtrid, state, created_at, open_since) VALUES "+rows+" ON DUPLICATE KEY UPDATE gtrid = gtrid", args...).Error
	if err != nil {
		return fmt.Errorf("write the coordinator's log: %w", err)
	}
	return nil
}

// LeaveXA deletes the rows of orders that leave. An order whose branches have not ended is an error.
func (tx *Tx) LeaveXA(orderNos []string) error {
	return tx.leaveLog("xa_log", "gtrid", string(XADone), orderNos)
}

// PrepareXA makes an order PLACED in a branch, with all that Resolve writes for it, and prepares the branch. Nothing of
// it shows before [Store.CommitXA]. order.ErrNotPending when the order has ended. Other errors are those of
// database.Branches.Prepare.
func (s *Store) PrepareXA(ctx context.Context, d Decision) (placed order.Order, err error) {
	err = s.branches.Prepare(ctx, d.OrderNo, func(tx *gorm.DB) error {
		r, err := resolve(ctx, tx, []Decision{d}, false)
		if err != nil {
			return err
		}
		if len(r.placed) != 1 {
			return order.ErrNotPending.With("order_no", d.OrderNo)
		}
		placed = r.results[0].Order
		return nil
	})
	return placed, err
}

// DecideXA decides an order of the flow xa that is not decided and older than age. won is false when it was decided
// before, however. The decision is committed when DecideXA returns; after database.ErrCommitUnknown the log has it or
// does not.
func (s *Store) DecideXA(ctx context.Context, orderNo string, decision XAState, age time.Duration) (won bool, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		res := tx.Exec(`UPDATE xa_log SET state = ?, decision = ?, open_since = UTC_TIMESTAMP(6) WHERE gtrid = ? AND state = 'preparing'
			AND created_at <= TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))`, decision, decision, orderNo, -age.Microseconds())
		won = res.RowsAffected == 1
		return res.Error
	})
	if err != nil {
		return false, fmt.Errorf("decide %s: %w", orderNo, err)
	}
	return won, nil
}

// CommitXA commits the branch that made an order PLACED. A repeat succeeds. order.ErrNotFound or a text when there is
// no such branch and the order is not PLACED: the branch was rolled back, although it was decided to commit it.
func (s *Store) CommitXA(ctx context.Context, orderNo string) error {
	found, err := s.branches.Commit(ctx, orderNo)
	if err != nil {
		return fmt.Errorf("commit the branch of %s: %w", orderNo, err)
	}
	// The row that the branch wrote decides. The server does not know a branch that it has committed before, and MariaDB
	// has answered OK and committed nothing (ADR 030).
	status, err := s.statusOf(ctx, orderNo)
	if err == nil && (status == order.Pending || status == order.Rejected || status == order.Abandoned) {
		err = fmt.Errorf("%w: %s is %s", ErrBranchGone, orderNo, status)
	}
	if err == nil && found {
		s.count(order.Placed, 1)
		s.outbox.Kick()
		s.woken([]string{orderNo})
	}
	return err
}

// ErrBranchGone is a branch that was to be committed, and that the database does not have.
var ErrBranchGone = errors.New("the branch is gone, and what it wrote is not there")

// RollbackXA rolls back an order's branch. It succeeds when none exists.
func (s *Store) RollbackXA(ctx context.Context, orderNo string) error {
	if _, err := s.branches.Rollback(ctx, orderNo); err != nil {
		return fmt.Errorf("roll back the branch of %s: %w", orderNo, err)
	}
	return nil
}

func (s *Store) statusOf(ctx context.Context, orderNo string) (order.Status, error) {
	found, err := s.Statuses(ctx, []string{orderNo})
	if err != nil {
		return "", err
	}
	status, ok := found[orderNo]
	if !ok {
		return "", order.ErrNotFound
	}
	return status, nil
}

// EndXA records that both branches of a decided order have ended. by has done it; NoHealer is the order's own request.
// won is false when it was recorded before.
func (s *Store) EndXA(ctx context.Context, orderNo string, by Healer) (won bool, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		res := tx.Exec("UPDATE xa_log SET state = 'done', open_since = NULL WHERE gtrid = ? AND state IN ('commit', 'abort')", orderNo)
		if won = res.RowsAffected == 1; res.Error != nil || !won {
			return res.Error
		}
		_, err := heal(tx, by, actionBranches, orderNo)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("end %s in the coordinator's log: %w", orderNo, err)
	}
	return won, nil
}

// PreparedXA returns the orders that have a prepared branch in the orders database. database.ErrNoBranches.
func (s *Store) PreparedXA(ctx context.Context) ([]string, error) { return s.branches.Recover(ctx) }

const selectXA = `SELECT gtrid AS order_no, state, decision, TIMESTAMPDIFF(MICROSECOND, created_at, UTC_TIMESTAMP(6)) AS age,
	COALESCE(TIMESTAMPDIFF(MICROSECOND, open_since, UTC_TIMESTAMP(6)), 0) AS since FROM xa_log `

// OpenXA returns up to limit rows of the log that are not done, the oldest first.
func (s *Store) OpenXA(ctx context.Context, limit int) ([]XA, error) {
	return s.logXA(ctx, "FORCE INDEX (xa_log_open) WHERE open_since IS NOT NULL ORDER BY open_since LIMIT ?", limit)
}

// XAOf returns those rows of the orders that there are.
func (s *Store) XAOf(ctx context.Context, orderNos []string) ([]XA, error) {
	if len(orderNos) == 0 {
		return nil, nil
	}
	return s.logXA(ctx, "WHERE gtrid IN ?", slices.Compact(slices.Sorted(slices.Values(orderNos))))
}

func (s *Store) logXA(ctx context.Context, where string, args ...any) ([]XA, error) {
	var found []XA
	if err := s.db.WithContext(ctx).Raw(selectXA+where, args...).Scan(&found).Error; err != nil {
		return nil, fmt.Errorf("read the coordinator's log: %w", database.Fault(err))
	}
	for i := range found { // as the server returns microseconds
		found[i].Age, found[i].Since = found[i].Age*time.Microsecond, found[i].Since*time.Microsecond
	}
	return found, nil
}

// XAUsed reports whether the log has an order.
func (s *Store) XAUsed(ctx context.Context) (used bool, err error) {
	if err := s.db.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM xa_log)").Row().Scan(&used); err != nil {
		return false, fmt.Errorf("look into the coordinator's log: %w", database.Fault(err))
	}
	return used, nil
}

// AuditedXA is a row of the log with its order's status of the same moment.
type AuditedXA struct {
	OrderNo         string
	State, Decision XAState
	Status          order.Status // "": there is no order
}

// AuditXA returns up to limit rows after an order number, up to another ("": to the end), with open only those that are
// not done.
func (s *Store) AuditXA(ctx context.Context, after, to string, open bool, limit int) (found []AuditedXA, err error) {
	where, args := "WHERE x.gtrid > ?", []any{after}
	if to != "" {
		where, args = where+" AND x.gtrid <= ?", append(args, to)
	}
	if open {
		where += " AND x.open_since IS NOT NULL"
	}
	err = s.db.WithContext(ctx).Raw(`SELECT x.gtrid AS order_no, x.state, x.decision, COALESCE(o.status, '') AS status
		FROM xa_log AS x LEFT JOIN orders AS o ON o.order_no = x.gtrid `+where+" ORDER BY x.gtrid LIMIT ?", append(args, limit)...).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read the coordinator's log: %w", database.Fault(err))
	}
	return found, nil
}

// HasXALog reports whether the schema has the log: it has not before its first migration.
func (s *Store) HasXALog(ctx context.Context) (has bool, err error) {
	err = s.db.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'xa_log')").Row().Scan(&has)
	if err != nil {
		return false, fmt.Errorf("look for the coordinator's log: %w", database.Fault(err))
	}
	return has, nil
}

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/crash"
	"holdfast/pkg/database"
)

// Branches are inventory's parts in global transactions; each reserves one order. Only the coordinator, which
// is order-srv, knows how a global transaction ends: Branches prepare, list, and end branches on request.
type Branches struct {
	ledger *Ledger
	// Commits need a connection to free the rows for which Prepare waits, so they have others than Prepare.
	branches, ends *database.Branches
}

// Branches returns the branches of the ledger's database. ends is a pool for listing and ending them; nil: the
// ledger's.
func (l *Ledger) Branches(ends *gorm.DB) *Branches {
	if ends == nil {
		ends = l.db
	}
	return &Branches{ledger: l, branches: database.NewBranches(l.db), ends: database.NewBranches(ends)}
}

// errReplayed is a branch that found the order reserved and wrote nothing.
var errReplayed = errors.New("the order is reserved already")

// Prepare reserves r, whose units deduct takes, in a branch, and prepares the branch. A repeat for a prepared order
// returns its receipt. Errors: the refusals of [Ledger.Reserve]; stock.ErrClosed also when the branch was committed;
// database.ErrContended and database.ErrBranchExists, after which the call may be repeated; database.ErrNoBranches.
// After each of them nothing is prepared unless fault.Ambiguous reports the error.
func (b *Branches) Prepare(ctx context.Context, r stock.Request, deduct Move) (stock.Receipt, error) {
	l := b.ledger
	if err := l.check(r); err != nil {
		return stock.Receipt{}, err
	}
	r = r.Sorted()
	var receipt stock.Receipt
	err := b.branches.Prepare(ctx, r.OrderNo, func(tx *gorm.DB) (err error) {
		wrote := false
		receipt, err = l.reserve(tx, r, func(tx *gorm.DB, lines []stock.Line) error {
			wrote = true
			return deduct(tx, lines)
		})
		if err == nil && !wrote {
			return errReplayed // MariaDB would refuse to commit a branch that only read
		}
		return err
	})
	switch {
	case errors.Is(err, database.ErrBranchExists):
		return b.repeat(ctx, r, err)
	case errors.Is(err, errReplayed):
		return stock.Receipt{}, stock.ErrClosed.WithText("the order's branch has ended").Wrap(err)
	case errors.Is(err, database.ErrContended):
		return stock.Receipt{}, stock.ErrContended.Wrap(err)
	case err != nil:
		return stock.Receipt{}, notExecuted(ctx, fmt.Errorf("prepare %s: %w", r.OrderNo, err))
	}
	crash.At(crash.InventoryBranchPrepared)
	return receipt, nil
}

// repeat answers for a branch that exists. When it is prepared, its receipt is read from what it has written and not
// committed. Otherwise another request works on it, and the caller retries.
func (b *Branches) repeat(ctx context.Context, r stock.Request, exists error) (receipt stock.Receipt, err error) {
	all, err := b.ends.Recover(ctx)
	if err != nil {
		return receipt, err
	}
	if !slices.Contains(all, r.OrderNo) {
		return receipt, stock.ErrContended.Wrap(exists)
	}
	err = database.InTx(ctx, b.ledger.db, func(tx *gorm.DB) error {
		h, known, err := queryHeader(tx, selectHeader+" WHERE order_no = ?", r.OrderNo)
		switch {
		case err != nil:
			return err
		case !known:
			return stock.ErrContended.Wrap(exists) // it has just ended
		case !h.IsFor(r):
			return stock.ErrMismatch
		}
		receipt, err = readReceipt(tx, h)
		return err
	}, database.ReadUncommitted())
	return receipt, err
}

// Commit commits the order's branch. A repeat succeeds. stock.ErrUnknownOrder when there is neither a branch nor a
// reservation: the branch was rolled back, or was never prepared.
func (b *Branches) Commit(ctx context.Context, orderNo string) error {
	if err := stock.CheckOrderNo(orderNo); err != nil {
		return err
	}
	found, err := b.ends.Commit(ctx, orderNo)
	if err != nil {
		return fmt.Errorf("commit the branch of %s: %w", orderNo, err)
	}
	if found {
		crash.At(crash.InventoryBranchCommitted)
	}
	// The row that the branch wrote decides. The server does not know a branch that it has committed before, and MariaDB
	// has answered OK and committed nothing (ADR 030).
	reserved, err := b.reserved(ctx, orderNo)
	if err == nil && !reserved {
		err = stock.ErrUnknownOrder
	}
	return err
}

// Rollback rolls back the order's branch. It succeeds when none exists. stock.ErrMismatch when
// the branch was committed.
func (b *Branches) Rollback(ctx context.Context, orderNo string) error {
	if err := stock.CheckOrderNo(orderNo); err != nil {
		return err
	}
	found, err := b.ends.Rollback(ctx, orderNo)
	if err != nil || found {
		return err
	}
	reserved, err := b.reserved(ctx, orderNo)
	if err == nil && reserved {
		err = stock.ErrMismatch.WithText("the order's branch was committed")
	}
	return err
}

// reserved reports whether the order has a reservation that is not a tombstone.
func (b *Branches) reserved(ctx context.Context, orderNo string) (bool, error) {
	strategy, err := b.ledger.StrategyOf(ctx, orderNo)
	return strategy != "", err
}

// Branch is a prepared branch.
type Branch struct {
	OrderNo string
	Age     time.Duration // since its header was written
	SKUs    []string      // whose stock rows it locks
}

// List returns the prepared branches. What they have written is read without waiting for their locks.
func (b *Branches) List(ctx context.Context) (found []Branch, err error) {
	all, err := b.ends.Recover(ctx)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	var rows []struct {
		OrderNo, SKU string
		Micros       int64
	}
	err = database.InTx(ctx, b.ledger.db, func(tx *gorm.DB) error {
		rows = nil
		return tx.Raw(`SELECT l.order_no, l.sku, TIMESTAMPDIFF(MICROSECOND, r.created_at, UTC_TIMESTAMP(6)) AS micros
			FROM all_reservation_lines AS l JOIN reservations AS r ON r.order_no = l.order_no WHERE l.order_no IN ? ORDER BY l.order_no, l.sku`, all).Scan(&rows).Error
	}, database.ReadUncommitted())
	if err != nil {
		return nil, fmt.Errorf("read what is prepared: %w", err)
	}
	for _, no := range all {
		branch := Branch{OrderNo: no}
		for _, r := range rows {
			if r.OrderNo == no {
				branch.Age, branch.SKUs = time.Duration(r.Micros)*time.Microsecond, append(branch.SKUs, r.SKU)
			}
		}
		found = append(found, branch)
	}
	return found, nil
}

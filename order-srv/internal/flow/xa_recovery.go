package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
)

// StalePending implements Flow.
func (f *XA) StalePending() time.Duration { return f.SweepAfter }

// Recover implements Flow. An order whose row a prepared branch has locked fails alone. An order that the log does not
// have was not decided, so it is abandoned; a branch of it, which the databases list, is rolled back by the recovery.
func (f *XA) Recover(ctx context.Context, orderNos []string) (n int, err error) {
	rows, err := f.ending.XAOf(ctx, orderNos)
	if err != nil {
		return 0, err
	}
	n, failed := f.settleAll(ctx, rows)
	var errs []error
	for _, s := range failed {
		errs = append(errs, s.err)
	}
	var unknown []string
	for _, no := range orderNos {
		if !has(rows, no) {
			unknown = append(unknown, no)
		}
	}
	if len(unknown) > 0 {
		abandoned, err := f.Upkeep.Abandon(ctx, unknown, f.SweepAfter, true, store.Sweeper)
		n, errs = n+abandoned, append(errs, err)
	}
	return n, errors.Join(errs...)
}

func has(rows []store.XA, orderNo string) bool {
	return slices.ContainsFunc(rows, func(r store.XA) bool { return r.OrderNo == orderNo })
}

// Left implements Leaver. An order whose branches have not ended does not leave, and keeps all orders after it: the
// decision would be forgotten with its row.
func (f *XA) Left(tx *store.Tx, orderNos []string) error { return tx.LeaveXA(orderNos) }

// Workers implements Flow.
func (f *XA) Workers() []func(context.Context) { return []func(context.Context){f.recovery} }

// recovery ends what requests have left, until ctx is done. Each replica does; the guard of the decision and the
// database's list of branches keep them apart.
func (f *XA) recovery(ctx context.Context) {
	tick := time.NewTicker(xaPass)
	defer tick.Stop()
	for {
		if err := f.pass(ctx); err != nil && ctx.Err() == nil && f.reminders.due("") {
			f.Log.WarnContext(ctx, "recovery of xa incomplete", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// RecoverMeanwhile implements Recoverer. A branch that is still too young to be aborted would stop ALTER TABLE for as
// long as the server's lock_wait_timeout, so the recovery goes on during the migration.
func (f *XA) RecoverMeanwhile(ctx context.Context) (stop func()) {
	has, err := f.Upkeep.HasXALog(ctx)
	if err != nil {
		f.Log.WarnContext(ctx, "branches of xa not ended before the migration", "err", err)
	}
	if !has {
		return func() {}
	}
	first, done := context.WithTimeout(ctx, xaStart)
	defer done()
	if err := f.pass(first); err != nil {
		f.Log.WarnContext(ctx, "branches of xa not ended before the migration", "err", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { f.recovery(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// pass looks at both sides and at the log, and ends what is to be ended. A side that does not answer is left out: what
// the log has open is tried all the same. A shop that does not use the flow is not asked every second.
func (f *XA) pass(ctx context.Context) error {
	open, err := f.ending.OpenXA(ctx, xaBatch)
	if err != nil {
		return err
	}
	if len(open) == 0 && time.Since(f.used) > xaRest && time.Since(f.listed) < xaRest {
		return nil
	}
	f.listed = time.Now()
	own, errOwn := f.ending.PreparedXA(ctx)
	call, cancel := context.WithTimeout(ctx, xaEnd)
	defer cancel()
	theirs, errTheirs := f.UpkeepBranches.Branches(call)
	f.measure(open, own, theirs, errTheirs)
	if len(open)+len(own)+len(theirs) > 0 || errOwn != nil {
		f.used = time.Now()
	}
	listed := own
	for _, b := range theirs {
		listed = append(listed, b.OrderNo)
	}
	// A branch of an order that is done was prepared late: its request was delayed.
	rows, err := f.ending.XAOf(ctx, listed)
	errs := []error{err, errOwn}
	if errTheirs != nil && len(open) > 0 { // else nobody waits for it
		errs = append(errs, errTheirs)
	}
	if err == nil {
		errs = append(errs, f.rollBackUnknown(ctx, listed, rows))
	}
	for _, row := range open {
		if !has(rows, row.OrderNo) {
			rows = append(rows, row)
		}
	}
	_, failed := f.settleAll(ctx, rows)
	for _, s := range failed {
		f.complain(ctx, s)
	}
	return errors.Join(errs...)
}

// stuck is an order that was not settled.
type stuck struct {
	row store.XA
	err error
}

// complain logs an order that was not settled, unless it was logged a short time ago: each pass finds it again.
func (f *XA) complain(ctx context.Context, s stuck) {
	if ctx.Err() != nil || !f.reminders.due(s.row.OrderNo) {
		return
	}
	if errors.Is(s.err, store.ErrBranchGone) || errors.Is(s.err, inventoryapi.ErrUnknownOrder) || errors.Is(s.err, inventoryapi.ErrMismatch) {
		f.metrics.alarms.Inc()
		f.Log.ErrorContext(ctx, "branch of xa has ended against the decision", "order_no", s.row.OrderNo, "decision", s.row.Decision, "err", s.err)
		return
	}
	f.Log.WarnContext(ctx, "recovery of xa retries an order", "order_no", s.row.OrderNo, "state", s.row.State, "since", s.row.Since, "err", s.err)
}

// settleAll settles rows, some at the same time: an inventory that does not answer costs each row its time, and the
// rows after it hold locks, too.
func (f *XA) settleAll(ctx context.Context, rows []store.XA) (n int, failed []stuck) {
	var mu sync.Mutex
	var running sync.WaitGroup
	slots := make(chan struct{}, xaSettling)
	for _, row := range rows {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			ended, err := f.settle(ctx, row)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, stuck{row, err})
			}
			if ended {
				n++
			}
		})
	}
	running.Wait()
	return n, failed
}

func (f *XA) measure(open []store.XA, own []string, theirs []inventoryapi.Branch, failed error) {
	f.metrics.inDoubt.WithLabelValues("orders").Set(float64(len(own)))
	if failed == nil {
		f.metrics.inDoubt.WithLabelValues("inventory").Set(float64(len(theirs)))
	}
	oldest := time.Duration(0)
	for _, row := range open {
		oldest = max(oldest, row.Since)
	}
	f.metrics.oldest.Set(oldest.Seconds())
}

// rollBackUnknown rolls back branches that the log does not have: it was restored from a backup. What is not in the log
// was not decided, so it is aborted, when its number says that it is old enough.
func (f *XA) rollBackUnknown(ctx context.Context, listed []string, rows []store.XA) error {
	var errs []error
	for _, no := range listed {
		if has(rows, no) {
			continue
		}
		id, err := ulid.ParseStrict(no)
		if err != nil || time.Since(ulid.Time(id.Time())) <= f.SweepAfter {
			continue
		}
		if f.reminders.due(no) {
			f.Log.WarnContext(ctx, "branch rolled back that the coordinator's log does not have", "order_no", no)
		}
		errs = append(errs, f.rollBack(ctx, no, true))
	}
	return errors.Join(errs...)
}

// settle ends the branches of an order as the log says, and decides to abort an old order that is not decided.
func (f *XA) settle(ctx context.Context, row store.XA) (ended bool, err error) {
	switch row.State {
	case store.XAPreparing:
		if row.Age <= f.SweepAfter {
			return false, nil // it is being placed
		}
		if won, err := f.ending.DecideXA(ctx, row.OrderNo, store.XAAbort, f.SweepAfter); err != nil || !won {
			return false, err // the next pass sees what was decided
		}
		row.Decision = store.XAAbort
	case store.XACommit, store.XAAbort:
		if row.Since <= xaGrace {
			return false, nil // its request ends it
		}
	}
	if row.Decision == store.XACommit {
		err = f.commit(ctx, row.OrderNo, store.XARecovery)
	} else {
		err = f.abandon(ctx, row.OrderNo)
	}
	return err == nil, err
}

// abandon rolls back both branches and ends the order. Inventory is also asked by message: its tombstone refuses a call
// to prepare that comes later.
func (f *XA) abandon(ctx context.Context, orderNo string) error {
	if err := f.rollBack(ctx, orderNo, true); err != nil {
		return err
	}
	if _, err := f.Upkeep.Abandon(ctx, []string{orderNo}, 0, true, store.XARecovery); err != nil {
		return err
	}
	found, err := f.Upkeep.Statuses(ctx, []string{orderNo})
	if err != nil {
		return err
	}
	if found[orderNo] == order.Pending { // another transaction has the row
		return fmt.Errorf("abandon %s: its row is locked", orderNo)
	}
	return f.end(ctx, orderNo, store.XAAbort, store.XARecovery)
}

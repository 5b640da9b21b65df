package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"holdfast/pkg/database"
	"holdfast/pkg/wait"
)

// sweepStep is how many orders one step of the sweeper looks at: a few milliseconds of the server's time.
const sweepStep = 2000

// Pending is an order that is PENDING.
type Pending struct {
	OrderNo, Flow string
	Age           time.Duration
}

// Sweep is the sweeper's place in a pass over the orders, in the order of their numbers. The zero Sweep begins at the
// mark, up to which no order is PENDING or will be.
type Sweep struct {
	after  string
	atMark bool // what is after the mark begins at after
}

// Stale returns the PENDING orders among the next orders that are older than age, and the place for the next step, or
// done. A pass that begins at the mark moves the mark up to the first order that is PENDING, or age old.
//
// The mark makes it enough to look at the orders since the last pass. It is safe because an order's number is made by
// the database's clock in the transaction that inserts it, is greater than the mark, and the mark does not move while
// such a transaction runs.
func (s *Store) Stale(ctx context.Context, age time.Duration, at Sweep) (found []Pending, next Sweep, done bool, err error) {
	f, err := s.form(ctx)
	if err != nil {
		return nil, at, true, err
	}
	if f.Stage != stageDone {
		found, err = s.pending(ctx, `SELECT order_no, flow, TIMESTAMPDIFF(MICROSECOND, created_at, UTC_TIMESTAMP(6)) AS micros FROM orders
			WHERE status = 'PENDING' AND created_at < TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) ORDER BY created_at LIMIT ?`, -age.Microseconds(), sweepStep)
		return found, Sweep{}, true, err
	}
	if at.after < f.SweptTo || at == (Sweep{}) {
		at = Sweep{after: f.SweptTo, atMark: true}
	}
	end := lastNumber(f.Now.Add(-age))
	if end <= at.after {
		// The database's clock was set back: its numbers have the time of the mark until it is there again.
		found, err = s.pending(ctx, stalePending+" LIMIT ?", at.after, lastNumber(f.Now.Add(clockBack)), sweepStep)
		return found, Sweep{}, true, err
	}
	if end, done, err = s.stepEnd(ctx, at.after, end); err != nil {
		return nil, at, true, err
	}
	if found, err = s.pending(ctx, stalePending, at.after, end); err != nil {
		return nil, at, true, err
	}
	if at.atMark {
		at.atMark, err = s.passed(ctx, at.after, end, found)
	}
	at.after = end
	if done {
		at = Sweep{}
	}
	return found, at, done, err
}

// clockBack is how far behind the mark a clock may be that was set back.
const clockBack = 24 * time.Hour

// stalePending reads the PENDING orders of a range by the primary key.
const stalePending = `SELECT order_no, flow, TIMESTAMPDIFF(MICROSECOND, created_at, UTC_TIMESTAMP(6)) AS micros
	FROM orders FORCE INDEX (PRIMARY) WHERE order_no > ? AND order_no <= ? AND status = 'PENDING' ORDER BY order_no`

func (s *Store) pending(ctx context.Context, query string, args ...any) ([]Pending, error) {
	var rows []struct {
		OrderNo, Flow string
		Micros        int64
	}
	if err := s.db.WithContext(ctx).Raw(query, args...).Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("find pending orders: %w", database.Fault(err))
	}
	found := make([]Pending, len(rows))
	for i, r := range rows {
		found[i] = Pending{r.OrderNo, r.Flow, time.Duration(r.Micros) * time.Microsecond}
	}
	return found, nil
}

// numbered is an order's number, and a column that is in no key: without one, MySQL reads the whole key in its order
// and not the range.
type numbered struct{ OrderNo, Flow string }

// passed moves the mark to the end of a step, or up to the first order that is PENDING. all: it is at the end.
func (s *Store) passed(ctx context.Context, after, end string, pending []Pending) (all bool, err error) {
	if len(pending) == 0 {
		return s.moveMark(ctx, after, end)
	}
	var before []numbered
	err = s.db.WithContext(ctx).Raw(`SELECT order_no, flow FROM orders FORCE INDEX (PRIMARY) WHERE order_no > ? AND order_no < ?
		ORDER BY order_no DESC LIMIT 1`, after, pending[0].OrderNo).Scan(&before).Error
	if err != nil {
		return false, fmt.Errorf("look for the last order before %s: %w", pending[0].OrderNo, database.Fault(err))
	}
	if len(before) == 0 {
		return false, nil
	}
	_, err = s.moveMark(ctx, after, before[0].OrderNo)
	return false, err
}

// stepEnd is the number at which a step ends. last: the pass ends there, too.
func (s *Store) stepEnd(ctx context.Context, after, limit string) (end string, last bool, err error) {
	var ends []numbered
	err = s.db.WithContext(ctx).Raw(`SELECT order_no, flow FROM orders FORCE INDEX (PRIMARY) WHERE order_no > ? AND order_no <= ?
		ORDER BY order_no LIMIT 1 OFFSET ?`, after, limit, sweepStep-1).Scan(&ends).Error
	if err != nil {
		return "", false, fmt.Errorf("look for the end of a step: %w", database.Fault(err))
	}
	if len(ends) == 0 {
		return limit, true, nil
	}
	return ends[0].OrderNo, false, nil
}

// A transaction that inserts orders takes a few milliseconds; the mark tries to move between two of them.
const (
	markTries = 10
	markPause = 3 * time.Millisecond
)

// moveMark moves the mark, unless an order between is PENDING, another replica has moved it, or transactions that
// insert orders, and may have numbers below to, do not let it. A later pass moves it then.
func (s *Store) moveMark(ctx context.Context, from, to string) (moved bool, err error) {
	for try := 1; ; try++ {
		moved, locked, err := s.tryMark(ctx, from, to)
		if err != nil || !locked || try == markTries {
			return moved, err
		}
		if err := wait.Sleep(ctx, markPause); err != nil {
			return false, err
		}
	}
}

func (s *Store) tryMark(ctx context.Context, from, to string) (moved, locked bool, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		moved, locked = false, false
		var free []string
		err := tx.Raw("SELECT swept_to FROM order_form WHERE id = 1 AND swept_to = ? FOR UPDATE SKIP LOCKED", from).Scan(&free).Error
		if locked = len(free) == 0; err != nil || locked {
			return err
		}
		var pending bool
		err = tx.Raw(`SELECT EXISTS (SELECT 1 FROM orders FORCE INDEX (PRIMARY) WHERE order_no > ? AND order_no <= ? AND status = 'PENDING')`,
			from, to).Row().Scan(&pending)
		if err != nil || pending {
			return err
		}
		moved = true
		return tx.Exec("UPDATE order_form SET swept_to = ? WHERE id = 1", to).Error
	})
	if err != nil {
		return false, false, fmt.Errorf("move the mark of the sweeper: %w", err)
	}
	return moved, locked, nil
}

package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm"

	"holdfast/pkg/database"
	"holdfast/pkg/wait"
)

// stage is how far the orders table is on its way to due_at and lean rows. See 0005_due_orders.
type stage int

const (
	stageMixed      stage = iota // replicas of the version before may run: rows are written as these read them
	stageConverting              // none runs; rows are written lean, and due_at of the earlier ones is filled in
	stageDone                    // each order has its due_at
)

const (
	// formInterval is how often a replica looks whether the conversion may begin, and tries again after a failure.
	formInterval = 2 * time.Second
	// backfillStep is how many orders one transaction of the conversion looks at.
	backfillStep = 500
	// backfillPause is the pause between two steps, so that they take a part of the server's time and not all of it.
	backfillPause = 20 * time.Millisecond
	// dropPause is how long the old keys are kept after a long transaction has kept them from being dropped: the attempt
	// has orders wait for a second.
	dropPause = time.Minute
)

// form is the row of order_form, and the database's time when it was read.
type form struct {
	Stage   stage
	SweptTo string
	Now     time.Time
}

func readForm(db *gorm.DB, locking string) (form, error) {
	var rows []form
	err := db.Raw("SELECT stage, swept_to, UTC_TIMESTAMP(6) AS now FROM order_form WHERE id = 1" + locking).Scan(&rows).Error
	if err == nil && len(rows) != 1 {
		err = errors.New("the row is missing")
	}
	if err != nil {
		return form{}, fmt.Errorf("read the form of orders: %w", database.Fault(err))
	}
	return rows[0], nil
}

func (s *Store) form(ctx context.Context) (form, error) { return readForm(s.db.WithContext(ctx), "") }

// WriteLean allows all replicas to write lean rows, and to convert the earlier ones. No replica of an earlier version
// may be running.
func (s *Store) WriteLean(ctx context.Context) error {
	_, err := database.Exec(ctx, s.db, "UPDATE order_form SET stage = ? WHERE id = 1 AND stage = ?", stageConverting, stageMixed)
	if err != nil {
		return fmt.Errorf("write the form of orders: %w", err)
	}
	return nil
}

// Convert fills in due_at of the orders of earlier versions, once WriteLean allows it, in steps that other transactions
// hardly notice, and then drops the keys that due_at replaces. It returns when that is done or ctx ends. All replicas
// may run it: the next step is in the database, so a replica continues where another one stopped.
func (s *Store) Convert(ctx context.Context, log *slog.Logger) {
	for ctx.Err() == nil {
		done, pause, err := s.convert(ctx)
		if done {
			return
		}
		if err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "orders cannot be converted", "err", err)
		}
		_ = wait.Sleep(ctx, pause)
	}
}

// convert does the next thing of the conversion and returns the pause after it.
func (s *Store) convert(ctx context.Context) (done bool, pause time.Duration, err error) {
	f, err := s.form(ctx)
	if err != nil {
		return false, formInterval, err
	}
	switch f.Stage {
	case stageConverting:
		if err := s.Backfill(ctx); err != nil {
			return false, formInterval, err
		}
		return false, backfillPause, nil
	case stageDone:
		err := s.DropOldKeys(ctx)
		return err == nil, dropPause, err
	}
	return false, formInterval, nil
}

// dueAt is what due_at is to be, by the other columns. An order that is PENDING and whose row was written by an earlier
// version is due since it was inserted.
const dueAt = `CASE WHEN settled_at IS NOT NULL THEN NULL WHEN status = 'PENDING' THEN COALESCE(expires_at, created_at)
	WHEN status = 'PLACED' THEN expires_at ELSE updated_at END`

// Backfill sets due_at of the next orders. A pass over all orders that has changed some is followed by another one: a
// transaction may have written behind it. After the last pass the stage is done. Call it while the stage is converting.
func (s *Store) Backfill(ctx context.Context) error {
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		var at struct {
			DatedTo string
			Dated   int64
		}
		err := tx.Raw("SELECT dated_to, dated FROM order_backfill WHERE id = 1 FOR UPDATE").Scan(&at).Error
		if err != nil {
			return fmt.Errorf("read how far due_at is filled in: %w", err)
		}
		var orderNos []string
		err = tx.Raw("SELECT order_no FROM orders FORCE INDEX (PRIMARY) WHERE order_no > ? ORDER BY order_no LIMIT ?", at.DatedTo, backfillStep).
			Scan(&orderNos).Error
		if err != nil {
			return fmt.Errorf("read the next order numbers: %w", err)
		}
		if len(orderNos) == 0 { // the end of a pass
			if at.Dated > 0 {
				return tx.Exec("UPDATE order_backfill SET dated_to = '', dated = 0 WHERE id = 1").Error
			}
			return tx.Exec("UPDATE order_form SET stage = ? WHERE id = 1 AND stage = ?", stageDone, stageConverting).Error
		}
		last := orderNos[len(orderNos)-1]
		res := tx.Exec("UPDATE orders FORCE INDEX (PRIMARY) SET due_at = "+dueAt+
			" WHERE order_no BETWEEN ? AND ? AND NOT (due_at <=> "+dueAt+")", orderNos[0], last)
		if res.Error != nil {
			return fmt.Errorf("fill in due_at: %w", res.Error)
		}
		return tx.Exec("UPDATE order_backfill SET dated_to = ?, dated = dated + ? WHERE id = 1", last, res.RowsAffected).Error
	})
	if err != nil {
		return fmt.Errorf("convert orders: %w", err)
	}
	return nil
}

// DropOldKeys drops the keys that due_at replaces. Its error is a lock wait while a long transaction uses the table:
// orders would wait behind it if it waited longer.
func (s *Store) DropOldKeys(ctx context.Context) error {
	return s.db.WithContext(ctx).Connection(func(db *gorm.DB) error {
		var keys int64
		err := db.Raw(`SELECT COUNT(DISTINCT index_name) FROM information_schema.statistics WHERE table_schema = DATABASE()
			AND table_name = 'orders' AND index_name IN ('orders_sweep', 'orders_expiry', 'orders_unsettled')`).Row().Scan(&keys)
		if err != nil || keys == 0 {
			return database.Fault(err)
		}
		if err := db.Exec("SET SESSION lock_wait_timeout = 1").Error; err != nil {
			return database.Fault(err)
		}
		err = db.Exec("ALTER TABLE orders DROP KEY orders_sweep, DROP KEY orders_expiry, DROP KEY orders_unsettled").Error
		if err != nil {
			err = fmt.Errorf("drop the keys that due_at replaces: %w", database.Fault(err))
		}
		return errors.Join(err, db.Exec("SET SESSION lock_wait_timeout = DEFAULT").Error)
	})
}

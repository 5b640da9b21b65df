package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/pkg/database"
	"holdfast/pkg/wait"
)

// form says how the ledgers of a replica write a reservation of one line: compact, with the line in the header's row,
// or as the version before did, with the line in reservation_lines. Both are always read. See
// 0007_compact_reservations.
type form struct{ compact atomic.Bool }

func newForm(compact bool) *form {
	f := &form{}
	f.compact.Store(compact)
	return f
}

const (
	// formInterval is how often a replica reads whether it may write compact reservations.
	formInterval = 2 * time.Second
	// formLag is when all replicas have read it. Until then one of them may still write the other form.
	formLag = 5 * formInterval
	// convertStep is how many reservations one transaction converts.
	convertStep = 500
	// convertPause is the pause between two steps, so that they take a part of the server's time and not all of it.
	convertPause = 20 * time.Millisecond
)

// formRow is the row of reservation_form.
type formRow struct {
	Compact     bool
	ConvertedTo string
	Converted   int64
	Done        bool
}

func readForm(db *gorm.DB, locking string) (formRow, error) {
	var rows []formRow
	err := db.Raw("SELECT compact, converted_to, converted, done FROM reservation_form WHERE id = 1" + locking).Scan(&rows).Error
	if err == nil && len(rows) != 1 {
		err = errors.New("the row is missing")
	}
	if err != nil {
		return formRow{}, fmt.Errorf("read the form of reservations: %w", err)
	}
	return rows[0], nil
}

// ReadForm has the store's ledgers write the form that the database asks for.
func (s *Store) ReadForm(ctx context.Context) error {
	row, err := readForm(s.db.WithContext(ctx), "")
	if err != nil {
		return database.Fault(err)
	}
	s.form.compact.Store(row.Compact)
	return nil
}

// WriteCompact allows all replicas to write compact reservations. No replica of an earlier version may be running.
func (s *Store) WriteCompact(ctx context.Context) error {
	if err := s.db.WithContext(ctx).Exec("UPDATE reservation_form SET compact = 1 WHERE id = 1").Error; err != nil {
		return database.Fault(fmt.Errorf("write the form of reservations: %w", err))
	}
	return s.ReadForm(ctx)
}

// ConvertReservations converts the reservations of earlier versions to the compact form, once WriteCompact allows it,
// in steps that other transactions hardly notice. It returns when none is left or ctx ends. All replicas may run it:
// the next step is in the database, so a replica continues where another one stopped.
func (s *Store) ConvertReservations(ctx context.Context, log *slog.Logger) {
	compactSince := time.Time{}
	for done := false; !done && ctx.Err() == nil; {
		row, err := readForm(s.db.WithContext(ctx), "")
		pause := formInterval
		switch {
		case err != nil:
			log.WarnContext(ctx, "the form of reservations cannot be read", "err", err)
		case row.Done:
			s.form.compact.Store(true)
			return
		case !row.Compact:
			s.form.compact.Store(false)
		case compactSince.IsZero():
			s.form.compact.Store(true)
			compactSince = time.Now()
			pause = formLag
		default:
			if done, err = s.ConvertStep(ctx); err != nil {
				log.WarnContext(ctx, "reservations cannot be converted", "err", err)
				break
			}
			pause = convertPause
		}
		_ = wait.Sleep(ctx, pause)
	}
}

// ConvertStep converts the next reservations and reports whether none is left. A pass over all reservations that has
// converted some is followed by another one: a replica may have written the other form behind it.
func (s *Store) ConvertStep(ctx context.Context) (done bool, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		row, err := readForm(tx, " FOR UPDATE")
		if err != nil || row.Done {
			done = row.Done
			return err
		}
		row, err = convertAfter(tx, row)
		if err != nil {
			return err
		}
		done = row.Done
		err = tx.Exec("UPDATE reservation_form SET converted_to = ?, converted = ?, done = ? WHERE id = 1",
			row.ConvertedTo, row.Converted, row.Done).Error
		if err != nil {
			return fmt.Errorf("write the form of reservations: %w", err)
		}
		return nil
	})
	if err != nil {
		return false, notExecuted(ctx, fmt.Errorf("convert reservations: %w", err))
	}
	return done, nil
}

// convertAfter converts the reservations after row.ConvertedTo and returns the next row.
func convertAfter(tx *gorm.DB, row formRow) (formRow, error) {
	var orderNos []string
	err := tx.Raw("SELECT order_no FROM reservations FORCE INDEX (PRIMARY) WHERE order_no > ? ORDER BY order_no LIMIT ?",
		row.ConvertedTo, convertStep).Scan(&orderNos).Error
	if err != nil {
		return row, fmt.Errorf("read the next order numbers: %w", err)
	}
	if len(orderNos) == 0 { // the end of a pass
		row.Done = row.Converted == 0
		row.ConvertedTo, row.Converted = "", 0
		return row, nil
	}
	row.ConvertedTo = orderNos[len(orderNos)-1]
	var single []string // orders with one line, which is not in their row
	err = tx.Raw(`SELECT order_no FROM reservation_lines FORCE INDEX (PRIMARY) WHERE order_no BETWEEN ? AND ?
		GROUP BY order_no HAVING COUNT(*) = 1 ORDER BY order_no`, orderNos[0], row.ConvertedTo).Scan(&single).Error
	if err != nil {
		return row, fmt.Errorf("look for orders of one line: %w", err)
	}
	row.Converted += int64(len(single))
	return row, convert(tx, single)
}

// convert locks the headers in order, as every other transaction does, and moves their lines into them.
func convert(tx *gorm.DB, orderNos []string) error {
	if len(orderNos) == 0 {
		return nil
	}
	if _, err := (Bulk{tx: tx}).LockHeaders(orderNos); err != nil {
		return err
	}
	moved, err := statement.New(len(orderNos), statement.KeySize, `UPDATE reservations AS r FORCE INDEX (PRIMARY)
		JOIN reservation_lines AS l FORCE INDEX (PRIMARY) ON l.order_no = r.order_no
		SET r.sku = l.sku, r.quantity = l.quantity, r.unit_price_cents = l.unit_price_cents, r.request_hash = ''
		WHERE r.sku IS NULL AND r.order_no IN (`).Texts(orderNos).Add(")").Exec(tx)
	if err != nil {
		return fmt.Errorf("move %d lines into their headers: %w", len(orderNos), err)
	}
	gone, err := statement.New(len(orderNos), statement.KeySize, `DELETE l FROM reservation_lines AS l FORCE INDEX (PRIMARY)
		WHERE l.order_no IN (`).Texts(orderNos).Add(")").Exec(tx)
	if err != nil {
		return fmt.Errorf("delete %d lines: %w", len(orderNos), err)
	}
	if want := int64(len(orderNos)); moved != want || gone != want {
		return fmt.Errorf("%d orders of one line: %d were moved and %d deleted", want, moved, gone)
	}
	return nil
}

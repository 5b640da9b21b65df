package store

import (
	"context"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// archiveStep is how many reservations, answers or messages one statement of a step reads: some ten milliseconds of the
// server's time.
const archiveStep = 500

// ArchiveStep is what a step of [Store.Archive] has done.
type ArchiveStep struct {
	ArchivedTo string // no reservation up to this order number is in reservations
	Archived   int    // confirmed reservations that have moved to the archive
	Deleted    int    // other reservations, answers and messages that were deleted
	Done       bool   // there is nothing left to do up to the order number
	Blocked    bool   // a reservation that has not ended stops the step
}

// Archive takes the next step of the retention: reservations up to the order number leave the table reservations. The
// confirmed ones move to the archive with their lines; the released ones and the tombstones are deleted. So are the
// answers to orders up to the number, and the messages that were sent before it was made. Units of confirmed
// reservations that have rows of their own are counted on the stock row from then on.
//
// The caller has proven that the orders up to the number have ended and agree. keep is the age that an order number
// must have: a reserve that is younger is refused by its tombstone, an older one by its number. stock.ErrTooYoung,
// stock.ErrInvalidOrderNo.
//
// A step is one transaction and a DELETE of each other table, so a replica that dies leaves nothing half done, and the
// next step continues. Replicas may call Archive at the same time: they wait for the row of the audit's cut-off, and so
// does the roll-up, which sums up each reservation either here or in the archive.
func (s *Store) Archive(ctx context.Context, to string, keep time.Duration) (step ArchiveStep, err error) {
	made, err := s.madeBefore(ctx, to, keep)
	if err != nil {
		return ArchiveStep{}, err
	}
	full := false
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		step = ArchiveStep{}
		if _, err := readCutoff(tx, " FOR UPDATE"); err != nil {
			return err
		}
		full, err = s.archive(tx, to, &step)
		return err
	})
	if err != nil {
		return ArchiveStep{}, notExecuted(ctx, fmt.Errorf("archive reservations: %w", err))
	}
	answers, err := database.Exec(ctx, s.db, "DELETE FROM reserve_answers WHERE order_no <= ? ORDER BY order_no LIMIT ?", step.ArchivedTo, archiveStep)
	if err != nil {
		return step, fmt.Errorf("delete answers to orders: %w", err)
	}
	messages := 0
	if step.ArchivedTo == to {
		if messages, err = s.outbox.DeleteSent(ctx, made, archiveStep); err != nil {
			return step, err
		}
	}
	step.Deleted += int(answers) + messages
	step.Done = step.Blocked || !full && answers < archiveStep && messages < archiveStep
	return step, nil
}

// madeBefore returns the time of an order number that is at least keep old, by the database's clock.
func (s *Store) madeBefore(ctx context.Context, orderNo string, keep time.Duration) (time.Time, error) {
	id, err := ulid.ParseStrict(orderNo)
	if err != nil {
		return time.Time{}, stock.ErrInvalidOrderNo
	}
	var now time.Time
	if err := s.db.WithContext(ctx).Raw("SELECT UTC_TIMESTAMP(6)").Row().Scan(&now); err != nil {
		return time.Time{}, database.Fault(fmt.Errorf("read the clock: %w", err))
	}
	made := id.Timestamp().UTC()
	if made.After(now.Add(-keep)) {
		return time.Time{}, stock.ErrTooYoung.WithText("reservations of the last %v are not archived", keep)
	}
	return made, nil
}

// ended is what a step reads of a reservation.
type ended struct {
	OrderNo  string
	Status   stock.Status
	Strategy string
}

// archive moves the next reservations; full reports that there may be more.
func (s *Store) archive(tx *gorm.DB, to string, step *ArchiveStep) (full bool, err error) {
	if step.ArchivedTo, err = archivedTo(tx); err != nil || step.ArchivedTo >= to {
		return false, err
	}
	var page []ended
	err = tx.Raw(`SELECT order_no, status, strategy FROM reservations FORCE INDEX (PRIMARY) WHERE order_no > ? AND order_no <= ?
		ORDER BY order_no LIMIT ? FOR UPDATE`, step.ArchivedTo, to, archiveStep).Scan(&page).Error
	if err != nil {
		return false, fmt.Errorf("lock the next reservations: %w", err)
	}
	full = len(page) == archiveStep
	end := to
	if full {
		end = page[len(page)-1].OrderNo
	}
	for i, r := range page {
		if r.Status != stock.Reserved {
			continue
		}
		step.Blocked, full, page = true, false, page[:i]
		if end = step.ArchivedTo; i > 0 {
			end = page[i-1].OrderNo
		}
		break
	}
	if err := s.moveToArchive(tx, page, step); err != nil {
		return false, err
	}
	step.ArchivedTo = end
	if err := tx.Exec("UPDATE retention SET archived_to = ? WHERE id = 1", end).Error; err != nil {
		return false, fmt.Errorf("move the cut-off of the retention: %w", err)
	}
	return full, nil
}

func archivedTo(tx *gorm.DB) (orderNo string, err error) {
	if err := tx.Raw("SELECT archived_to FROM retention WHERE id = 1").Row().Scan(&orderNo); err != nil {
		return "", fmt.Errorf("read the cut-off of the retention: %w", err)
	}
	return orderNo, nil
}

// moveToArchive moves the lines of the confirmed reservations of the page to the archive, and deletes the page, whose
// rows are locked.
func (s *Store) moveToArchive(tx *gorm.DB, page []ended, step *ArchiveStep) error {
	if len(page) == 0 {
		return nil
	}
	for _, r := range page {
		if r.Status == stock.Confirmed {
			step.Archived++
		}
	}
	step.Deleted = len(page) - step.Archived
	first, last := page[0].OrderNo, page[len(page)-1].OrderNo
	const columns = "order_no, sku, quantity, unit_price_cents, strategy, created_at, confirmed_at"
	err := tx.Exec("INSERT INTO reservation_archive ("+columns+`)
		SELECT order_no, sku, quantity, unit_price_cents, strategy, created_at, updated_at FROM reservations FORCE INDEX (PRIMARY)
		WHERE order_no BETWEEN ? AND ? AND status = 'confirmed' AND sku IS NOT NULL
		UNION ALL SELECT r.order_no, l.sku, l.quantity, l.unit_price_cents, r.strategy, r.created_at, r.updated_at
		FROM reservations r FORCE INDEX (PRIMARY) JOIN reservation_lines l ON l.order_no = r.order_no
		WHERE r.order_no BETWEEN ? AND ? AND r.status = 'confirmed' AND r.sku IS NULL`, first, last, first, last).Error
	if err != nil {
		return fmt.Errorf("copy reservations to the archive: %w", err)
	}
	if err := s.archiveUnits(tx, first, last); err != nil {
		return err
	}
	if err := tx.Exec("DELETE FROM reservation_lines WHERE order_no BETWEEN ? AND ?", first, last).Error; err != nil {
		return fmt.Errorf("delete the lines of archived reservations: %w", err)
	}
	res := tx.Exec("DELETE FROM reservations WHERE order_no BETWEEN ? AND ?", first, last)
	if res.Error != nil {
		return fmt.Errorf("delete archived reservations: %w", res.Error)
	}
	if res.RowsAffected != int64(len(page)) { // one was inserted behind the page that is locked
		return fmt.Errorf("%w: %d reservations were read and %d deleted", stock.ErrInconsistent, len(page), res.RowsAffected)
	}
	return nil
}

// archiveUnits has the layouts give up the rows of the sold units of the reservations that were archived, and adds the
// units to the stock rows, on which the audit finds them.
func (s *Store) archiveUnits(tx *gorm.DB, first, last string) error {
	var orders layout.Orders
	for _, l := range s.layouts {
		archiver, ok := l.(layout.Archiver)
		if !ok {
			continue
		}
		if orders == nil {
			var lines []struct{ OrderNo, SKU string }
			err := tx.Raw("SELECT order_no, sku FROM reservation_archive WHERE order_no BETWEEN ? AND ? ORDER BY order_no, sku", first, last).Scan(&lines).Error
			if err != nil {
				return fmt.Errorf("read the lines of archived reservations: %w", err)
			}
			orders = make(layout.Orders, len(lines))
			for _, l := range lines {
				orders[l.SKU] = append(orders[l.SKU], l.OrderNo)
			}
		}
		if err := archiver.Archive(tx, orders); err != nil {
			return err
		}
	}
	return nil
}

// InArchive reports whether the archive has a confirmed reservation of the order.
func (s *Store) InArchive(ctx context.Context, orderNo string) (bool, error) {
	var found bool
	err := s.db.WithContext(ctx).Raw("SELECT EXISTS (SELECT 1 FROM reservation_archive WHERE order_no = ?)", orderNo).Row().Scan(&found)
	if err != nil {
		return false, database.Fault(fmt.Errorf("look for %s in the archive: %w", orderNo, err))
	}
	return found, nil
}

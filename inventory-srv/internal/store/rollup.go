package store

import (
	"context"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// sumBatch is how many reservations one statement adds up: a tenth of a second's work, so that an audit that gives up
// leaves no long statement behind.
const sumBatch = 50_000

// RollUp moves the audit's cut-off towards the order number to, by up to sumBatch reservations, and returns where it is
// then; done reports that it will not move further for this to. The caller has proven that the orders up to it have
// ended. A reservation that has not ended stops the cut-off. restart begins again: the cut-off is before all
// reservations and nothing is rolled up.
//
// No statement changes a reservation that has ended, and none is inserted below the cut-off: the orders there have
// reservations or tombstones, or were refused before their units were reserved. What happens there all the same changes
// counters and not the roll-up, so that the audit finds a difference and its caller restarts. Replicas may call RollUp
// at the same time: they wait for the row of the cut-off.
func (s *Store) RollUp(ctx context.Context, to string, restart bool) (cutoff string, done bool, err error) {
	to = ascii(to)
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		if restart {
			if err := forget(tx); err != nil {
				return err
			}
		}
		if cutoff, err = readCutoff(tx, " FOR UPDATE"); err != nil {
			return err
		}
		done = cutoff >= to
		if done {
			return nil
		}
		through, err := batchEnd(tx, cutoff, to)
		if err != nil {
			return err
		}
		sums, err := sumLines(tx, cutoff, through)
		if err != nil {
			return err
		}
		for _, l := range sums {
			if l.Reserved > 0 {
				done = true
				return nil
			}
		}
		if err := addToRollUp(tx, sums); err != nil {
			return err
		}
		cutoff, done = through, through == to
		return tx.Exec("UPDATE ledger_cutoff SET order_no = ? WHERE id = 1", cutoff).Error
	})
	if err != nil {
		return "", false, auditFault(ctx, fmt.Errorf("roll up the ledger: %w", err))
	}
	return cutoff, done, nil
}

func forget(tx *gorm.DB) error {
	if err := tx.Exec("UPDATE ledger_cutoff SET order_no = '' WHERE id = 1").Error; err != nil {
		return fmt.Errorf("reset the cut-off: %w", err)
	}
	if err := tx.Exec("DELETE FROM ledger_rollup").Error; err != nil {
		return fmt.Errorf("forget the roll-up: %w", err)
	}
	return nil
}

func readCutoff(tx *gorm.DB, lock string) (orderNo string, err error) {
	if err := tx.Raw("SELECT order_no FROM ledger_cutoff WHERE id = 1" + lock).Row().Scan(&orderNo); err != nil {
		return "", fmt.Errorf("read the cut-off: %w", err)
	}
	return orderNo, nil
}

// batchEnd returns an order number up to which there are at most sumBatch reservations after another one, and as many
// lines of archived ones, or to if there are fewer up to it.
func batchEnd(tx *gorm.DB, after, to string) (string, error) {
	end := to
	// Without a column that is in no key, MySQL reads the whole key and not the range.
	for _, query := range []string{
		"SELECT order_no, status AS other FROM reservations",
		"SELECT order_no, strategy AS other FROM reservation_archive",
	} {
		var ends []struct{ OrderNo, Other string }
		err := bounded(tx, query+" FORCE INDEX (PRIMARY) WHERE order_no > ? AND order_no <= ? ORDER BY order_no LIMIT 1 OFFSET ?", after, end, sumBatch-1).
			Scan(&ends).Error
		if err != nil {
			return "", fmt.Errorf("find the end of a batch: %w", err)
		}
		if len(ends) > 0 {
			end = ends[0].OrderNo
		}
	}
	return end, nil
}

// lineSum is units of a SKU in reservations that hold them. There may be two of a SKU: of reservations and of the
// archive.
type lineSum struct {
	SKU                 string
	Reserved, Confirmed int64
}

// sumLines adds up the lines of the reservations after an order number, up to another, archived or not. One statement
// reads both tables: it finds a reservation that is just being archived in one of them.
func sumLines(tx *gorm.DB, after, to string) ([]lineSum, error) {
	var sums []lineSum
	err := bounded(tx, `SELECT sku,
			CAST(SUM(IF(status = 'reserved', quantity, 0)) AS SIGNED) AS reserved,
			CAST(SUM(IF(status = 'confirmed', quantity, 0)) AS SIGNED) AS confirmed
		FROM all_reservation_lines WHERE order_no > ? AND order_no <= ? GROUP BY sku
		UNION ALL SELECT sku, 0, CAST(SUM(quantity) AS SIGNED) FROM reservation_archive FORCE INDEX (PRIMARY)
		WHERE order_no > ? AND order_no <= ? GROUP BY sku ORDER BY sku`, after, to, after, to).Scan(&sums).Error
	if err != nil {
		return nil, fmt.Errorf("sum up the lines: %w", err)
	}
	return sums, nil
}

func addToRollUp(tx *gorm.DB, sums []lineSum) error {
	if len(sums) == 0 {
		return nil
	}
	args := make([]any, 0, 2*len(sums))
	for _, l := range sums {
		args = append(args, l.SKU, l.Confirmed)
	}
	marks := strings.TrimSuffix(strings.Repeat("(?, ?), ", len(sums)), ", ")
	err := tx.Exec("INSERT INTO ledger_rollup (sku, confirmed) VALUES "+marks+" ON DUPLICATE KEY UPDATE confirmed = confirmed + VALUES(confirmed)", args...).Error
	if err != nil {
		return fmt.Errorf("add to the roll-up: %w", err)
	}
	return nil
}

// auditFault is notExecuted for audits. Their time ends because there is much to read and not because of contention.
func auditFault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return stock.ErrAuditTimeout.Wrap(err)
	}
	return notExecuted(ctx, err)
}

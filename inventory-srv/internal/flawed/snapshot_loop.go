package flawed

import (
	"context"
	"database/sql"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
)

// snapshotLoop retries inside its transaction, at the server's default isolation level.
//
// Fault:    under REPEATABLE READ all reads of a transaction return the data of its first read.
// Seen:     in the course's optimistic step: for { read; UPDATE … WHERE version = ?; if it changed a row, break }. It
// works only while the read uses another connection, which is a mistake of its own.
// Goes:     A reads version 7. B sells, version 8. A's UPDATE finds no version 7, so A reads again, and reads 7. The
// loop never ends, at full speed, with its transaction open. (MariaDB with innodb_snapshot_isolation ends it with error
// 1020.)
// Fixed by: optimistic, which makes a new transaction for every try, pauses, and has a bound.
type snapshotLoop struct{ deps Deps }

func newSnapshotLoop(d Deps) Reserver { return &snapshotLoop{d} }

// Reserve implements Reserver. It writes the ledger by hand, as the shared one would choose a better isolation level.
func (f *snapshotLoop) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	err := f.deps.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		err := tx.Exec(`INSERT INTO reservations (order_no, status, request_hash, strategy)
			VALUES (?, 'reserved', ?, ?)`, r.OrderNo, r.Hash(), r.Strategy).Error
		if err != nil {
			return fmt.Errorf("insert the header: %w", err)
		}
		for _, l := range r.Lines {
			if err := takeInLoop(tx, l); err != nil {
				return err
			}
			err := tx.Exec("INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents) VALUES (?, ?, ?, 0)", r.OrderNo, l.SKU, l.Quantity).Error
			if err != nil {
				return fmt.Errorf("insert the line: %w", err)
			}
		}
		return nil
	}, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	return stock.Receipt{OrderNo: r.OrderNo, Strategy: r.Strategy}, err
}

func takeInLoop(tx *gorm.DB, l stock.Line) error {
	for {
		r, err := readRow(tx, l.SKU, "")
		if err != nil {
			return err
		}
		if err := r.take(l.Quantity); err != nil {
			return err
		}
		res := tx.Exec("UPDATE stock SET available = ?, reserved = ?, version = version + 1 WHERE sku = ? AND version = ?",
			r.Available, r.Reserved, l.SKU, r.Version)
		if res.Error != nil {
			return fmt.Errorf("take %s: %w", l.SKU, res.Error)
		}
		if res.RowsAffected == 1 {
			return nil
		}
	}
}

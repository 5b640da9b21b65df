package leasecheck

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Stock is rows in a database that count down, with a ledger of what was taken.
type Stock struct{ DB *sql.DB }

// Row is one of them.
type Row struct{ Fence, Stock int64 }

// Create makes the tables.
func (s Stock) Create(ctx context.Context) error {
	for _, table := range []string{
		"CREATE TABLE fenced (k VARCHAR(64) PRIMARY KEY, fence BIGINT NOT NULL, stock BIGINT NOT NULL, claims BIGINT NOT NULL DEFAULT 0) ENGINE=InnoDB",
		"CREATE TABLE sale (id VARCHAR(64), k VARCHAR(64), quantity BIGINT NOT NULL, token BIGINT NOT NULL, PRIMARY KEY (id, k)) ENGINE=InnoDB",
	} {
		if _, err := s.DB.ExecContext(ctx, table); err != nil {
			return fmt.Errorf("create a table: %w", err)
		}
	}
	return nil
}

// Put adds a row.
func (s Stock) Put(ctx context.Context, key string, stock int64) error {
	_, err := s.DB.ExecContext(ctx, "INSERT INTO fenced (k, fence, stock) VALUES (?, 0, ?)", key, stock)
	return err
}

// Row reads a row when no transaction works on it any more: a COMMIT whose sender has died may still be on its way.
func (s Stock) Row(ctx context.Context, key string) (row Row, err error) {
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return Row{}, err
	}
	defer func() { err = errors.Join(err, ignoreDone(tx.Rollback())) }()
	err = tx.QueryRowContext(ctx, "SELECT fence, stock FROM fenced WHERE k = ? FOR UPDATE", key).Scan(&row.Fence, &row.Stock)
	return row, err
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Sold is what the ledger says was taken from a row, by the deduction's ID, for IDs with a prefix.
func (s Stock) Sold(ctx context.Context, key, prefix string) (sold map[string]int64, err error) {
	rows, err := s.DB.QueryContext(ctx, "SELECT id, quantity FROM sale WHERE k = ? AND id LIKE ?", key, prefix+"%")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	sold = map[string]int64{}
	for rows.Next() {
		var id string
		var quantity int64
		if err := rows.Scan(&id, &quantity); err != nil {
			return nil, err
		}
		sold[id] = quantity
	}
	return sold, rows.Err()
}

package store

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
)

// Position says how far MySQL has followed the stream of Redis, and in which epoch.
type Position struct {
	Fence     int64 // the newest token that has claimed the writing
	Epoch     int64 // 0: Redis was never opened
	Open      bool
	AppliedID string // of the last entry that was applied
}

// ErrStaleWriter is a writer whose lease has gone to another, which has claimed the fence or begun another epoch.
var ErrStaleWriter = errors.New("a newer writer follows the stream")

const selectPosition = "SELECT fence, epoch, open, applied_id FROM redis_stream WHERE id = 1"

// Position reads it.
func (s *Store) Position(ctx context.Context) (Position, error) {
	var p []Position
	if err := s.db.WithContext(ctx).Raw(selectPosition).Scan(&p).Error; err != nil {
		return Position{}, database.Fault(fmt.Errorf("read the position: %w", err))
	}
	if len(p) != 1 {
		return Position{}, fmt.Errorf("%w: redis_stream has no row", stock.ErrInconsistent)
	}
	return p[0], nil
}

// lockPosition locks the position for the writer that holds token, or returns ErrStaleWriter.
func lockPosition(tx *gorm.DB, token int64) (Position, error) {
	var p []Position
	if err := tx.Raw(selectPosition + " FOR UPDATE").Scan(&p).Error; err != nil {
		return Position{}, fmt.Errorf("lock the position: %w", err)
	}
	if len(p) != 1 || p[0].Fence != token {
		return Position{}, ErrStaleWriter
	}
	return p[0], nil
}

// ClaimWriting makes the holder of token the one that may write: every transaction of an older one fails from now on. ErrStaleWriter
// when this token or a newer one was here: a Redis that has lost its counter gives tokens a second time. It returns the position
// of that moment.
func (s *Store) ClaimWriting(ctx context.Context, token int64) (Position, error) {
	var p Position
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) (err error) {
		res := tx.Exec("UPDATE redis_stream SET fence = ? WHERE id = 1 AND fence < ?", token, token)
		if res.Error != nil {
			return fmt.Errorf("claim the writing: %w", res.Error)
		}
		if res.RowsAffected == 0 {
			return ErrStaleWriter
		}
		p, err = lockPosition(tx, token)
		return err
	})
	return p, err
}

// BeginEpoch closes the epoch that was and numbers the next one, which is shut until OpenEpoch. A loss is put on record, unless
// it is nil; whatever Redis was still to be told about the old epoch is void, as its counters will be read anew.
func (s *Store) BeginEpoch(ctx context.Context, token, epoch int64, loss *Loss) error {
	return database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		was, err := lockPosition(tx, token)
		if err != nil {
			return err
		}
		if epoch <= was.Epoch {
			return ErrStaleWriter
		}
		if loss != nil && was.Epoch > 0 {
			err = tx.Exec("INSERT INTO redis_losses (epoch, reason) VALUES (?, ?) ON DUPLICATE KEY UPDATE epoch = epoch", was.Epoch, loss.Reason).Error
			if err != nil {
				return fmt.Errorf("record the loss: %w", err)
			}
		}
		if err := tx.Exec("UPDATE redis_stream SET epoch = ?, open = 0, applied_id = '' WHERE id = 1", epoch).Error; err != nil {
			return fmt.Errorf("begin epoch %d: %w", epoch, err)
		}
		if err := tx.Exec("UPDATE redis_quarantine SET compensated_at = UTC_TIMESTAMP(6) WHERE compensated_at IS NULL").Error; err != nil {
			return fmt.Errorf("forget what is void: %w", err)
		}
		return nil
	})
}

// OpenEpoch lets orders in again. id is the entry with which the epoch's log begins.
func (s *Store) OpenEpoch(ctx context.Context, token, epoch int64, id string) error {
	return database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		was, err := lockPosition(tx, token)
		if err != nil {
			return err
		}
		if was.Epoch != epoch {
			return ErrStaleWriter
		}
		if err := tx.Exec("UPDATE redis_stream SET open = 1, applied_id = ? WHERE id = 1", id).Error; err != nil {
			return fmt.Errorf("open epoch %d: %w", epoch, err)
		}
		return nil
	})
}

// InRedis reports whether any SKU was ever stored in Redis.
func (s *Store) InRedis(ctx context.Context) (bool, error) {
	var found []string
	if err := s.db.WithContext(ctx).Raw("SELECT sku FROM stock_redis LIMIT 1").Scan(&found).Error; err != nil {
		return false, database.Fault(fmt.Errorf("look for stock in Redis: %w", err))
	}
	return len(found) > 0, nil
}

// RedisRow is MySQL's side of a SKU in Redis.
type RedisRow struct {
	SKU       string
	Layout    string // of the SKU: stock.LayoutRedis, or it has left
	Lab       bool
	Laid      int64
	Available int64
	Reserved  int64
	Sold      int64
	Opening   int64
}

// Fresh reports that nothing was ever taken from the SKU's counter.
func (r RedisRow) Fresh() bool { return r.Laid == r.Available }

const selectRedisRows = `SELECT r.sku, s.layout, s.lab, r.laid, r.available, r.reserved, r.sold, r.opening
	FROM stock_redis r JOIN stock s ON s.sku = r.sku`

// RedisRows returns all of them, at one moment.
func (s *Store) RedisRows(ctx context.Context) ([]RedisRow, error) {
	var rows []RedisRow
	if err := s.db.WithContext(ctx).Raw(selectRedisRows + " ORDER BY r.sku").Scan(&rows).Error; err != nil {
		return nil, database.Fault(fmt.Errorf("read the rows of Redis: %w", err))
	}
	return rows, nil
}

// Known is an order as the ledger has it.
type Known struct {
	Status   stock.Status
	Hash     string
	Strategy string
	Lines    []PricedLine
}

// PricedLine is a line with the price of its day.
type PricedLine struct {
	SKU            string
	Quantity       int64
	UnitPriceCents int64
}

// Known returns what the ledger knows of an order; false when that is nothing.
func (l *Ledger) Known(ctx context.Context, orderNo string) (Known, bool, error) {
	db := l.db.WithContext(ctx)
	h, known, err := queryHeader(db, "SELECT order_no, status, request_hash, strategy FROM reservations WHERE order_no = ?", orderNo)
	if err != nil || !known {
		return Known{}, false, notExecuted(ctx, database.Fault(err))
	}
	out := Known{Status: h.Status, Hash: h.RequestHash, Strategy: h.Strategy}
	err = db.Raw("SELECT sku, quantity, unit_price_cents FROM reservation_lines WHERE order_no = ? ORDER BY sku", orderNo).Scan(&out.Lines).Error
	if err != nil {
		return Known{}, false, notExecuted(ctx, database.Fault(fmt.Errorf("read the lines: %w", err)))
	}
	return out, true, nil
}

// Price returns the lines of a request with titles and prices. stock.ErrUnknownSKU.
func (l *Ledger) Price(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	receipt, err := price(l.db.WithContext(ctx), r)
	return receipt, notExecuted(ctx, database.Fault(err))
}

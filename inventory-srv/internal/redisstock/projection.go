package redisstock

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/database"
)

// Projection is MySQL's side of the stock in Redis.
type Projection struct {
	db     *gorm.DB
	ledger *store.Ledger // on db
}

// NewProjection makes a projection on db and its ledger.
func NewProjection(db *gorm.DB, ledger *store.Ledger) *Projection {
	return &Projection{db: db, ledger: ledger}
}

// Position is how far MySQL has applied the stream of Redis, and in which epoch.
type Position struct {
	Fence     int64 // the newest token of a writer
	Epoch     int64 // 0: Redis was never opened
	Open      bool
	AppliedID string // of the last entry that was applied
}

// ErrStaleWriter is a writer whose lease another replica has: that has claimed the fence or begun another epoch.
var ErrStaleWriter = errors.New("a newer writer follows the stream")

const selectPosition = "SELECT fence, epoch, open, applied_id FROM redis_stream WHERE id = 1"

// Position returns the position.
func (p *Projection) Position(ctx context.Context) (Position, error) {
	var found []Position
	if err := p.db.WithContext(ctx).Raw(selectPosition).Scan(&found).Error; err != nil {
		return Position{}, database.Fault(fmt.Errorf("read the position: %w", err))
	}
	if len(found) != 1 {
		return Position{}, fmt.Errorf("%w: redis_stream has no row", stock.ErrInconsistent)
	}
	return found[0], nil
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

// ClaimWriting makes the holder of token the writer: every transaction of an older one fails from now on. It returns
// the current position. ErrStaleWriter when MySQL has this token or a newer one: a Redis that has lost its counter
// gives tokens twice.
func (p *Projection) ClaimWriting(ctx context.Context, token int64) (Position, error) {
	var was Position
	err := database.InTx(ctx, p.db, func(tx *gorm.DB) (err error) {
		res := tx.Exec("UPDATE redis_stream SET fence = ? WHERE id = 1 AND fence < ?", token, token)
		if res.Error != nil {
			return fmt.Errorf("claim the writing: %w", res.Error)
		}
		if res.RowsAffected == 0 {
			return ErrStaleWriter
		}
		was, err = lockPosition(tx, token)
		return err
	})
	return was, err
}

// BeginEpoch closes the current epoch and numbers the next one, which stays shut until OpenEpoch. It records loss
// unless it is nil, and voids the compensations of the old epoch, whose counters are rebuilt.
func (p *Projection) BeginEpoch(ctx context.Context, token, epoch int64, loss *Loss) error {
	return database.InTx(ctx, p.db, func(tx *gorm.DB) error {
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

// OpenEpoch opens the epoch. id is the first entry of its log.
func (p *Projection) OpenEpoch(ctx context.Context, token, epoch int64, id string) error {
	return database.InTx(ctx, p.db, func(tx *gorm.DB) error {
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
func (p *Projection) InRedis(ctx context.Context) (bool, error) {
	var found []string
	if err := p.db.WithContext(ctx).Raw("SELECT sku FROM stock_redis LIMIT 1").Scan(&found).Error; err != nil {
		return false, database.Fault(fmt.Errorf("look for stock in Redis: %w", err))
	}
	return len(found) > 0, nil
}

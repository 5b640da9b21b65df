package redisstock

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/statement"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/database"
)

// RedisRow is a SKU's row of stock_redis.
type RedisRow struct {
	SKU       string
	Layout    string // of the SKU; stock.LayoutRedis unless it has left
	Lab       bool
	Allocated int64
	Available int64
	Reserved  int64
	Sold      int64
	Opening   int64
}

// Fresh reports that no unit was ever taken from the SKU's counter.
func (r RedisRow) Fresh() bool { return r.Allocated == r.Available }

const selectRedisRows = `SELECT r.sku, s.layout, s.lab, r.laid AS allocated, r.available, r.reserved, r.sold, r.opening
	FROM stock_redis r JOIN stock s ON s.sku = r.sku`

// RedisRows returns all rows, at one moment.
func (p *Projection) RedisRows(ctx context.Context) ([]RedisRow, error) {
	var rows []RedisRow
	if err := p.db.WithContext(ctx).Raw(selectRedisRows + " ORDER BY r.sku").Scan(&rows).Error; err != nil {
		return nil, database.Fault(fmt.Errorf("read the rows of Redis: %w", err))
	}
	return rows, nil
}

// RedisRow returns one SKU's row, or stock.ErrUnknownSKU.
func (p *Projection) RedisRow(ctx context.Context, sku string) (RedisRow, error) {
	var rows []RedisRow
	if err := p.db.WithContext(ctx).Raw(selectRedisRows+" WHERE r.sku = ?", sku).Scan(&rows).Error; err != nil {
		return RedisRow{}, database.Fault(fmt.Errorf("read the row of Redis: %w", err))
	}
	if len(rows) == 0 {
		return RedisRow{}, stock.UnknownSKU(sku)
	}
	return rows[0], nil
}

// stockRow is the part of a stock row that LockStock reads.
type stockRow struct {
	SKU       string
	Layout    string
	Available int64
}

// LockStock calls decide while the SKUs' stock rows are locked: no delivery arrives, no layout changes, and unallocated
// stock of SKUs in Redis has been allocated. decide receives the rows of the SKUs in Redis, and for each other SKU its
// refusal. LockStock may call decide several times; its result counts when LockStock returns nil.
func (p *Projection) LockStock(ctx context.Context, skus []string, decide func(inRedis map[string]RedisRow, refused map[string]error) error) error {
	skus = statement.SortUnique(skus)
	for decided := false; !decided; {
		err := p.ledger.InBulk(ctx, func(tx *gorm.DB, _ store.Bulk) error {
			decided = false
			refused, filled, err := lockRows(tx, skus)
			if err != nil {
				return err
			}
			for _, r := range filled {
				if err := allocate(tx, r); err != nil {
					return err
				}
			}
			if len(filled) > 0 {
				return nil // the allocation counts when it is committed
			}
			var rows []RedisRow
			if err := tx.Raw(selectRedisRows+" WHERE r.sku IN ?", skus).Scan(&rows).Error; err != nil {
				return fmt.Errorf("read the rows of Redis: %w", err)
			}
			inRedis := make(map[string]RedisRow, len(rows))
			for _, r := range rows {
				if refused[r.SKU] == nil {
					inRedis[r.SKU] = r
				}
			}
			decided = true
			return decide(inRedis, refused)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lockRows locks the stock rows, in SKU order. It returns the refusals of SKUs that are not in Redis, and the rows with
// unallocated stock.
func lockRows(tx *gorm.DB, skus []string) (refused map[string]error, filled []stockRow, err error) {
	var rows []stockRow
	err = tx.Raw("SELECT sku, layout, available FROM stock FORCE INDEX (PRIMARY) WHERE sku IN ? ORDER BY sku FOR UPDATE", skus).Scan(&rows).Error
	if err != nil {
		return nil, nil, fmt.Errorf("lock the stock rows: %w", err)
	}
	refused = make(map[string]error)
	for _, sku := range skus {
		switch {
		case len(rows) == 0 || rows[0].SKU != sku:
			refused[sku] = stock.UnknownSKU(sku)
			continue
		case rows[0].Layout != stock.LayoutRedis:
			refused[sku] = stock.WrongLayout(sku, rows[0].Layout)
		case rows[0].Available > 0:
			filled = append(filled, rows[0])
		}
		rows = rows[1:]
	}
	return refused, filled, nil
}

// allocate moves the unallocated stock to the SKU's row of stock_redis.
func allocate(tx *gorm.DB, r stockRow) error {
	err := tx.Exec("UPDATE stock SET available = 0, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?", r.SKU).Error
	if err != nil {
		return fmt.Errorf("empty the unallocated stock of %s: %w", r.SKU, err)
	}
	res := tx.Exec("UPDATE stock_redis SET laid = laid + ?, available = available + ?, version = version + 1, updated_at = UTC_TIMESTAMP(6) WHERE sku = ?",
		r.Available, r.Available, r.SKU)
	if res.Error != nil {
		return fmt.Errorf("allocate %d units of %s: %w", r.Available, r.SKU, res.Error)
	}
	if res.RowsAffected != 1 {
		return fmt.Errorf("%w: %s has the layout %s and no row for it", stock.ErrInconsistent, r.SKU, stock.LayoutRedis)
	}
	return nil
}

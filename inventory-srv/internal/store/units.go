package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/database"
	"holdfast/pkg/wait"
)

const (
	// countEvery is the age at which the free units of a SKU are counted again.
	countEvery = time.Second
	// countShare bounds the work: counting takes at most one part in countShare of the time, so counts of many units are
	// older.
	countShare = 10
	// coverEvery is how often a SKU is looked for that has no count yet: a replica of an earlier version made its units.
	coverEvery = time.Minute
)

// KeepCounts counts the free units of the SKUs of the layout units until ctx ends. Replicas share the work: a SKU that
// another one has just counted is left out.
func (s *Store) KeepCounts(ctx context.Context, log *slog.Logger) {
	var covered time.Time
	for ctx.Err() == nil {
		begun := time.Now()
		var err error
		if time.Since(covered) > coverEvery {
			if err = s.coverUnits(ctx); err == nil {
				covered = begun
			}
		}
		if err == nil {
			err = s.CountUnits(ctx, countEvery)
		}
		if err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "free units cannot be counted", "err", err)
		}
		_ = wait.Sleep(ctx, max(countEvery, countShare*time.Since(begun)))
	}
}

// coverUnits gives each SKU of the layout units a count, which is to be made.
func (s *Store) coverUnits(ctx context.Context) error {
	_, err := database.Exec(ctx, s.db, `INSERT INTO unit_counts (sku, free, counted_at)
		SELECT sku, 0, '2000-01-01' FROM stock WHERE layout = ? ON DUPLICATE KEY UPDATE free = free`, stock.LayoutUnits)
	if err != nil {
		return fmt.Errorf("look for SKUs without a count: %w", err)
	}
	return nil
}

// CountUnits counts the free units of the SKUs of the layout units whose count is older than age.
func (s *Store) CountUnits(ctx context.Context, age time.Duration) error {
	db := s.db.WithContext(ctx)
	var skus []string
	err := db.Raw(`SELECT c.sku FROM unit_counts c JOIN stock s ON s.sku = c.sku
		WHERE s.layout = ? AND c.counted_at <= TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) ORDER BY c.sku`, stock.LayoutUnits, -age.Microseconds()).Scan(&skus).Error
	if err != nil {
		return database.Fault(fmt.Errorf("look for old counts: %w", err))
	}
	for _, sku := range skus {
		if err := layout.CountUnits(db, sku); err != nil {
			return database.Fault(err)
		}
	}
	return nil
}

package store

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"holdfast/pkg/database"
)

// Healer names a backstop, in metrics and in what is kept of its work.
type Healer string

// The healers. Nobody is everyday work, of which nothing is kept.
const (
	Nobody     Healer = ""
	CheckBack  Healer = "check-back"
	Sweeper    Healer = "sweeper"
	Reconciler Healer = "reconciler"
	Relay      Healer = "relay" // one that takes over the shard of a relay that died
)

// Healing is what a healer did for an order.
type Healing struct {
	OrderNo  string
	Healer   Healer
	Deed     string
	HealedAt time.Time
}

// What healers do.
const (
	deedAbandoned = "abandoned"
	deedExpired   = "expired"
	deedReleased  = "told inventory to release"
	deedConfirmed = "told inventory to confirm"
	deedRefund    = "found no stock for"
	deedRollback  = "rolled back the message of"
	deedSentAgain = "sent the messages of"
)

// heal keeps, in the transaction of the work itself, what by did, and returns for how many orders that is new. Doing it
// twice is doing it once, also by two replicas.
func heal(tx *gorm.DB, by Healer, deed string, orderNos ...string) (n int64, err error) {
	if by == Nobody {
		return 0, nil
	}
	for _, orderNo := range orderNos {
		res := tx.Exec(`INSERT INTO healings (order_no, healer, deed, healed_at) VALUES (?, ?, ?, UTC_TIMESTAMP(6))
			ON DUPLICATE KEY UPDATE deed = deed`, orderNo, by, deed)
		if res.Error != nil {
			return 0, fmt.Errorf("note what healed %s: %w", orderNo, res.Error)
		}
		n += res.RowsAffected
	}
	return n, nil
}

// RolledBack notes that the check-back ended the half message of orders that had ended: whoever was to roll it back did
// not, or was not heard.
func (s *Store) RolledBack(ctx context.Context, orderNos []string) error {
	return database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		_, err := heal(tx, CheckBack, deedRollback, orderNos...)
		return err
	})
}

// Healings returns the newest, up to limit.
func (s *Store) Healings(ctx context.Context, limit int) ([]Healing, error) {
	var found []Healing
	err := s.db.WithContext(ctx).Raw("SELECT order_no, healer, deed, healed_at FROM healings ORDER BY healed_at DESC, order_no LIMIT ?", limit).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read what healed: %w", database.Fault(err))
	}
	return found, nil
}

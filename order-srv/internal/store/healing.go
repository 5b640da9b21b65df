package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"holdfast/pkg/database"
)

// Healer names a backstop, in metrics and in what is kept of its work.
type Healer string

// The healers. NoHealer is regular work, which is not recorded.
const (
	NoHealer   Healer = ""
	CheckBack  Healer = "check-back"
	Sweeper    Healer = "sweeper"
	Reconciler Healer = "reconciler"
	Relay      Healer = "relay" // it takes over the shard of a relay that died

	Coordinator Healer = "coordinator" // of the flow tcc: it executes a phase again
	XARecovery  Healer = "xa-recovery" // of the flow xa: it ends branches that their request has left
	Notifier    Healer = "notifier"    // it sends a notification whose attempt did not end
)

// Healing is what a healer did for an order.
type Healing struct {
	OrderNo  string
	Healer   Healer
	Action   string
	HealedAt time.Time
}

// What healers do.
const (
	actionAbandoned = "abandoned"
	actionExpired   = "expired"
	actionReleased  = "told inventory to release"
	actionConfirmed = "told inventory to confirm"
	actionRefund    = "found no stock for"
	actionRollback  = "rolled back the message of"
	actionSentAgain = "sent the messages of"
	actionPhase     = "repeated the phase of"
	actionBranches  = "ended the branches of"
	actionNotified  = "sent the notification of"
)

// healBatch is how many healings one statement inserts.
const healBatch = 500

// heal records, in the transaction of the work itself, what by did, and returns for how many orders the record is new.
// Recording it twice, also by two replicas, changes nothing.
func heal(tx *gorm.DB, by Healer, action string, orderNos ...string) (n int64, err error) {
	if by == NoHealer {
		return 0, nil
	}
	for batch := range slices.Chunk(orderNos, healBatch) {
		args := make([]any, 0, 3*len(batch))
		for _, orderNo := range batch {
			args = append(args, orderNo, by, action)
		}
		values := strings.TrimSuffix(strings.Repeat("(?, ?, ?, UTC_TIMESTAMP(6)), ", len(batch)), ", ")
		res := tx.Exec("INSERT INTO healings (order_no, healer, deed, healed_at) VALUES "+values+" ON DUPLICATE KEY UPDATE deed = deed", args...)
		if res.Error != nil {
			return 0, fmt.Errorf("record what healed %s: %w", batch[0], res.Error)
		}
		n += res.RowsAffected
	}
	return n, nil
}

// RolledBack records that the check-back ended the half messages of orders that had ended: the process that was to roll
// them back died first, or its end was lost. No order numbers: nothing is recorded.
func (s *Store) RolledBack(ctx context.Context, orderNos []string) error {
	if len(orderNos) == 0 {
		return nil
	}
	orderNos = slices.Sorted(slices.Values(orderNos)) // the replicas lock the rows in one order
	return database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		_, err := heal(tx, CheckBack, actionRollback, orderNos...)
		return err
	})
}

// Healings returns the newest, up to limit.
func (s *Store) Healings(ctx context.Context, limit int) ([]Healing, error) {
	var found []Healing
	err := s.db.WithContext(ctx).Raw("SELECT order_no, healer, deed AS action, healed_at FROM healings ORDER BY healed_at DESC, order_no LIMIT ?", limit).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read what healed: %w", database.Fault(err))
	}
	return found, nil
}

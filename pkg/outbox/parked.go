package outbox

import (
	"context"
	"fmt"
	"time"

	"holdfast/pkg/database"
)

const (
	// never is the time to retry a parked message.
	never = "9999-12-31 00:00:00"

	maxReason = 255 // characters of a failure: the width of the column
)

// Parked is a message of the outbox that the relay has given up. The younger messages of its shard key wait behind it.
type Parked struct {
	ID                                int64
	EventID, Topic, ShardKey, Payload string
	Attempts                          int
	Failure                           string // of the last attempt
	CreatedAt, ParkedAt               time.Time
}

// isParked selects them by the index on retry_at.
const isParked = "retry_at = '" + never + "' AND parked_at IS NOT NULL AND sent_at IS NULL"

// Parked returns the oldest parked messages, up to limit.
func (t *Table) Parked(ctx context.Context, limit int) ([]Parked, error) {
	var found []Parked
	err := t.db.WithContext(ctx).Raw(`SELECT id, event_id, topic, shard_key, payload, attempts, failure, created_at, parked_at
		FROM outbox WHERE `+isParked+" ORDER BY id LIMIT ?", limit).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("read parked messages: %w", database.Fault(err))
	}
	return found, nil
}

// ResendParked hands the oldest parked messages, up to limit, back to the relay and returns how many. The younger
// messages of their keys follow them.
func (t *Table) ResendParked(ctx context.Context, limit int) (n int, err error) {
	affected, err := database.Exec(ctx, t.db, "UPDATE outbox SET retry_at = NULL, parked_at = NULL, strikes = 0 WHERE "+isParked+" ORDER BY id LIMIT ?", limit)
	if err != nil {
		return 0, fmt.Errorf("send parked messages again: %w", err)
	}
	t.Kick()
	return int(affected), nil
}

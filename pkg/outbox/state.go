package outbox

import (
	"context"
	"fmt"
	"time"

	"holdfast/pkg/database"
)

// State returns how many messages the outbox has to send and the age of the oldest, 0 without any. A message
// that is to be delivered later is sent at once like the others: the broker keeps it. A parked message does not
// count, the younger ones of its key do.
func (t *Table) State(ctx context.Context) (unsent int, oldest time.Duration, err error) {
	var micros int64
	// The inner queries read indexes alone, the outer one a single row.
	err = t.db.WithContext(ctx).Raw(`SELECT unsent, COALESCE(TIMESTAMPDIFF(MICROSECOND, created_at, UTC_TIMESTAMP(6)), 0)
		FROM (SELECT COUNT(*) AS unsent, MIN(id) AS first FROM outbox WHERE sent_at IS NULL AND id NOT IN (SELECT id FROM outbox WHERE retry_at = ?)) AS todo
		LEFT JOIN outbox ON outbox.id = todo.first`, never).
		Row().Scan(&unsent, &micros)
	if err != nil {
		return 0, 0, fmt.Errorf("read the state of the outbox: %w", database.Fault(err))
	}
	return unsent, time.Duration(micros) * time.Microsecond, nil
}

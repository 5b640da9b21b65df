package store

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	"gorm.io/gorm"

	"holdfast/pkg/database"
	"holdfast/pkg/telemetry"
)

// Shards is the number of the outbox's shards.
const Shards = 16

// event is a message to be sent once its transaction has committed.
type event struct {
	id        string // order number + event: written twice it is there once
	topic     string
	key       string // shard key: the messages of one key are sent in the order in which they were written
	body      any
	deliverAt time.Time // zero: at once
}

// write puts the event into the outbox. Call it after the UPDATE that it announces: the row's lock then makes the ids
// of one order follow the order of commits.
func write(tx *gorm.DB, e event) error {
	payload, err := json.Marshal(e.body)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.id, err)
	}
	var deliverAt any
	if !e.deliverAt.IsZero() {
		deliverAt = e.deliverAt
	}
	err = tx.Exec(`INSERT INTO outbox (event_id, topic, shard, shard_key, payload, request_id, deliver_at, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE event_id = event_id`,
		e.id, e.topic, shard(e.key), e.key, string(payload), telemetry.RequestID(tx.Statement.Context), deliverAt).Error
	if err != nil {
		return fmt.Errorf("write event %s: %w", e.id, err)
	}
	return nil
}

func shard(key string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return int(h.Sum32() % Shards)
}

// Outgoing is an unsent message of the outbox.
type Outgoing struct {
	ID                                           int64
	EventID, Topic, ShardKey, Payload, RequestID string
	DeliverAt                                    time.Time // zero: at once
}

// Claim leases up to limit shards that nobody has leased, or that owner has, and returns all that owner holds now. Only
// who holds a shard's lease sends its messages, so two replicas share the work and keep each order's messages in order.
func (s *Store) Claim(ctx context.Context, owner string, lease time.Duration, limit int) (held []int, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		held = nil
		var free []int
		err := tx.Raw(`SELECT shard FROM outbox_shards WHERE owner = ? OR lease_until < UTC_TIMESTAMP(6)
			ORDER BY owner = ? DESC, shard LIMIT ? FOR UPDATE SKIP LOCKED`, owner, owner, limit).Scan(&free).Error
		if err != nil {
			return fmt.Errorf("look for shards: %w", err)
		}
		if len(free) == 0 {
			return nil
		}
		held = free
		err = tx.Exec("UPDATE outbox_shards SET owner = ?, lease_until = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) WHERE shard IN ?",
			owner, lease.Microseconds(), free).Error
		if err != nil {
			return fmt.Errorf("lease shards: %w", err)
		}
		return nil
	})
	return held, err
}

// GiveUp ends owner's leases, so that another relay need not wait for them to run out.
func (s *Store) GiveUp(ctx context.Context, owner string) error {
	err := s.db.WithContext(ctx).Exec("UPDATE outbox_shards SET owner = '', lease_until = '2000-01-01' WHERE owner = ?", owner).Error
	return database.Fault(err)
}

// Owners counts the relays that hold a lease.
func (s *Store) Owners(ctx context.Context, besides string) (n int, err error) {
	err = s.db.WithContext(ctx).Raw("SELECT COUNT(DISTINCT owner) FROM outbox_shards WHERE lease_until >= UTC_TIMESTAMP(6) AND owner <> ?", besides).Row().Scan(&n)
	return n, database.Fault(err)
}

// Unsent returns up to limit unsent messages of the shards, oldest first.
func (s *Store) Unsent(ctx context.Context, shards []int, limit int) ([]Outgoing, error) {
	var rows []struct {
		ID                                           int64
		EventID, Topic, ShardKey, Payload, RequestID string
		DeliverAt                                    *time.Time
	}
	err := s.db.WithContext(ctx).Raw(`SELECT id, event_id, topic, shard_key, payload, request_id, deliver_at FROM outbox
		WHERE sent_at IS NULL AND shard IN ? ORDER BY id LIMIT ?`, shards, limit).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", database.Fault(err))
	}
	out := make([]Outgoing, len(rows))
	for i, r := range rows {
		out[i] = Outgoing{ID: r.ID, EventID: r.EventID, Topic: r.Topic, ShardKey: r.ShardKey, Payload: r.Payload, RequestID: r.RequestID}
		if r.DeliverAt != nil {
			out[i].DeliverAt = *r.DeliverAt
		}
	}
	return out, nil
}

// Sent marks messages as sent, and Failed counts an attempt.
func (s *Store) Sent(ctx context.Context, ids []int64) error {
	err := s.db.WithContext(ctx).Exec("UPDATE outbox SET sent_at = UTC_TIMESTAMP(6), attempts = attempts + 1 WHERE id IN ?", ids).Error
	if err != nil {
		return fmt.Errorf("mark as sent: %w", database.Fault(err))
	}
	return nil
}

// Failed counts an attempt to send that did not succeed.
func (s *Store) Failed(ctx context.Context, id int64) error {
	err := s.db.WithContext(ctx).Exec("UPDATE outbox SET attempts = attempts + 1 WHERE id = ?", id).Error
	return database.Fault(err)
}

// UnsentCount is the number of unsent messages.
func (s *Store) UnsentCount(ctx context.Context) (n int, err error) {
	err = s.db.WithContext(ctx).Raw("SELECT COUNT(*) FROM outbox WHERE sent_at IS NULL").Row().Scan(&n)
	return n, database.Fault(err)
}

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"gorm.io/gorm"

	"holdfast/pkg/database"
	"holdfast/pkg/telemetry"
)

// Shards is the number of the outbox's shards.
const Shards = 16

// keptOfShard is how many orders are noted when a dead relay's shard is taken over: for people, not for the books.
const keptOfShard = 20

// event is a message to be sent once its transaction has committed.
type event struct {
	id        string // order number + event: written twice it is there once
	topic     string
	key       string // shard key: the messages of one key are sent in the order in which they were written
	body      any
	deliverAt time.Time // zero: at once
}

// write puts events into the outbox, in one statement. Call it after the UPDATE that they announce: the row's lock then
// makes the ids of one order follow the order of commits.
func write(tx *gorm.DB, events ...event) error {
	values, args := make([]string, len(events)), make([]any, 0, 7*len(events))
	for i, e := range events {
		payload, err := json.Marshal(e.body)
		if err != nil {
			return fmt.Errorf("encode event %s: %w", e.id, err)
		}
		var deliverAt any
		if !e.deliverAt.IsZero() {
			deliverAt = e.deliverAt
		}
		values[i] = "(?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6))"
		args = append(args, e.id, e.topic, shard(e.key), e.key, string(payload), telemetry.RequestID(tx.Statement.Context), deliverAt)
	}
	err := tx.Exec(`INSERT INTO outbox (event_id, topic, shard, shard_key, payload, request_id, deliver_at, created_at)
		VALUES `+strings.Join(values, ", ")+" ON DUPLICATE KEY UPDATE event_id = event_id", args...).Error
	if err != nil {
		return fmt.Errorf("write event %s: %w", events[0].id, err)
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

// Claim leases a shard that has unsent messages and that nobody holds; ok is false when there is none. Only who holds the
// lease sends the shard's messages, so replicas share the work and keep each order's messages in order. Shards that
// another relay is just claiming are skipped, not waited for. owner must be new for each claim. A shard whose lease ran
// out without being given up belonged to a relay that died; whose messages it had may be sent twice, which is noted.
func (s *Store) Claim(ctx context.Context, owner string, lease time.Duration) (shard int, ok bool, err error) {
	var busy []int
	err = s.db.WithContext(ctx).Raw("SELECT DISTINCT shard FROM outbox WHERE sent_at IS NULL").Scan(&busy).Error
	if err != nil || len(busy) == 0 {
		return 0, false, database.Fault(err)
	}
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		ok = false
		var free []struct {
			Shard int
			Owner string
		}
		err := tx.Raw(`SELECT shard, owner FROM outbox_shards WHERE shard IN ? AND lease_until <= UTC_TIMESTAMP(6)
			ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED`, busy).Scan(&free).Error
		if err != nil || len(free) == 0 {
			return err
		}
		shard, ok = free[0].Shard, true
		if free[0].Owner != "" {
			if err := takenOver(tx, shard); err != nil {
				return err
			}
		}
		return tx.Exec("UPDATE outbox_shards SET owner = ?, lease_until = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) WHERE shard = ?",
			owner, lease.Microseconds(), shard).Error
	})
	if err != nil {
		return 0, false, fmt.Errorf("lease a shard: %w", err)
	}
	return shard, ok, nil
}

func takenOver(tx *gorm.DB, shard int) error {
	var keys []string
	if err := tx.Raw("SELECT DISTINCT shard_key FROM outbox WHERE sent_at IS NULL AND shard = ? LIMIT ?", shard, keptOfShard).Scan(&keys).Error; err != nil {
		return fmt.Errorf("look whose messages shard %d holds: %w", shard, err)
	}
	_, err := heal(tx, Relay, deedSentAgain, keys...)
	return err
}

// ErrLeaseLost is a shard whose lease ran out before it was renewed: another relay may be sending its messages.
var ErrLeaseLost = errors.New("the lease of the outbox shard was lost")

// Renew extends owner's lease, or returns ErrLeaseLost.
func (s *Store) Renew(ctx context.Context, owner string, shard int, lease time.Duration) error {
	n, err := s.exec(ctx, `UPDATE outbox_shards SET lease_until = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))
		WHERE shard = ? AND owner = ? AND lease_until > UTC_TIMESTAMP(6)`, lease.Microseconds(), shard, owner)
	if err == nil && n == 0 {
		err = ErrLeaseLost
	}
	return err
}

// GiveUp ends owner's lease, so that nobody need wait for it to run out; nobody gets the shard before rest is over.
func (s *Store) GiveUp(ctx context.Context, owner string, shard int, rest time.Duration) error {
	_, err := s.exec(ctx, `UPDATE outbox_shards SET owner = '', lease_until = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))
		WHERE shard = ? AND owner = ?`, rest.Microseconds(), shard, owner)
	return err
}

// exec runs one statement that is repeated when it loses a race.
func (s *Store) exec(ctx context.Context, query string, args ...any) (affected int64, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		res := tx.Exec(query, args...)
		affected = res.RowsAffected
		return res.Error
	})
	return affected, err
}

// Unsent returns up to limit unsent messages of a shard, in the order in which they are to be sent, leaving out those of
// the given shard keys.
func (s *Store) Unsent(ctx context.Context, shard int, without []string, limit int) ([]Outgoing, error) {
	if len(without) == 0 {
		without = []string{""} // no message has it, and IN () is no SQL
	}
	var rows []struct {
		ID                                           int64
		EventID, Topic, ShardKey, Payload, RequestID string
		DeliverAt                                    *time.Time
	}
	err := s.db.WithContext(ctx).Raw(`SELECT id, event_id, topic, shard_key, payload, request_id, deliver_at FROM outbox
		WHERE sent_at IS NULL AND shard = ? AND shard_key NOT IN ? ORDER BY id LIMIT ?`, shard, without, limit).Scan(&rows).Error
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

// Sent marks messages as sent.
func (s *Store) Sent(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	if _, err := s.exec(ctx, "UPDATE outbox SET sent_at = UTC_TIMESTAMP(6), attempts = attempts + 1 WHERE id IN ?", ids); err != nil {
		return fmt.Errorf("mark as sent: %w", err)
	}
	return nil
}

// Failed counts an attempt to send that did not succeed.
func (s *Store) Failed(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	if _, err := s.exec(ctx, "UPDATE outbox SET attempts = attempts + 1 WHERE id IN ?", ids); err != nil {
		return fmt.Errorf("count an attempt: %w", err)
	}
	return nil
}

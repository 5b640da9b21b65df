package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
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

// Event is a message that is sent once its transaction has committed.
type Event struct {
	ID        string // order number, of a list the first one's, + event: written twice it is there once
	Topic     string
	Key       string // shard key, the group: the messages of one key are sent in the order in which they were written
	Body      any
	DeliverAt time.Time // zero: at once
}

// Tx is a transaction of the store.
type Tx struct{ db *gorm.DB }

// Send puts events into the outbox.
func (tx *Tx) Send(events ...Event) error { return write(tx.db, events...) }

// write puts events into the outbox, in one statement. Call it after the UPDATE that they announce: the row's lock then
// makes the ids of one order follow the order of commits.
func write(tx *gorm.DB, events ...Event) error {
	values, args := make([]string, len(events)), make([]any, 0, 7*len(events))
	for i, e := range events {
		payload, err := json.Marshal(e.Body)
		if err != nil {
			return fmt.Errorf("encode event %s: %w", e.ID, err)
		}
		var deliverAt any
		if !e.DeliverAt.IsZero() {
			deliverAt = e.DeliverAt
		}
		values[i] = "(?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6))"
		args = append(args, e.ID, e.Topic, shard(e.Key), e.Key, string(payload), telemetry.RequestID(tx.Statement.Context), deliverAt)
	}
	err := tx.Exec(`INSERT INTO outbox (event_id, topic, shard, shard_key, payload, request_id, deliver_at, created_at)
		VALUES `+strings.Join(values, ", ")+" ON DUPLICATE KEY UPDATE event_id = event_id", args...).Error
	if err != nil {
		return fmt.Errorf("write event %s: %w", events[0].ID, err)
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

	Attempts int
	Strikes  int           // failed attempts that were the message's own fault
	Failed   time.Duration // since the last failed attempt; 0 when there was none
}

// Claim leases a shard that has unsent messages and no lease; ok is false without such a shard. Only the holder of the
// lease sends the shard's messages, so replicas share the work and keep each order's messages in order. Shards that
// another relay is just claiming are skipped, not waited for. owner must be new for each claim. A shard whose lease ran
// out without being given up belonged to a relay that died; whose messages it had may be sent twice, which is noted.
func (s *Store) Claim(ctx context.Context, owner string, lease time.Duration) (shard int, ok bool, err error) {
	busy, err := s.busyShards(ctx)
	if err != nil || len(busy) == 0 {
		return 0, false, err
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

// unsentShards finds the shards with unsent messages. It reads the first one of each shard: DISTINCT would read all. A
// subquery with LIMIT is not turned into a join, which could read all of them too.
const unsentShards = `SELECT s.shard FROM outbox_shards s
	WHERE (SELECT o.id FROM outbox o WHERE o.sent_at IS NULL AND o.shard = s.shard LIMIT 1) IS NOT NULL`

// busyShards returns the shards that have a message which may be sent now. As a rule no message is set aside.
func (s *Store) busyShards(ctx context.Context) ([]int, error) {
	db := s.db.WithContext(ctx)
	var unsent, aside []int
	if err := db.Raw(unsentShards).Scan(&unsent).Error; err != nil {
		return nil, fmt.Errorf("look for shards with messages: %w", database.Fault(err))
	}
	if err := db.Raw("SELECT DISTINCT shard FROM outbox WHERE retry_at > UTC_TIMESTAMP(6)").Scan(&aside).Error; err != nil {
		return nil, fmt.Errorf("look for messages that are set aside: %w", database.Fault(err))
	}
	busy := unsent[:0]
	for _, shard := range unsent {
		others := true
		if slices.Contains(aside, shard) {
			err := db.Raw(`SELECT EXISTS (SELECT 1 FROM outbox WHERE sent_at IS NULL AND shard = ?
				AND shard_key NOT IN (SELECT shard_key FROM outbox WHERE retry_at > UTC_TIMESTAMP(6)))`, shard).Row().Scan(&others)
			if err != nil {
				return nil, fmt.Errorf("look for messages beside those set aside: %w", database.Fault(err))
			}
		}
		if others {
			busy = append(busy, shard)
		}
	}
	return busy, nil
}

func takenOver(tx *gorm.DB, shard int) error {
	var orderNos []string // that of a list is its first one's
	err := tx.Raw("SELECT DISTINCT SUBSTRING_INDEX(event_id, ':', 1) FROM outbox WHERE sent_at IS NULL AND shard = ? LIMIT ?", shard, keptOfShard).Scan(&orderNos).Error
	if err != nil {
		return fmt.Errorf("look whose messages shard %d holds: %w", shard, err)
	}
	_, err = heal(tx, Relay, actionSentAgain, orderNos...)
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

// GiveUp ends owner's lease before it expires. The shard can be leased again after rest.
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

// outgoing is a row of the outbox that is to be sent.
type outgoing struct {
	ID                                           int64
	EventID, Topic, ShardKey, Payload, RequestID string
	DeliverAt                                    *time.Time
	Attempts, Strikes                            int
	FailedMicros                                 int64
}

const outgoingColumns = `id, event_id, topic, shard_key, payload, request_id, deliver_at, attempts, strikes,
	COALESCE(TIMESTAMPDIFF(MICROSECOND, failed_at, UTC_TIMESTAMP(6)), 0) AS failed_micros`

// maxRetries is how many messages that failed before Unsent returns beside the others.
const maxRetries = 64

// Unsent returns messages of a shard that may be sent now: up to limit of keys without a failed message, in the order
// in which they are to be sent, and behind them up to maxRetries failed ones whose time to retry has come. The
// younger messages of such a key follow once it has been sent. So messages that fail again and again keep no other
// from its turn.
func (s *Store) Unsent(ctx context.Context, shard, limit int) ([]Outgoing, error) {
	db := s.db.WithContext(ctx)
	var fresh, retries []outgoing
	err := db.Raw("SELECT "+outgoingColumns+` FROM outbox WHERE sent_at IS NULL AND shard = ?
		AND shard_key NOT IN (SELECT shard_key FROM outbox WHERE retry_at IS NOT NULL AND sent_at IS NULL) ORDER BY id LIMIT ?`, shard, limit).Scan(&fresh).Error
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", database.Fault(err))
	}
	err = db.Raw("SELECT "+outgoingColumns+` FROM outbox WHERE sent_at IS NULL AND shard = ? AND retry_at <= UTC_TIMESTAMP(6)
		ORDER BY retry_at, id LIMIT ?`, shard, maxRetries).Scan(&retries).Error
	if err != nil {
		return nil, fmt.Errorf("read messages to retry: %w", database.Fault(err))
	}
	out := make([]Outgoing, 0, len(fresh)+len(retries))
	for _, r := range append(fresh, retries...) {
		m := Outgoing{
			ID: r.ID, EventID: r.EventID, Topic: r.Topic, ShardKey: r.ShardKey, Payload: r.Payload, RequestID: r.RequestID,
			Attempts: r.Attempts, Strikes: r.Strikes, Failed: time.Duration(r.FailedMicros) * time.Microsecond,
		}
		if r.DeliverAt != nil {
			m.DeliverAt = *r.DeliverAt
		}
		out = append(out, m)
	}
	return out, nil
}

// Sent marks messages as sent.
func (s *Store) Sent(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	if _, err := s.exec(ctx, "UPDATE outbox SET sent_at = UTC_TIMESTAMP(6), attempts = attempts + 1, retry_at = NULL, parked_at = NULL WHERE id IN ?", ids); err != nil {
		return fmt.Errorf("mark as sent: %w", err)
	}
	return nil
}

// Failure is an attempt to send a message that did not succeed.
type Failure struct {
	ID     int64
	Reason string
	Strike bool          // it was the message's own fault
	Pause  time.Duration // before the message, and the younger ones of its key, are sent
	Park   bool          // instead: until an operator has it sent again
}

// Failed records failures in one transaction.
func (s *Store) Failed(ctx context.Context, failures []Failure) error {
	if len(failures) == 0 {
		return nil
	}
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		for _, f := range failures {
			if err := failed(tx, f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record what was not sent: %w", err)
	}
	return nil
}

func failed(tx *gorm.DB, f Failure) error {
	strike := 0
	if f.Strike {
		strike = 1
	}
	if f.Park {
		return tx.Exec(`UPDATE outbox SET attempts = attempts + 1, strikes = strikes + ?, failed_at = UTC_TIMESTAMP(6), failure = ?,
			retry_at = ?, parked_at = UTC_TIMESTAMP(6) WHERE id = ?`, strike, reason(f.Reason), never, f.ID).Error
	}
	return tx.Exec(`UPDATE outbox SET attempts = attempts + 1, strikes = strikes + ?, failed_at = UTC_TIMESTAMP(6), failure = ?,
		retry_at = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) WHERE id = ?`, strike, reason(f.Reason), f.Pause.Microseconds(), f.ID).Error
}

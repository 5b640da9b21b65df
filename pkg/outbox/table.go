// Package outbox sends messages that a transaction decided, also when the process dies after the commit. Write puts
// them into a table in that transaction; a [Relay], in every replica, sends what the table holds. The tables are outbox
// and outbox_shards of sql/orders and sql/inventory: each service has them in its own database.
//
// Delivery is at least once, and the messages of one shard key are sent in the order in which they were written.
package outbox

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

// keptOfShard is how many subjects are announced when a dead relay's shard is taken over: they are for an operator to
// read, and no count depends on them.
const keptOfShard = 20

// Event is a message that is sent once its transaction has committed.
type Event struct {
	ID        string // its subject, a colon and what happened to it: written twice it is there once
	Topic     string
	Key       string // shard key: the messages of one key are sent in the order in which they were written
	Body      any
	DeliverAt time.Time // zero: at once
}

// Table is the outbox of a database. It is safe for concurrent use.
type Table struct {
	db        *gorm.DB
	notify    chan struct{} // holds one value when the outbox has something new
	takenOver TakenOver
}

// TakenOver is called in the transaction that leases the shard of a relay that died, with the subjects of some of the
// messages that the shard holds: they may be sent twice.
type TakenOver func(tx *gorm.DB, subjects []string) error

// New returns the outbox of db. takenOver may be nil.
func New(db *gorm.DB, takenOver TakenOver) *Table {
	return &Table{db: db, notify: make(chan struct{}, 1), takenOver: takenOver}
}

// On returns a table that uses the pool of db and shares everything else with t: a relay on it is notified of what was
// committed through t.
func (t *Table) On(db *gorm.DB) *Table {
	c := *t
	c.db = db
	return &c
}

// Notify delivers a value after a transaction of this process wrote to the outbox.
func (t *Table) Notify() <-chan struct{} { return t.notify }

// Kick wakes one receiver of Notify. Call it after the commit of a transaction that wrote messages.
func (t *Table) Kick() {
	select {
	case t.notify <- struct{}{}:
	default: // the relay has not looked yet; one look will do
	}
}

// Write puts events into the outbox, in one statement. Call it after the UPDATE that they announce: the row's lock then
// makes the ids of one subject follow the order of commits.
func Write(tx *gorm.DB, events ...Event) error {
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
// lease sends the shard's messages, so replicas share the work and keep the messages of one key in order. Shards that
// another relay is just claiming are skipped, not waited for. owner must be new for each claim. A shard whose lease ran
// out without being given up belonged to a relay that died; its messages may be sent twice, and TakenOver is called.
func (t *Table) Claim(ctx context.Context, owner string, lease time.Duration) (shard int, ok bool, err error) {
	busy, err := t.busyShards(ctx)
	if err != nil || len(busy) == 0 {
		return 0, false, err
	}
	err = database.InTx(ctx, t.db, func(tx *gorm.DB) error {
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
			if err := t.announce(tx, shard); err != nil {
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
func (t *Table) busyShards(ctx context.Context) ([]int, error) {
	db := t.db.WithContext(ctx)
	var unsent, aside []int
	if err := db.Raw(unsentShards).Scan(&unsent).Error; err != nil {
		return nil, fmt.Errorf("look for shards with messages: %w", database.Fault(err))
	}
	if len(unsent) == 0 { // as a rule
		return nil, nil
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

// announce passes to the TakenOver function what the dead relay's shard holds.
func (t *Table) announce(tx *gorm.DB, shard int) error {
	if t.takenOver == nil {
		return nil
	}
	var subjects []string
	err := tx.Raw("SELECT DISTINCT SUBSTRING_INDEX(event_id, ':', 1) FROM outbox WHERE sent_at IS NULL AND shard = ? LIMIT ?", shard, keptOfShard).Scan(&subjects).Error
	if err != nil {
		return fmt.Errorf("look whose messages shard %d holds: %w", shard, err)
	}
	return t.takenOver(tx, subjects)
}

// ErrLeaseLost is a shard whose lease ran out before it was renewed: another relay may be sending its messages.
var ErrLeaseLost = errors.New("the lease of the outbox shard was lost")

// Renew extends owner's lease, or returns ErrLeaseLost.
func (t *Table) Renew(ctx context.Context, owner string, shard int, lease time.Duration) error {
	n, err := database.Exec(ctx, t.db, `UPDATE outbox_shards SET lease_until = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))
		WHERE shard = ? AND owner = ? AND lease_until > UTC_TIMESTAMP(6)`, lease.Microseconds(), shard, owner)
	if err == nil && n == 0 {
		err = ErrLeaseLost
	}
	return err
}

// GiveUp ends owner's lease before it expires. The shard can be leased again after rest.
func (t *Table) GiveUp(ctx context.Context, owner string, shard int, rest time.Duration) error {
	_, err := database.Exec(ctx, t.db, `UPDATE outbox_shards SET owner = '', lease_until = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6))
		WHERE shard = ? AND owner = ?`, rest.Microseconds(), shard, owner)
	return err
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
func (t *Table) Unsent(ctx context.Context, shard, limit int) ([]Outgoing, error) {
	db := t.db.WithContext(ctx)
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
func (t *Table) Sent(ctx context.Context, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	if _, err := database.Exec(ctx, t.db, "UPDATE outbox SET sent_at = UTC_TIMESTAMP(6), attempts = attempts + 1, retry_at = NULL, parked_at = NULL WHERE id IN ?", ids); err != nil {
		return fmt.Errorf("mark as sent: %w", err)
	}
	return nil
}

// DeleteSent deletes up to limit messages that were sent before a time, the oldest first, and returns how many. Without
// its row an event can be written once more: call it only for events that no transaction writes any more.
func (t *Table) DeleteSent(ctx context.Context, before time.Time, limit int) (n int, err error) {
	// Without a lower bound, and for a DELETE with an order, the server may read the key from its beginning, where the
	// unsent rows are.
	var ids []int64
	err = t.db.WithContext(ctx).Raw("SELECT id FROM outbox FORCE INDEX (outbox_unsent) WHERE sent_at > '1970-01-01' AND sent_at < ? ORDER BY sent_at LIMIT ?", before.UTC(), limit).Scan(&ids).Error
	if err != nil {
		return 0, fmt.Errorf("look for messages that were sent: %w", database.Fault(err))
	}
	if len(ids) == 0 {
		return 0, nil
	}
	affected, err := database.Exec(ctx, t.db, "DELETE FROM outbox WHERE id IN ? AND sent_at IS NOT NULL", ids)
	if err != nil {
		return 0, fmt.Errorf("delete messages that were sent: %w", err)
	}
	return int(affected), nil
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
func (t *Table) Failed(ctx context.Context, failures []Failure) error {
	if len(failures) == 0 {
		return nil
	}
	err := database.InTx(ctx, t.db, func(tx *gorm.DB) error {
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
			retry_at = ?, parked_at = UTC_TIMESTAMP(6) WHERE id = ?`, strike, database.Clip(f.Reason, maxReason), never, f.ID).Error
	}
	return tx.Exec(`UPDATE outbox SET attempts = attempts + 1, strikes = strikes + ?, failed_at = UTC_TIMESTAMP(6), failure = ?,
		retry_at = TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) WHERE id = ?`, strike, database.Clip(f.Reason, maxReason), f.Pause.Microseconds(), f.ID).Error
}

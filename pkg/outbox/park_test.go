package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"gorm.io/gorm"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/database"
	"holdfast/pkg/mq"
	"holdfast/pkg/outbox"
)

// relayed starts a relay with short pauses and returns its counter of parked messages.
func relayed(t *testing.T, table *outbox.Table, send mq.Producer) prometheus.Counter {
	t.Helper()
	parked := prometheus.NewCounter(prometheus.CounterOpts{Name: "parked"})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	relay := outbox.NewRelay(outbox.RelayConfig{Table: table, Send: send, Log: slog.New(slog.DiscardHandler), Parked: parked, Pause: 5 * time.Millisecond})
	wg.Go(func() { relay.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return parked
}

// written writes the messages of n subjects, all into one shard, so that they share a relay.
func written(t *testing.T, table *outbox.Table, db *gorm.DB, n int) map[string]bool {
	t.Helper()
	subjects := map[string]bool{}
	for range n {
		no := begun(t, table, db)
		ended(t, table, db, no)
		subjects[no] = true
	}
	// A running relay may lock the same rows: InTx repeats a deadlock.
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { return tx.Exec("UPDATE outbox SET shard = 3 WHERE shard <> 3").Error })
	if err != nil {
		t.Fatal(err)
	}
	return subjects
}

func (b *broker) entries() []entry {
	var all []entry
	for _, m := range b.messages() {
		all = append(all, entry{"", m.Topic, m.Key})
	}
	return all
}

func (b *broker) hasSent(subjects map[string]bool) error {
	left := maps.Clone(subjects)
	for _, e := range b.entries() {
		if e.topic == topicSecond {
			delete(left, e.subject)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("the messages of %d subjects are not sent", len(left))
	}
	return nil
}

func parkedAre(t *testing.T, table *outbox.Table, want int) error {
	t.Helper()
	parked, err := table.Parked(t.Context(), 100)
	if err == nil && len(parked) != want {
		err = fmt.Errorf("%d messages are parked, want %d", len(parked), want)
	}
	return err
}

// TestRelay_unsendable: messages that the broker refuses are parked; other keys go on, later messages of the same keys
// wait, and once sent again all are sent in order.
func TestRelay_unsendable(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]error{"invalid": mq.ErrInvalidMessage, "failing": errBroker} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, db := newTable(t)
			bad := written(t, table, db, 4) // more than the relay takes for an outage, and first in the shard
			good := written(t, table, db, 6)
			b := &broker{}
			b.refuseIf(func(m mq.Message) error {
				if bad[m.Key] && m.Topic == topicFirst {
					return refusal
				}
				return nil
			})
			parked := relayed(t, table, b)
			testkit.Eventually(t, 20*time.Second, "the other subjects' messages are sent", func() error { return b.hasSent(good) })
			testkit.Eventually(t, 20*time.Second, "the refused messages are parked", func() error {
				written(t, table, db, 1) // other keys go on
				return parkedAre(t, table, 4)
			})
			testkit.Eventually(t, 20*time.Second, "they are counted", func() error {
				if got := testutil.ToFloat64(parked); got != 4 {
					return fmt.Errorf("the counter is %v, want 4", got)
				}
				return nil
			})
			for _, e := range b.entries() {
				if bad[e.subject] {
					t.Errorf("%s of %s was sent before its first message", e.topic, e.subject)
				}
			}
			list, err := table.Parked(t.Context(), 10)
			if err != nil || len(list) != 4 || !bad[list[0].ShardKey] || list[0].Failure == "" || list[0].Attempts < 2 {
				t.Errorf("parked %+v, error %v", list, err)
			}
			b.refuseIf(nil)
			if n, err := table.ResendParked(t.Context(), 3); err != nil || n != 3 {
				t.Errorf("sent again %d, error %v; want 3", n, err)
			}
			if n, err := table.ResendParked(t.Context(), 100); err != nil || n != 1 {
				t.Errorf("sent again %d, error %v; want the last one", n, err)
			}
			allSent(t, table)
			inOrder(t, b.entries(), slices.Collect(maps.Keys(bad)))
			if err := parkedAre(t, table, 0); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRelay_outage: a broker that takes nothing, or nothing of one topic, has no message parked, however often each
// failed.
func TestRelay_outage(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]func(mq.Message) bool{
		"broker": func(mq.Message) bool { return true },
		"topic":  func(m mq.Message) bool { return m.Topic == topicFirst },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, db := newTable(t)
			subjects := written(t, table, db, 2)
			// The messages of the topic that works have keys of their own, and are sent again and again.
			if err := db.Exec("UPDATE outbox SET shard_key = event_id WHERE topic = ?", topicSecond).Error; err != nil {
				t.Fatal(err)
			}
			b := &broker{}
			b.refuseIf(func(m mq.Message) error {
				if down(m) {
					return errBroker
				}
				return nil
			})
			relayed(t, table, b)
			testkit.Eventually(t, 20*time.Second, "messages have failed more often than has one parked", func() error {
				if err := db.Exec("UPDATE outbox SET sent_at = NULL WHERE topic = ?", topicSecond).Error; err != nil {
					return err
				}
				var least int
				err := db.Raw("SELECT MIN(attempts) FROM outbox WHERE topic = ?", topicFirst).Row().Scan(&least)
				if err == nil && least < 12 {
					err = fmt.Errorf("one failed only %d times", least)
				}
				return err
			})
			if err := parkedAre(t, table, 0); err != nil {
				t.Error(err)
			}
			b.refuseIf(nil)
			allSent(t, table)
			seen := map[string]bool{}
			for _, e := range b.entries() {
				seen[e.subject] = true
			}
			for no := range subjects {
				if !seen[no] {
					t.Errorf("no message of %s was sent", no)
				}
			}
		})
	}
}

// TestTable_Claim_parked: a shard whose messages are parked, or wait behind a parked one, is not leased over and over.
func TestTable_Claim_parked(t *testing.T) {
	t.Parallel()
	table, db := newTable(t)
	written(t, table, db, 1)
	b := &broker{}
	b.refuseIf(func(mq.Message) error { return mq.ErrInvalidMessage })
	relayed(t, table, b)
	testkit.Eventually(t, 20*time.Second, "the message is parked", func() error { return parkedAre(t, table, 1) })
	testkit.Eventually(t, 20*time.Second, "the shard is given up", func() error {
		var held int
		err := db.Raw("SELECT COUNT(*) FROM outbox_shards WHERE owner <> ''").Row().Scan(&held)
		if err == nil && held > 0 {
			err = errors.New("it is leased")
		}
		return err
	})
	if shard, ok, err := table.Claim(t.Context(), "other", time.Second); err != nil || ok {
		t.Errorf("claimed shard %d: %v, error %v; it has nothing that may be sent", shard, ok, err)
	}
}

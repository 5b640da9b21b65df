package events_test

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
	"holdfast/order-srv/internal/events"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/mq"
)

// picky is a broker that refuses some messages.
type picky struct {
	mu      sync.Mutex
	refuse  func(mq.Message) error
	sent    []entry
	refused map[string]int // by key
}

// Send implements mq.Producer.
func (p *picky) Send(_ context.Context, m mq.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		if err := p.refuse(m); err != nil {
			p.refused[m.Key]++
			return err
		}
	}
	p.sent = append(p.sent, entry{"", m.Topic, m.Key})
	return nil
}

func (p *picky) refuseIf(refuse func(mq.Message) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

func (p *picky) entries() []entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.sent)
}

// relayed starts a relay with short pauses and returns its counter of parked messages.
func relayed(t *testing.T, s *store.Store, send mq.Producer) prometheus.Counter {
	t.Helper()
	parked := prometheus.NewCounter(prometheus.CounterOpts{Name: "parked"})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	relay := events.NewRelay(events.RelayConfig{Store: s, Send: send, Log: slog.New(slog.DiscardHandler), Parked: parked, Pause: 5 * time.Millisecond})
	wg.Go(func() { relay.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return parked
}

// paidOrders writes two messages for each of n orders, all into one shard, so that they share a relay.
func paidOrders(t *testing.T, s *store.Store, db *gorm.DB, n int) map[string]bool {
	t.Helper()
	orders := map[string]bool{}
	for range n {
		no := placed(t, s, time.Hour)
		pay(t, s, no)
		orders[no] = true
	}
	// A running relay may lock the same rows: InTx repeats a deadlock.
	err := database.InTx(t.Context(), db, func(tx *gorm.DB) error { return tx.Exec("UPDATE outbox SET shard = 3 WHERE shard <> 3").Error })
	if err != nil {
		t.Fatal(err)
	}
	return orders
}

func (p *picky) hasSent(orders map[string]bool) error {
	left := maps.Clone(orders)
	for _, e := range p.entries() {
		if e.topic == orderapi.TopicOrderEvents {
			delete(left, e.orderNo)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("the messages of %d orders are not sent", len(left))
	}
	return nil
}

func parkedAre(t *testing.T, s *store.Store, want int) error {
	t.Helper()
	parked, err := s.Parked(t.Context(), 100)
	if err == nil && len(parked) != want {
		err = fmt.Errorf("%d messages are parked, want %d", len(parked), want)
	}
	return err
}

// TestRelay_unsendable: messages that the broker refuses are parked; other keys go on, later messages of the same keys
// wait, and once sent again all are sent in order.
func TestRelay_unsendable(t *testing.T) {
	t.Parallel()
	for name, refusal := range map[string]error{"invalid": mq.ErrInvalidMessage, "failing": ordertest.ErrBroker} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db := newStore(t)
			bad := paidOrders(t, s, db, 4) // more than the relay takes for an outage, and first in the shard
			good := paidOrders(t, s, db, 6)
			p := &picky{refused: map[string]int{}}
			p.refuseIf(func(m mq.Message) error {
				if bad[m.Key] && m.Topic == orderapi.TopicOrderTimeout {
					return refusal
				}
				return nil
			})
			parked := relayed(t, s, p)
			testkit.Eventually(t, 20*time.Second, "the other orders' messages are sent", func() error { return p.hasSent(good) })
			testkit.Eventually(t, 20*time.Second, "the refused messages are parked", func() error {
				paidOrders(t, s, db, 1) // other keys go on
				return parkedAre(t, s, 4)
			})
			testkit.Eventually(t, 20*time.Second, "they are counted", func() error {
				if got := testutil.ToFloat64(parked); got != 4 {
					return fmt.Errorf("the counter is %v, want 4", got)
				}
				return nil
			})
			for _, e := range p.entries() {
				if bad[e.orderNo] {
					t.Errorf("%s of %s was sent before its first message", e.topic, e.orderNo)
				}
			}
			list, err := s.Parked(t.Context(), 10)
			if err != nil || len(list) != 4 || !bad[list[0].ShardKey] || list[0].Failure == "" || list[0].Attempts < 2 {
				t.Errorf("parked %+v, error %v", list, err)
			}
			p.refuseIf(nil)
			if n, err := s.ResendParked(t.Context(), 3); err != nil || n != 3 {
				t.Errorf("sent again %d, error %v; want 3", n, err)
			}
			if n, err := s.ResendParked(t.Context(), 100); err != nil || n != 1 {
				t.Errorf("sent again %d, error %v; want the last one", n, err)
			}
			allSent(t, s)
			inOrder(t, p.entries(), slices.Collect(maps.Keys(bad)))
			if err := parkedAre(t, s, 0); err != nil {
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
		"topic":  func(m mq.Message) bool { return m.Topic == orderapi.TopicOrderTimeout },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, db := newStore(t)
			orders := paidOrders(t, s, db, 2)
			// The messages of the topic that works have keys of their own, and are sent again and again.
			if err := db.Exec("UPDATE outbox SET shard_key = event_id WHERE topic = ?", orderapi.TopicOrderEvents).Error; err != nil {
				t.Fatal(err)
			}
			p := &picky{refused: map[string]int{}}
			p.refuseIf(func(m mq.Message) error {
				if down(m) {
					return ordertest.ErrBroker
				}
				return nil
			})
			relayed(t, s, p)
			testkit.Eventually(t, 20*time.Second, "messages have failed more often than has one parked", func() error {
				if err := db.Exec("UPDATE outbox SET sent_at = NULL WHERE topic = ?", orderapi.TopicOrderEvents).Error; err != nil {
					return err
				}
				var least int
				err := db.Raw("SELECT MIN(attempts) FROM outbox WHERE topic = ?", orderapi.TopicOrderTimeout).Row().Scan(&least)
				if err == nil && least < 12 {
					err = fmt.Errorf("one failed only %d times", least)
				}
				return err
			})
			if err := parkedAre(t, s, 0); err != nil {
				t.Error(err)
			}
			p.refuseIf(nil)
			allSent(t, s)
			seen := map[string]bool{}
			for _, e := range p.entries() {
				seen[e.orderNo] = true
			}
			for no := range orders {
				if !seen[no] {
					t.Errorf("no message of %s was sent", no)
				}
			}
		})
	}
}

// TestStore_Claim_parked: a shard whose messages are parked, or wait behind a parked one, is not leased over and over.
func TestStore_Claim_parked(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	paidOrders(t, s, db, 1)
	p := &picky{refused: map[string]int{}}
	p.refuseIf(func(mq.Message) error { return mq.ErrInvalidMessage })
	relayed(t, s, p)
	testkit.Eventually(t, 20*time.Second, "the message is parked", func() error { return parkedAre(t, s, 1) })
	testkit.Eventually(t, 20*time.Second, "the shard is given up", func() error {
		var held int
		err := db.Raw("SELECT COUNT(*) FROM outbox_shards WHERE owner <> ''").Row().Scan(&held)
		if err == nil && held > 0 {
			err = errors.New("it is leased")
		}
		return err
	})
	if shard, ok, err := s.Claim(t.Context(), "other", time.Second); err != nil || ok {
		t.Errorf("claimed shard %d: %v, error %v; it has nothing that may be sent", shard, ok, err)
	}
}

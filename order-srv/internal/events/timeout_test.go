package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/internal/events"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq"
	"holdfast/sql"
)

func newStore(t *testing.T) (*store.Store, *gorm.DB) {
	t.Helper()
	db := dbtest.New(t, sql.Orders())
	return store.New(db, nil), db
}

// placed inserts and places an order.
func placed(t *testing.T, s *store.Store, window time.Duration) string {
	t.Helper()
	no := ulid.Make().String()
	o := order.Order{OrderNo: no, GroupID: no, UserID: "ann", IdempotencyKey: no, RequestHash: ordertest.RequestHash, Flow: "test", Items: []order.Item{{SKU: "A", Quantity: 1}}}
	if _, inserted, err := ordertest.InsertFor(t.Context(), s, o, window); err != nil || !inserted {
		t.Fatalf("inserted %v, error %v", inserted, err)
	}
	_, err := ordertest.Place(t.Context(), s, no, store.Placement{
		Items: []order.Item{{SKU: "A", Title: "A", Quantity: 1, UnitPriceCents: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return no
}

func pay(t *testing.T, s *store.Store, orderNo string) {
	t.Helper()
	if _, err := s.Pay(t.Context(), "ann", orderNo); err != nil {
		t.Fatal(err)
	}
}

func message(orderNos ...string) mq.Message {
	body := `{"orders":[`
	for i, no := range orderNos {
		if i > 0 {
			body += ","
		}
		body += fmt.Sprintf("%q", no)
	}
	return mq.Message{Topic: orderapi.TopicOrderTimeout, Body: []byte(body + "]}")}
}

func status(t *testing.T, s *store.Store, orderNo string) order.Status {
	t.Helper()
	o, err := s.Get(t.Context(), "ann", orderNo)
	if err != nil {
		t.Fatal(err)
	}
	return o.Status
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	b := &ordertest.Broker{}
	handle := events.Timeout(s, b, slog.New(slog.DiscardHandler))
	due, paid, early := placed(t, s, time.Hour), placed(t, s, time.Hour), placed(t, s, time.Hour)
	pay(t, s, paid)
	if err := db.Exec("UPDATE orders SET expires_at = UTC_TIMESTAMP(6) WHERE order_no IN ?", []string{due, paid}).Error; err != nil {
		t.Fatal(err)
	}
	for range 2 { // delivered twice
		if err := handle(t.Context(), message(due, paid, "NOPE")); err != nil {
			t.Fatal(err)
		}
	}
	if got := status(t, s, due); got != order.Expired {
		t.Errorf("the due order is %s", got)
	}
	if got := status(t, s, paid); got != order.Paid {
		t.Errorf("the paid order is %s", got)
	}
	if n := len(b.Sent()); n != 0 {
		t.Errorf("%d messages sent again, none was early", n)
	}

	if err := handle(t.Context(), message(early)); err != nil {
		t.Fatal(err)
	}
	sent := b.Sent()
	if got := status(t, s, early); got != order.Placed || len(sent) != 1 {
		t.Fatalf("the early order is %s, %d messages sent again", got, len(sent))
	}
	if ahead := time.Until(sent[0].DeliverAt); ahead < 59*time.Minute || ahead > time.Hour || sent[0].Topic != orderapi.TopicOrderTimeout {
		t.Errorf("sent again: %+v, in %v", sent[0], ahead)
	}
	b.SetDown(true, false)
	if err := handle(t.Context(), message(early)); !errors.Is(err, ordertest.ErrBroker) || mq.IsDiscard(err) {
		t.Errorf("early and the broker is down: %v, want a retry", err)
	}
	for _, bad := range []string{"", "[]", `{"orders":[]}`} {
		if err := handle(t.Context(), mq.Message{Body: []byte(bad)}); !mq.IsDiscard(err) {
			t.Errorf("%q: %v, want it discarded", bad, err)
		}
	}
}

// TestTimeout_group expires the orders of one message together: one event names them. A payment that holds one of the
// rows delays only its own order.
func TestTimeout_group(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	b := &ordertest.Broker{}
	handle := events.Timeout(s, b, slog.New(slog.DiscardHandler))
	var group []string
	for range 4 {
		group = append(group, placed(t, s, time.Hour))
	}
	pay(t, s, group[3])
	if err := db.Exec("UPDATE orders SET group_id = ?, expires_at = UTC_TIMESTAMP(6)", group[0]).Error; err != nil {
		t.Fatal(err)
	}
	tx := db.Begin()
	if err := tx.Exec("SELECT order_no FROM orders WHERE order_no = ? FOR UPDATE", group[1]).Error; err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- handle(t.Context(), message(group...)) }()
	testkit.EventuallyTrue(t, 10*time.Second, "the free ones expire", func() bool { return status(t, s, group[2]) == order.Expired })
	if got := status(t, s, group[1]); got != order.Placed {
		t.Errorf("the locked order is %s", got)
	}
	tx.Rollback()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for i, want := range []order.Status{order.Expired, order.Expired, order.Expired, order.Paid} {
		if got := status(t, s, group[i]); got != want {
			t.Errorf("order %d is %s, want %s", i, got, want)
		}
	}
	var bodies []string
	err := db.Raw("SELECT payload FROM outbox WHERE topic = ? AND event_id LIKE '%:EXPIRED' ORDER BY id", orderapi.TopicOrderEvents).Scan(&bodies).Error
	if err != nil {
		t.Fatal(err)
	}
	got := make([]orderapi.OrderEvent, len(bodies)) // the server may write JSON in its own way
	for i, body := range bodies {
		if err := json.Unmarshal([]byte(body), &got[i]); err != nil {
			t.Fatal(err)
		}
	}
	want := []orderapi.OrderEvent{{Orders: []string{group[0], group[2]}, Status: "EXPIRED"}, {OrderNo: group[1], Status: "EXPIRED"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order-events (-want +got):\n%s", diff)
	}
}

// TestTimeout_brokerAhead: the broker's clock is so far ahead that a delayed message comes at once. The handler does
// not send it without end: the sweeper expires the order.
func TestTimeout_brokerAhead(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	b := &ordertest.Broker{}
	handle := events.Timeout(s, b, slog.New(slog.DiscardHandler))
	no := placed(t, s, time.Hour)
	next := message(no)
	const most = 10
	for range most {
		before := len(b.Sent())
		if err := handle(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		sent := b.Sent()
		if len(sent) == before {
			break
		}
		next = sent[before]
	}
	if n := len(b.Sent()); n == most {
		t.Errorf("sent again %d times without an end", n)
	}
	if got := status(t, s, no); got != order.Placed {
		t.Errorf("the order is %s", got)
	}
}

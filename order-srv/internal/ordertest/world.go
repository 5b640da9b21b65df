package ordertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/sql"
)

// World is order-srv with a real database, a fake inventory and a fake broker.
type World struct {
	*app.App
	DB        *gorm.DB
	Inventory *Inventory
	Broker    *Broker

	t    testing.TB
	dsn  string
	edit []func(*app.Config)
}

// RequestTimeout is that of a request in a world. It leaves 800 ms for reserving.
const RequestTimeout = 1500 * time.Millisecond

// NewWorld returns a world on a database of its own, in which inventory gives these answers.
func NewWorld(tb testing.TB, answers ...Answer) *World {
	tb.Helper()
	return NewWorldOn(tb, dbtest.NewDSN(tb, sql.Orders()), answers, Timeout(RequestTimeout))
}

// NewWorldOn returns a world on a migrated database, with changed settings.
func NewWorldOn(tb testing.TB, dsn string, answers []Answer, edit ...func(*app.Config)) *World {
	tb.Helper()
	w := &World{
		DB: dbtest.Open(tb, dsn, database.Options{}), Inventory: NewInventory(tb, answers...), Broker: &Broker{},
		t: tb, dsn: dsn, edit: edit,
	}
	w.App = w.Replica()
	return w
}

// Replica is another order-srv on the world's database, with its inventory and broker.
func (w *World) Replica() *app.App {
	w.t.Helper()
	return Open(w.t, w.dsn, w.Inventory, w.Broker, w.edit...)
}

// Request is an order of one B and two A.
func Request(key string) orderapi.PlaceRequest {
	return orderapi.PlaceRequest{IdempotencyKey: key, Items: []orderapi.PlaceItem{{SKU: "B", Quantity: 1}, {SKU: "A", Quantity: 2}}}
}

// Place places [Request] for ann.
func (w *World) Place(key string) (orderapi.Reply, error) {
	w.t.Helper()
	return w.Intake.Place(w.t.Context(), "ann", Request(key))
}

// MustPlace places an order and fails the test unless the answer has the status.
func (w *World) MustPlace(key string, status int) orderapi.Reply {
	w.t.Helper()
	reply, err := w.Place(key)
	if err != nil || reply.Status != status {
		w.t.Fatalf("reply %d %s, error %v; want %d", reply.Status, reply.Body, err, status)
	}
	return reply
}

// Abandon ends a PENDING order as the sweeper does.
func (w *World) Abandon(orderNo string) {
	w.t.Helper()
	if n, err := w.Orders.Abandon(w.t.Context(), []string{orderNo}, 0, false, store.Sweeper); n != 1 || err != nil {
		w.t.Fatalf("abandoned %d, error %v", n, err)
	}
}

// Get returns an order of ann.
func (w *World) Get(orderNo string) order.Order {
	w.t.Helper()
	o, err := w.Orders.Get(w.t.Context(), "ann", orderNo)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// Only returns the only order of the database.
func (w *World) Only() order.Order {
	w.t.Helper()
	all, err := w.Orders.After(context.WithoutCancel(w.t.Context()), "", 10)
	if err != nil || len(all) != 1 {
		w.t.Fatalf("%d orders, error %v; want 1", len(all), err)
	}
	return all[0]
}

// Events returns the outbox's event ids without their order numbers.
func (w *World) Events() []string {
	w.t.Helper()
	var ids []string
	if err := w.DB.Raw("SELECT SUBSTRING(event_id, 28) FROM outbox ORDER BY id").Scan(&ids).Error; err != nil {
		w.t.Fatal(err)
	}
	return ids
}

// Half returns how the only half message ended. It ends after the buyers have their answers.
func (w *World) Half() (state mq.TxState) {
	w.t.Helper()
	testkit.Eventually(w.t, 10*time.Second, "the half message ends", func() error {
		_, states := w.Broker.Halves()
		if len(states) != 1 {
			return fmt.Errorf("%d half messages, want 1", len(states))
		}
		state = states[0]
		return nil
	})
	return state
}

// HalfOf is the half message of these orders, as the broker asks about it.
func HalfOf(orderNos ...string) mq.Message {
	body, err := json.Marshal(orderapi.StockRelease{Orders: orderNos})
	if err != nil {
		panic(err)
	}
	return mq.Message{ID: strings.Join(orderNos, " "), Key: orderNos[0], Body: body}
}

// CheckHalf runs the check-back and asks about the half message of these orders until it is decided.
func (w *World) CheckHalf(orderNos ...string) (state mq.TxState) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { w.CheckBack.Run(ctx) })
	defer running.Wait()
	defer cancel()
	testkit.Eventually(w.t, 20*time.Second, "the check-back decides", func() error {
		if state = w.CheckBack.Check(HalfOf(orderNos...)); state == mq.TxUnknown {
			return errors.New("it answers unknown")
		}
		return nil
	})
	return state
}

// Age makes an order older.
func (w *World) Age(orderNo string, by time.Duration) string {
	w.t.Helper()
	us := by.Microseconds()
	err := w.DB.Exec(`UPDATE orders SET created_at = created_at - INTERVAL ? MICROSECOND, updated_at = updated_at - INTERVAL ? MICROSECOND,
		expires_at = expires_at - INTERVAL ? MICROSECOND, due_at = due_at - INTERVAL ? MICROSECOND WHERE order_no = ?`, us, us, us, us, orderNo).Error
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.DB.Exec(`UPDATE queued_orders SET queued_at = queued_at - INTERVAL ? MICROSECOND, sent_at = sent_at - INTERVAL ? MICROSECOND
		WHERE order_no = ?`, us, us, orderNo).Error
	if err != nil {
		w.t.Fatal(err)
	}
	return orderNo
}

// Backdate makes an order older and gives it the number that it would have had then.
func (w *World) Backdate(orderNo string, by time.Duration) string {
	w.t.Helper()
	no := OldNumber(by)
	for _, table := range []string{"orders", "order_items", "queued_orders"} {
		if err := w.DB.Exec("UPDATE "+table+" SET order_no = ? WHERE order_no = ?", no, orderNo).Error; err != nil {
			w.t.Fatal(err)
		}
	}
	return w.Age(no, by)
}

// Code is the code of an error; "" for nil.
func Code(err error) string {
	if err == nil {
		return ""
	}
	return fault.From(err).Code
}

// Problem is the code of an answer that is a problem; "" for any other answer.
func Problem(r orderapi.Reply) string {
	var p fault.Problem
	if r.Status >= http.StatusBadRequest {
		_ = json.Unmarshal(r.Body, &p)
	}
	return p.Code
}

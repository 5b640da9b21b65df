package flow_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/flow/flowtest"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/sql"
)

// world is a desk with a real database, a fake inventory and a fake broker.
type world struct {
	t         *testing.T
	db        *gorm.DB
	store     *store.Store
	inventory *flowtest.Inventory
	broker    *flowtest.Broker
	desk      *flow.Desk
	healed    prometheus.Counter
	dsn       string
	timeout   time.Duration
}

// timeout is that of a request. It leaves 800 ms for reserving.
const timeout = 1500 * time.Millisecond

func newWorld(t *testing.T, answers ...flowtest.Answer) *world {
	t.Helper()
	return newWorldOn(t, dbtest.NewDSN(t, sql.Orders()), timeout, answers...)
}

func newWorldOn(t *testing.T, dsn string, timeout time.Duration, answers ...flowtest.Answer) *world {
	t.Helper()
	w := &world{
		t: t, db: dbtest.Open(t, dsn, database.Options{}), inventory: flowtest.NewInventory(t, answers...), broker: &flowtest.Broker{},
		dsn: dsn, timeout: timeout,
	}
	a := w.replica()
	w.store, w.desk, w.healed = a.Orders, a.Desk, a.Metrics.Healed.WithLabelValues(string(store.CheckBack))
	return w
}

// replica is order-srv on the world's database, with its inventory and broker.
func (w *world) replica() *app.App {
	w.t.Helper()
	return flowtest.Open(w.t, w.dsn, w.inventory, w.broker, flowtest.Timeout(w.timeout))
}

func request(key string) orderapi.PlaceRequest {
	return orderapi.PlaceRequest{IdempotencyKey: key, Items: []orderapi.PlaceItem{{SKU: "B", Quantity: 1}, {SKU: "A", Quantity: 2}}}
}

func (w *world) place(key string) (flow.Reply, error) {
	w.t.Helper()
	return w.desk.Place(w.t.Context(), "ann", request(key))
}

// only is the one order that there is.
func (w *world) only() order.Order {
	w.t.Helper()
	all, err := w.store.After(context.WithoutCancel(w.t.Context()), "", 10)
	if err != nil || len(all) != 1 {
		w.t.Fatalf("%d orders, error %v; want 1", len(all), err)
	}
	return all[0]
}

func (w *world) events() []string {
	w.t.Helper()
	var ids []string
	if err := w.db.Raw("SELECT SUBSTRING(event_id, 28) FROM outbox ORDER BY id").Scan(&ids).Error; err != nil {
		w.t.Fatal(err)
	}
	return ids
}

// half is how the one half message ended.
func (w *world) half() mq.TxState {
	w.t.Helper()
	_, states := w.broker.Halves()
	if len(states) != 1 {
		w.t.Fatalf("%d half messages, want 1", len(states))
	}
	return states[0]
}

func (w *world) age(orderNo string, by time.Duration) {
	w.t.Helper()
	err := w.db.Exec("UPDATE orders SET created_at = created_at - INTERVAL ? MICROSECOND WHERE order_no = ?", by.Microseconds(), orderNo).Error
	if err != nil {
		w.t.Fatal(err)
	}
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return fault.From(err).Code
}

// codeOf is the code of a problem, "" for anything else.
func codeOf(body []byte) string {
	var p fault.Problem
	_ = json.Unmarshal(body, &p)
	return p.Code
}

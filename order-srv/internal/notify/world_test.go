package notify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/internal/notify"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/webhook"
	"holdfast/sql"
)

// patience is how long a condition may take on a busy machine.
const patience = 30 * time.Second

// world is order-srv without a running notifier; tests start their own.
type world struct {
	*ordertest.World
	t *testing.T
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dsn := dbtest.NewDSN(t, sql.Orders())
	return &world{ordertest.NewWorldOn(t, dsn, nil, ordertest.Timeout(patience)), t} // time for a busy machine
}

// start runs a notifier as each replica does, until the test ends or stop is called. Loopback may be called.
func (w *world) start(edit func(*notify.Config)) (n *notify.Notifier, metrics *prometheus.Registry, stop func()) {
	w.t.Helper()
	guard, err := notify.NewGuard([]string{"127.0.0.0/8"})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := notify.Config{
		Store: w.Orders, Guard: guard, Delays: notify.Delays{20 * time.Millisecond, 40 * time.Millisecond}, Timeout: 2 * time.Second,
		Poll: 20 * time.Millisecond, Send: w.Broker, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	}
	if edit != nil {
		edit(&cfg)
	}
	n = notify.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	w.t.Cleanup(stop)
	return n, cfg.Registerer.(*prometheus.Registry), stop
}

// hook sets a user's webhook and returns its secret.
func (w *world) hook(user, url string) string {
	w.t.Helper()
	h, err := w.Orders.PutWebhook(w.t.Context(), order.Webhook{UserID: user, URL: url, Secret: "whsec_" + user})
	if err != nil {
		w.t.Fatal(err)
	}
	return h.Secret
}

// paid places an order of ann and pays it.
func (w *world) paid(key string) string {
	w.t.Helper()
	return w.paidBy("ann", key)
}

func (w *world) paidBy(user, key string) string {
	w.t.Helper()
	reply, err := w.Intake.Place(w.t.Context(), user, ordertest.Request(key))
	if err != nil || reply.Status != http.StatusCreated {
		w.t.Fatalf("reply %d %s, error %v", reply.Status, reply.Body, err)
	}
	if _, err := w.Orders.Pay(w.t.Context(), user, reply.OrderNo); err != nil {
		w.t.Fatal(err)
	}
	return reply.OrderNo
}

// of returns the only notification of an order.
func (w *world) of(user, orderNo string) order.Notification {
	w.t.Helper()
	found, err := w.Orders.Notifications(w.t.Context(), user, orderNo)
	if err != nil || len(found) != 1 {
		w.t.Fatalf("%d notifications of %s, error %v; want 1", len(found), orderNo, err)
	}
	return found[0]
}

// becomes waits until ann's notification has a state, and returns it.
func (w *world) becomes(orderNo string, want order.NotificationState) (n order.Notification) {
	w.t.Helper()
	testkit.Eventually(w.t, patience, "the notification is "+string(want), func() error {
		if n = w.of("ann", orderNo); n.State != want {
			return fmt.Errorf("it is %+v", n)
		}
		return nil
	})
	return n
}

// receiver is a buyer's server. It verifies what it gets.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	events []webhook.Event
	bad    []error
	hits   int
}

// newReceiver answers each verified notification by answer; nil: with 200.
func newReceiver(t *testing.T, secret string, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		e, err := webhook.Read(req, secret, time.Now())
		r.mu.Lock()
		r.hits++
		if err != nil {
			r.bad = append(r.bad, err)
		} else {
			r.events = append(r.events, e)
		}
		r.mu.Unlock()
		if answer != nil {
			answer(rw, req)
		}
	}))
	t.Cleanup(func() {
		r.Close()
		if len(r.bad) > 0 {
			t.Errorf("notifications that were refused: %v", r.bad)
		}
	})
	return r
}

// seen returns the events that came.
func (r *receiver) seen() []webhook.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// hastened are the messages that were sent to hasten.
func (w *world) hastened() (bodies []orderapi.OrderNotification) {
	w.t.Helper()
	for _, m := range w.Broker.Sent() {
		if m.Topic != orderapi.TopicOrderNotifications {
			continue
		}
		var b orderapi.OrderNotification
		if err := json.Unmarshal(m.Body, &b); err != nil {
			w.t.Fatal(err)
		}
		bodies = append(bodies, b)
	}
	return bodies
}

package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
	"holdfast/pkg/webhook"
)

// notifyRows are the rows in which order-srv dies while it notifies a buyer. No message is needed to repeat the
// notification: its claim runs out.
func notifyRows() []crashRow {
	return []crashRow{
		{killed: "notification: order-srv after the claim, before the call", run: notifierDies(crash.OrderNotifying, 1)},
		{killed: "notification: order-srv after the call, before the record", run: notifierDies(crash.OrderNotified, 2)},
	}
}

// notifierDies kills order-srv at a point; the buyer must have got the notification so many times in the end, each time
// the same event.
func notifierDies(p crash.Point, calls int) func(*testing.T, crashBroker) string {
	return func(t *testing.T, b crashBroker) string {
		settings := noHealer()
		settings["WEBHOOK_ALLOW"] = "127.0.0.0/8"
		cs := newCrashShop(t, b, setup{strategy: "conditional"}, settings, p)
		var r buyerServer
		server := httptest.NewServer(&r)
		t.Cleanup(server.Close)
		var hook orderapi.Webhook
		a := cs.must(http.StatusOK, http.MethodPut, "/v1/webhook", cs.buyer, fmt.Sprintf(`{"url":%q}`, server.URL))
		if err := json.Unmarshal([]byte(a.Body), &hook); err != nil {
			t.Fatal(err)
		}
		r.use(hook.Secret)
		o := cs.placed()
		// The payment may be answered or not: order-srv dies when it has committed.
		_, _ = cs.call(http.MethodPost, "/v1/orders/"+o.OrderNo+"/payment", cs.buyer, "")
		cs.died(cs.order, p)
		cs.back(cs.order, nil)
		cs.becomes(o.OrderNo, orderapi.StatusPaid)
		testkit.Eventually(t, patience, "the notification is delivered", func() error {
			a, err := cs.call(http.MethodGet, "/v1/orders/"+o.OrderNo+"/notifications", cs.buyer, "")
			if err != nil {
				return err
			}
			var found orderapi.Notifications
			if err := json.Unmarshal([]byte(a.Body), &found); err != nil {
				return err
			}
			if n := found.Notifications; len(n) != 1 || n[0].State != orderapi.NotificationDelivered || n[0].Attempts != 2 {
				return fmt.Errorf("notifications %+v", n)
			}
			return nil
		})
		if err := r.got(calls); err != nil {
			t.Error(err)
		}
		cs.holds(o.OrderNo, "confirmed")
		cs.stock(units-1, 0, 1)
		cs.healedBy("notifier", 1)
		cs.noted(o.OrderNo, "notifier", "sent the notification of")
		return fmt.Sprintf("PAID; notified %d times by the notifier, with one event id", calls)
	}
}

// buyerServer is a buyer's receiver. It verifies what it gets.
type buyerServer struct {
	mu     sync.Mutex
	secret string
	events []webhook.Event
	errs   []error
}

func (r *buyerServer) use(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = secret
}

func (r *buyerServer) ServeHTTP(_ http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, err := webhook.Read(req, r.secret, time.Now())
	r.events, r.errs = append(r.events, e), append(r.errs, err)
}

// got returns an error unless one event came so many times, each time with a good signature.
func (r *buyerServer) got(times int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) != times || r.events[0] != r.events[times-1] {
		return fmt.Errorf("the receiver got %+v, want one event %d times", r.events, times)
	}
	return errors.Join(r.errs...)
}

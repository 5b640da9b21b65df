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
		{killed: "notification: the broker, its disk lost, between two attempts", run: notifiedWithoutDisk},
	}
}

// notifierDies kills order-srv at a point; the buyer must have got the notification so many times in the end, each time
// the same event.
func notifierDies(p crash.Point, calls int) func(*testing.T, crashBroker) string {
	return func(t *testing.T, b crashBroker) string {
		settings := noHealer()
		settings["WEBHOOK_ALLOW"] = "127.0.0.0/8"
		cs := newCrashShop(t, b, setup{strategy: "conditional"}, settings, p)
		r := cs.hook(0)
		o := cs.placed()
		// The payment may be answered or not: order-srv dies when it has committed.
		_, _ = cs.call(http.MethodPost, "/v1/orders/"+o.OrderNo+"/payment", cs.buyer, "")
		cs.died(cs.order, p)
		cs.back(cs.order, nil)
		cs.becomes(o.OrderNo, orderapi.StatusPaid)
		cs.notified(o.OrderNo, orderapi.NotificationDelivered, 2)
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

// notifiedWithoutDisk has the first attempt fail. The message that is to hasten the second one is lost with the
// broker's disk: the notifier finds the row.
func notifiedWithoutDisk(t *testing.T, b crashBroker) string {
	own := newOwnBroker(t, b)
	settings := noHealer()
	settings["WEBHOOK_ALLOW"], settings["NOTIFY_DELAYS"] = "127.0.0.0/8", "20s"
	cs := newCrashShop(t, own.crashBroker, setup{strategy: "conditional"}, settings)
	r := cs.hook(1)
	o := cs.placed()
	cs.do(o.OrderNo, "payment")
	cs.notified(o.OrderNo, orderapi.NotificationPending, 1)
	own.loseDisk()
	cs.notified(o.OrderNo, orderapi.NotificationDelivered, 2)
	if err := r.got(2); err != nil {
		t.Error(err)
	}
	return "PAID; notified when the row was due"
}

// hook sets the buyer's webhook to a receiver that answers the first notifications with 503.
func (cs *crashShop) hook(failing int) *buyerServer {
	cs.tb.Helper()
	r := &buyerServer{failing: failing}
	server := httptest.NewServer(r)
	cs.tb.Cleanup(server.Close)
	a := cs.must(http.StatusOK, http.MethodPut, "/v1/webhook", cs.buyer, fmt.Sprintf(`{"url":%q}`, server.URL))
	var hook orderapi.Webhook
	if err := json.Unmarshal(a.Body, &hook); err != nil {
		cs.tb.Fatal(err)
	}
	r.use(hook.Secret)
	return r
}

// notified waits until the order's notification has a state after so many attempts.
func (cs *crashShop) notified(orderNo, state string, attempts int) {
	cs.tb.Helper()
	testkit.Eventually(cs.tb, patience, "the notification is "+state, func() error {
		a, err := cs.call(http.MethodGet, "/v1/orders/"+orderNo+"/notifications", cs.buyer, "")
		if err != nil {
			return err
		}
		var found orderapi.Notifications
		if err := json.Unmarshal(a.Body, &found); err != nil {
			return err
		}
		if n := found.Notifications; len(n) != 1 || n[0].State != state || n[0].Attempts != attempts {
			return fmt.Errorf("notifications %+v", n)
		}
		return nil
	})
}

// buyerServer is a buyer's receiver. It verifies what it gets.
type buyerServer struct {
	failing int // so many are answered with 503

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

func (r *buyerServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, err := webhook.Read(req, r.secret, time.Now())
	r.events, r.errs = append(r.events, e), append(r.errs, err)
	if len(r.events) <= r.failing {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
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

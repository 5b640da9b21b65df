package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/internal/events"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq"
)

// ender is a stock whose every operation ends with the error that is set for its order.
type ender struct {
	fails map[string]error

	mu    sync.Mutex
	calls []string // by name
}

func (e *ender) Confirm(_ context.Context, no string) error { return e.end("confirm ", no) }

func (e *ender) Release(_ context.Context, no string) error { return e.end("release ", no) }

func (e *ender) end(how, no string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, how+no)
	slices.Sort(e.calls)
	return e.fails[no]
}

func message(t *testing.T, body any) mq.Message {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return mq.Message{Body: b}
}

// fate is what a handler's error has become of its message.
func fate(err error) string {
	switch {
	case err == nil:
		return "acknowledged"
	case mq.IsDiscard(err):
		return "discarded"
	}
	return "retried"
}

func TestConsumers_OrderEvent(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, status string
		fails        error
		call, fate   string
		alarms       int
	}{
		{"paid", orderapi.StatusPaid, nil, "confirm NO", "acknowledged", 0},
		{"cancelled", orderapi.StatusCancelled, nil, "release NO", "acknowledged", 0},
		{"expired", orderapi.StatusExpired, nil, "release NO", "acknowledged", 0},
		{"paid but released", orderapi.StatusPaid, stock.ErrClosed, "confirm NO", "acknowledged", 1},
		{"paid but unknown", orderapi.StatusPaid, stock.ErrUnknownOrder, "confirm NO", "acknowledged", 1},
		{"cancelled but confirmed", orderapi.StatusCancelled, stock.ErrConfirmed, "release NO", "acknowledged", 1},
		{"contended", orderapi.StatusPaid, stock.ErrContended, "confirm NO", "retried", 0},
		{"unknown error", orderapi.StatusExpired, errors.New("disk on fire"), "release NO", "retried", 0},
		{"no order number", orderapi.StatusPaid, stock.ErrInvalidOrderNo, "confirm NO", "discarded", 0},
		{"unknown status", "SHIPPED", nil, "", "discarded", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e, registry := &ender{fails: map[string]error{"NO": c.fails}}, prometheus.NewRegistry()
			consumers := events.New(e, slog.New(slog.DiscardHandler), registry)
			err := consumers.OrderEvent(t.Context(), message(t, orderapi.OrderEvent{OrderNo: "NO", Status: c.status}))
			if got := fate(err); got != c.fate {
				t.Errorf("%s (%v), want %s", got, err, c.fate)
			}
			var want []string
			if c.call != "" {
				want = []string{c.call}
			}
			if diff := cmp.Diff(want, e.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if got := alarms(t, registry); got != c.alarms {
				t.Errorf("%d alarms, want %d", got, c.alarms)
			}
		})
	}
}

func TestConsumers_StockRelease(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	cases := []struct {
		name   string
		fails  map[string]error
		fate   string
		alarms int
	}{
		{"all", nil, "acknowledged", 0},
		{"one confirmed", map[string]error{"A": stock.ErrConfirmed}, "acknowledged", 1},
		{"one fails", map[string]error{"A": broken}, "retried", 0},
		{"one is no order number", map[string]error{"A": stock.ErrInvalidOrderNo}, "discarded", 0},
		{"both", map[string]error{"A": stock.ErrInvalidOrderNo, "B": broken}, "retried", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e, registry := &ender{fails: c.fails}, prometheus.NewRegistry()
			consumers := events.New(e, slog.New(slog.DiscardHandler), registry)
			err := consumers.StockRelease(t.Context(), message(t, orderapi.StockRelease{Orders: []string{"A", "B"}}))
			if got := fate(err); got != c.fate {
				t.Errorf("%s (%v), want %s", got, err, c.fate)
			}
			if diff := cmp.Diff([]string{"release A", "release B"}, e.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if got := alarms(t, registry); got != c.alarms {
				t.Errorf("%d alarms, want %d", got, c.alarms)
			}
		})
	}
}

// TestConsumers_retriesWhatFailed delivers a list again: the orders that were ended are left alone. The discarded one
// is found again, so that the message ends as a dead letter.
func TestConsumers_retriesWhatFailed(t *testing.T) {
	t.Parallel()
	e := &ender{fails: map[string]error{"B": errors.New("disk on fire"), "D": stock.ErrInvalidOrderNo}}
	consumers := events.New(e, slog.New(slog.DiscardHandler), nil)
	for name, handle := range map[string]func(context.Context, mq.Message) error{"release": consumers.StockRelease, "event": consumers.OrderEvent} {
		body := any(orderapi.StockRelease{Orders: []string{"A", "B", "C", "D"}})
		if name == "event" {
			body = orderapi.OrderEvent{Orders: []string{"A", "B", "C", "D"}, Status: orderapi.StatusExpired}
		}
		m := message(t, body)
		m.ID = name
		e.fails["B"] = errors.New("disk on fire")
		for attempt, want := range []struct {
			calls []string
			fate  string
		}{
			{[]string{"release A", "release B", "release C", "release D"}, "retried"},
			{[]string{"release B", "release D"}, "retried"},
			{[]string{"release B", "release D"}, "discarded"},
		} {
			if attempt == 2 {
				delete(e.fails, "B")
			}
			e.calls = nil
			m.Attempt = attempt
			if got := fate(handle(t.Context(), m)); got != want.fate {
				t.Errorf("%s, delivery %d: %s, want %s", name, attempt, got, want.fate)
			}
			if diff := cmp.Diff(want.calls, e.calls); diff != "" {
				t.Errorf("%s, delivery %d (-want +got):\n%s", name, attempt, diff)
			}
		}
	}
}

// TestConsumers_OrderEvent_list ends all orders of an event, also beside one that fails.
func TestConsumers_OrderEvent_list(t *testing.T) {
	t.Parallel()
	for status, how := range map[string]string{orderapi.StatusPaid: "confirm ", orderapi.StatusExpired: "release "} {
		e := &ender{fails: map[string]error{"B": errors.New("disk on fire")}}
		consumers := events.New(e, slog.New(slog.DiscardHandler), nil)
		err := consumers.OrderEvent(t.Context(), message(t, orderapi.OrderEvent{Orders: []string{"A", "B", "C"}, Status: status}))
		if got := fate(err); got != "retried" {
			t.Errorf("%s: %s (%v), want retried", status, got, err)
		}
		if diff := cmp.Diff([]string{how + "A", how + "B", how + "C"}, e.calls); diff != "" {
			t.Errorf("%s: calls (-want +got):\n%s", status, diff)
		}
	}
}

func TestConsumers_Malformed(t *testing.T) {
	t.Parallel()
	e := &ender{}
	consumers := events.New(e, slog.New(slog.DiscardHandler), nil)
	for _, body := range []string{"", "{", "[]", `{"orders":"A"}`, `{"orders":[]}`, `{"status":7}`} {
		m := mq.Message{Body: []byte(body)}
		for name, handle := range map[string]mq.Handler{"release": consumers.StockRelease, "event": consumers.OrderEvent} {
			if err := handle(t.Context(), m); !mq.IsDiscard(err) {
				t.Errorf("%s of %q: %v, want it discarded", name, body, err)
			}
		}
	}
	if e.calls != nil {
		t.Errorf("malformed messages led to %v", e.calls)
	}
}

// TestConsumers_Subscriptions: what the bus would refuse with a panic when the service starts.
func TestConsumers_Subscriptions(t *testing.T) {
	t.Parallel()
	bus, err := mq.Open(mq.Config{Namesrv: []string{"127.0.0.1:1"}, Topics: events.Topics()})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range events.New(&ender{}, slog.New(slog.DiscardHandler), nil).Subscriptions() {
		bus.Subscribe(s)
		if s.Ordered != (s.Topic == orderapi.TopicOrderEvents) {
			t.Errorf("topic %s: ordered %v", s.Topic, s.Ordered)
		}
	}
	if err := bus.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func alarms(t *testing.T, registry *prometheus.Registry) int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var sum float64
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return int(sum)
}

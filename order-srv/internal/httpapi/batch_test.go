package httpapi_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/httpapi"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/config"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/telemetry"
	"holdfast/sql"
)

// batchOrder is a request of ann for two units of A.
func batchOrder(key string) orderapi.BatchOrder {
	return orderapi.BatchOrder{
		UserID: "ann", Role: "buyer", RequestID: "r-" + key, DeadlineMS: 9000,
		Order: orderapi.PlaceRequest{IdempotencyKey: key, Items: []orderapi.PlaceItem{{SKU: "A", Quantity: 2}}},
	}
}

// newBatchWorld is a world in which an order has 10 s.
func newBatchWorld(t *testing.T, placing *admit.Limiter, answers ...ordertest.Answer) *world {
	t.Helper()
	return openWorld(t, 10*time.Second, placing, nil, nil, answers...)
}

// sendBatch sends a batch and passes on each answer when it comes. A test without a credential sends "".
func sendBatch(t *testing.T, url, credential string, orders []orderapi.BatchOrder, answered func(orderapi.BatchAnswer)) {
	t.Helper()
	body, err := json.Marshal(orderapi.PlaceBatch{Orders: orders})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, url+"/v1/orders/batch", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(header.Credential, credential)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("got %d %s", res.StatusCode, b)
	}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	seen := map[int]bool{}
	for lines.Scan() {
		var a orderapi.BatchAnswer
		if err := a.ParseLine(lines.Bytes()); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		if seen[a.Order] || a.UserID != orders[a.Order].UserID {
			t.Errorf("order %d is answered twice, or for %q", a.Order, a.UserID)
		}
		seen[a.Order] = true
		a.Body = bytes.Clone(a.Body)
		answered(a)
	}
	if len(seen) != len(orders) || lines.Err() != nil {
		t.Errorf("%d of %d orders are answered; %v", len(seen), len(orders), lines.Err())
	}
}

// placeBatch returns the answers to a batch in the order of its requests.
func (w *world) placeBatch(orders ...orderapi.BatchOrder) []orderapi.BatchAnswer {
	w.t.Helper()
	answers := make([]orderapi.BatchAnswer, len(orders))
	sendBatch(w.t, w.url, "", orders, func(a orderapi.BatchAnswer) { answers[a.Order] = a })
	return answers
}

// alone sends an order of a batch as the gateway sends one that comes alone.
func (w *world) alone(o orderapi.BatchOrder) reply {
	w.t.Helper()
	body, err := json.Marshal(o.Order)
	if err != nil {
		w.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, w.url+"/v1/orders", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", header.UserID: o.UserID, header.UserRole: o.Role, header.RequestID: o.RequestID, header.Deadline: fmt.Sprint(o.DeadlineMS),
	} {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(b)}
}

// changing are the parts of an answer that differ between two orders: numbers and times.
var changing = regexp.MustCompile(`[0-9A-HJKMNP-TV-Z]{26}|\d{4}-\d\d-\d\dT[0-9:.]+Z`)

// TestPlaceBatch_equalAnswers: the answer to an order of a batch is that of an order that comes alone, byte by byte but
// for numbers and times, for each kind of answer. The answer to a repeat is the same with them.
func TestPlaceBatch_equalAnswers(t *testing.T) {
	t.Parallel()
	edit := func(change func(*orderapi.BatchOrder)) func(string) orderapi.BatchOrder {
		return func(key string) orderapi.BatchOrder {
			o := batchOrder(key)
			change(&o)
			return o
		}
	}
	items := func(items ...orderapi.PlaceItem) func(string) orderapi.BatchOrder {
		return edit(func(o *orderapi.BatchOrder) { o.Order.Items = items })
	}
	full := admit.New(admit.Config{Max: 1, MaxWait: time.Millisecond})
	slot, err := full.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slot.Release(admit.Served) })
	contended := ordertest.Refuse(fault.New(fault.Contended, "contended", "lost too many races"))
	for _, tt := range []struct {
		name   string
		answer ordertest.Answer
		limit  *admit.Limiter
		make   func(key string) orderapi.BatchOrder
		status int
		code   string
	}{
		{"placed", ordertest.OK, nil, batchOrder, 201, ""},
		{"sold out", ordertest.Refuse(inventoryapi.ErrOutOfStock), nil, batchOrder, 409, "out_of_stock"},
		{"contended", contended, nil, batchOrder, 503, "contended"},
		{"unknown outcome", ordertest.Lost, nil, edit(func(o *orderapi.BatchOrder) { o.DeadlineMS = 1200 }), 202, ""},
		{"no slot", ordertest.OK, full, batchOrder, 429, "overloaded"},
		{"no key", ordertest.OK, nil, edit(func(o *orderapi.BatchOrder) { o.Order.IdempotencyKey = "" }), 400, "missing_idempotency_key"},
		{"bad key", ordertest.OK, nil, edit(func(o *orderapi.BatchOrder) { o.Order.IdempotencyKey = "a b" }), 400, "invalid_idempotency_key"},
		{"no user", ordertest.OK, nil, edit(func(o *orderapi.BatchOrder) { o.UserID = "" }), 400, "invalid_user"},
		{"no lines", ordertest.OK, nil, items(), 400, "invalid_lines"},
		{"a SKU twice", ordertest.OK, nil, items(orderapi.PlaceItem{SKU: "A", Quantity: 1}, orderapi.PlaceItem{SKU: "A", Quantity: 1}), 400, "invalid_lines"},
		{"a strategy", ordertest.OK, nil, edit(func(o *orderapi.BatchOrder) { o.Order.Strategy = "naive" }), 403, "strategy_not_allowed"},
		{"a flow", ordertest.OK, nil, edit(func(o *orderapi.BatchOrder) { o.Order.Flow = "queue" }), 403, "flow_not_allowed"},
		{"no time", ordertest.OK, nil, edit(func(o *orderapi.BatchOrder) { o.DeadlineMS = 0 }), 504, "timeout"},
		{"a bad deadline", ordertest.OK, nil, edit(func(o *orderapi.BatchOrder) { o.DeadlineMS = -1 }), 400, "invalid_deadline"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newBatchWorld(t, tt.limit, tt.answer)
			single, second := tt.make("k1"), tt.make("k2")
			second.RequestID = single.RequestID
			if second.Order.IdempotencyKey != "k2" {
				second.Order.IdempotencyKey = single.Order.IdempotencyKey
			}
			want := w.alone(single)
			if want.status != tt.status || want.code() != tt.code {
				t.Fatalf("alone: got %d %s, want %d %s", want.status, want.body, tt.status, tt.code)
			}
			other := batchOrder("other")
			got := w.placeBatch(other, second, single)
			if mask := changing.ReplaceAllString(string(got[1].Body), "~"); got[1].Status != want.status || mask != changing.ReplaceAllString(want.body, "~") {
				t.Errorf("in a batch: %d %s\nalone:      %d %s", got[1].Status, got[1].Body, want.status, want.body)
			}
			if repeats := tt.status < 500; repeats && (got[2].Status != want.status || string(got[2].Body) != want.body) {
				t.Errorf("the repeat in a batch: %d %s\nalone:                 %d %s", got[2].Status, got[2].Body, want.status, want.body)
			}
			if again := w.alone(second); tt.status < 500 && (again.status != got[1].Status || again.body != string(got[1].Body)) {
				t.Errorf("the repeat alone: %d %s\nin a batch:       %d %s", again.status, again.body, got[1].Status, got[1].Body)
			}
		})
	}
}

// TestPlaceBatch_mismatch: a key that was used for another payload is refused in a batch as it is alone, and twice the
// same request in one batch is one order.
func TestPlaceBatch_mismatch(t *testing.T) {
	t.Parallel()
	w := newBatchWorld(t, nil, ordertest.OK)
	first := batchOrder("k")
	other := first
	other.Order.Items = []orderapi.PlaceItem{{SKU: "B", Quantity: 1}}
	if r := w.alone(first); r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	got := w.placeBatch(first, other, batchOrder("k2"), batchOrder("k2"))
	if got[0].Status != 201 || got[1].Status != 422 || !strings.Contains(string(got[1].Body), `"idempotency_mismatch"`) {
		t.Errorf("the repeat got %d %s, the other payload %d %s", got[0].Status, got[0].Body, got[1].Status, got[1].Body)
	}
	all, err := w.store.After(t.Context(), "", 10)
	if err != nil || len(all) != 2 {
		t.Errorf("%d orders, want 2; %v", len(all), err)
	}
}

// TestPlaceBatch_half refuses every second order of a batch; the others are placed.
func TestPlaceBatch_half(t *testing.T) {
	t.Parallel()
	w := newBatchWorld(t, nil, ordertest.OK)
	var orders []orderapi.BatchOrder
	for n := range 40 {
		o := batchOrder(fmt.Sprint("k", n))
		o.UserID = fmt.Sprint("user", n)
		if n%2 == 1 {
			o.Order.Items[0].Quantity = 0
		}
		orders = append(orders, o)
	}
	for n, a := range w.placeBatch(orders...) {
		if n%2 == 1 {
			if a.Status != 400 || !strings.Contains(string(a.Body), fmt.Sprintf(`"request_id":"r-k%d"`, n)) {
				t.Errorf("order %d: %d %s", n, a.Status, a.Body)
			}
			continue
		}
		var o orderapi.Order
		if err := json.Unmarshal(a.Body, &o); err != nil || a.Status != 201 {
			t.Fatalf("order %d: %d %s", n, a.Status, a.Body)
		}
		if r := w.call(http.MethodGet, "/v1/orders/"+o.OrderNo, orders[n].UserID, ""); r.status != 200 {
			t.Errorf("order %d is not its user's: %d %s", n, r.status, r.body)
		}
		if r := w.call(http.MethodGet, "/v1/orders/"+o.OrderNo, orders[(n+2)%40].UserID, ""); r.status != 404 {
			t.Errorf("order %d is another user's, too: %d", n, r.status)
		}
	}
}

// TestPlaceBatch_deadlines: each order is answered at its own deadline, while the others of the batch go on.
func TestPlaceBatch_deadlines(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	w := newBatchWorld(t, nil, ordertest.Then(func(string) { <-release }, ordertest.OK))
	soon, late := batchOrder("soon"), batchOrder("late")
	soon.DeadlineMS = 20 // too little to reserve anything
	var got []orderapi.BatchAnswer
	sendBatch(t, w.url, "", []orderapi.BatchOrder{late, soon}, func(a orderapi.BatchAnswer) {
		if got = append(got, a); len(got) == 1 {
			close(release)
		}
	})
	if got[0].Order != 1 || got[0].Status == 201 {
		t.Errorf("the first answer is %d %s to order %d, want that to the order whose time is up", got[0].Status, got[0].Body, got[0].Order)
	}
	if got[1].Status != 201 {
		t.Errorf("the other order: %d %s", got[1].Status, got[1].Body)
	}
}

// TestPlaceBatch_observed: each order of a batch has an access line with its request id, and counts as a request.
func TestPlaceBatch_observed(t *testing.T) {
	t.Parallel()
	a := ordertest.Open(t, dbtest.NewDSN(t, sql.Orders()), ordertest.NewInventory(t, ordertest.OK), &ordertest.Broker{})
	var log testkit.Buffer
	registry := prometheus.NewRegistry()
	cfg := a.HTTP
	cfg.Engine.Log, cfg.Engine.Registry, cfg.Engine.Sampled = telemetry.NewLogger(&log, "order-srv"), registry, false
	cfg.Engine.Credentials = []config.Secret{"the credential"}
	server := httptest.NewServer(httpapi.New(cfg))
	t.Cleanup(server.Close)
	bad := batchOrder("k3")
	bad.UserID = "not a user"
	sendBatch(t, server.URL, "the credential", []orderapi.BatchOrder{batchOrder("k1"), batchOrder("k2"), bad}, func(a orderapi.BatchAnswer) {
		if want := []int{201, 201, 400}[a.Order]; a.Status != want {
			t.Errorf("order %d: %d %s", a.Order, a.Status, a.Body)
		}
	})
	counts := map[string]float64{}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "http_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			counts[strings.Join(labels, " ")] = m.GetCounter().GetValue()
		}
	}
	if counts["POST /v1/orders 201"] != 2 || counts["POST /v1/orders 400"] != 1 {
		t.Errorf("requests: %v", counts)
	}
	for _, id := range []string{"r-k1", "r-k2", "r-k3"} {
		if n := strings.Count(log.String(), id); n != 1 {
			t.Errorf("%d access lines with the id %s:\n%s", n, id, log.String())
		}
	}
	res, err := http.Post(server.URL+"/v1/orders/batch", "application/json", strings.NewReader(`{"orders":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 401 {
		t.Errorf("without the service credential: %d", res.StatusCode)
	}
}

// TestPlaceBatch_bounds: a batch without orders, and one with too many, is refused as a whole.
func TestPlaceBatch_bounds(t *testing.T) {
	t.Parallel()
	w := newBatchWorld(t, nil, ordertest.OK)
	if r := w.call(http.MethodPost, "/v1/orders/batch", "", `{"orders":[]}`); r.code() != "invalid_orders" {
		t.Errorf("no orders: %d %s", r.status, r.body)
	}
	body, err := json.Marshal(orderapi.PlaceBatch{Orders: make([]orderapi.BatchOrder, orderapi.MaxBatch+1)})
	if err != nil {
		t.Fatal(err)
	}
	if r := w.call(http.MethodPost, "/v1/orders/batch", "", string(body)); r.code() != "invalid_orders" {
		t.Errorf("too many: %d %s", r.status, r.body)
	}
}

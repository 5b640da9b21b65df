package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// calmCases are the cases in which nothing fails. All of them run at the same time.
func calmCases(t *testing.T, s *flowSuite, b crashBroker) {
	env := patient()
	env["QUEUE_TIMEOUT"] = "120s"
	sh := newShop(t, setup{strategy: "conditional", replicas: 2, wallet: true, namesrv: flowBroker(t, b), env: env})
	var running sync.WaitGroup
	for name, run := range map[string]func(t *testing.T, f *flowShop) string{
		caseSellOut:  func(t *testing.T, f *flowShop) string { return f.sellOut(t, "HOT", s.size(60, 400), s.size(20, 100)) },
		caseExact:    func(t *testing.T, f *flowShop) string { return f.sellOut(t, "EXACT", s.size(30, 200), s.size(30, 200)) },
		caseRepeats:  func(t *testing.T, f *flowShop) string { return f.repeats(t, s.size(8, 40)) },
		caseBadInput: func(t *testing.T, f *flowShop) string { return f.badInput(t) },
	} {
		running.Go(func() { s.each(t, sh, b, name, run) })
	}
	running.Wait()
	r := sh.audit(patience)
	sh.truthful(r)
	for _, svc := range slices.Concat(sh.gateways, sh.orders) {
		wantServed(t, sh, svc, "/v1/orders", 20)
	}
	if n := len(r.Lost); n > 0 {
		t.Errorf("%d losses: %v", n, r.Lost)
	}
}

// flowBroker returns a broker that no other test stops.
func flowBroker(t *testing.T, b crashBroker) string {
	t.Helper()
	return newOwnBroker(t, b).namesrv
}

// sellOut lets buyers order one unit each at the same time. Every unit must be sold, and all other buyers refused.
func (f *flowShop) sellOut(t *testing.T, name string, buyers, units int) string {
	sku := f.sku(name)
	f.stock(sku, units)
	var mu sync.Mutex
	ends, first := map[int]int{}, map[int]int{}
	tokens := f.tokens(name, buyers)
	start := make(chan struct{})
	var buying sync.WaitGroup
	for i, token := range tokens {
		buying.Go(func() {
			<-start
			begun, a, err := f.decide(token, fmt.Sprintf("%s-%s-%d", f.flow.name, name, i), one(sku, 1))
			if err != nil || a.Status != http.StatusCreated && a.code() != "out_of_stock" {
				t.Errorf("buyer %d: %v, %d %s", i, err, a.Status, a.Body)
			}
			mu.Lock()
			defer mu.Unlock()
			ends[a.Status]++
			first[begun]++
		})
	}
	close(start)
	buying.Wait()
	placed, refused := ends[http.StatusCreated], ends[http.StatusConflict]
	if placed != units || refused != buyers-units {
		t.Errorf("placed %d, refused %d; want %d and %d", placed, refused, units, buyers-units)
	}
	// On a busy machine a flow that decides at once may leave some orders to its recovery, and answers 202 to them.
	taken := first[f.flow.takes]
	if f.flow.takes != http.StatusAccepted && taken > 0 {
		taken += first[http.StatusAccepted]
	}
	if taken < units {
		t.Errorf("first answers %v, want %d or more with %d", first, units, f.flow.takes)
	}
	if left := f.available(sku); left != 0 {
		t.Errorf("%d units are left", left)
	}
	return fmt.Sprintf("%d placed, %d refused", placed, refused)
}

// sku returns a name that is unique to the flow.
func (f *flowShop) sku(name string) string { return strings.ToUpper(f.flow.name) + "-" + name }

// tokens logs users in and returns their tokens.
func (f *flowShop) tokens(name string, n int) []string {
	f.tb.Helper()
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = f.login(fmt.Sprintf("%s-%s-%d", f.flow.name, name, i), "buyer")
	}
	return tokens
}

// repeats has each buyer send one request four times at once, to both replicas of the gateway, which use both replicas
// of order-srv. All answers must be the same, also those to later repeats.
func (f *flowShop) repeats(t *testing.T, buyers int) string {
	const copies = 4
	sku := f.sku("TWICE")
	f.stock(sku, buyers)
	bodies := make([][]byte, buyers*copies)
	tokens := f.tokens("twice", buyers)
	key := f.flow.name + "-twice"
	var buying sync.WaitGroup
	for i := range bodies {
		buying.Go(func() {
			_, a, err := f.decide(tokens[i%buyers], key, one(sku, 1))
			if err != nil || a.Status != http.StatusCreated {
				t.Errorf("request %d: %v, %d %s", i, err, a.Status, a.Body)
			}
			bodies[i] = a.Body
		})
	}
	buying.Wait()
	for i, body := range bodies {
		if !bytes.Equal(body, bodies[i%buyers]) {
			t.Errorf("one key was answered with %s and with %s", bodies[i%buyers], body)
		}
	}
	for _, gateway := range f.gateways {
		a, err := f.callWith(t.Context(), f.client, gateway, http.MethodPost, "/v1/orders", tokens[0], one(sku, 1),
			"Idempotency-Key", key, "X-Order-Flow", f.flow.name)
		if err != nil || a.Status != http.StatusCreated || !bytes.Equal(a.Body, bodies[0]) {
			t.Errorf("%s answers a repeat with %d %s, error %v", gateway.name, a.Status, a.Body, err)
		}
	}
	var orders int
	if err := f.ordersDB.QueryRow("SELECT COUNT(*) FROM orders WHERE idempotency_key = ?", key).Scan(&orders); err != nil || orders != buyers {
		t.Errorf("%d orders, error %v; want %d", orders, err, buyers)
	}
	return fmt.Sprintf("%d requests, %d orders", len(bodies), orders)
}

// badInput sends what a shop must refuse. The last answer is the same in all flows, whether it comes at once or after
// the decision.
func (f *flowShop) badInput(t *testing.T) string {
	sku := f.sku("BAD")
	f.stock(sku, 10)
	token := f.login(f.flow.name+"-bad", "buyer")
	if _, a, err := f.decide(token, "own", one(sku, 1)); err != nil || a.Status != http.StatusCreated {
		t.Fatalf("a correct request: %v, %d %s", err, a.Status, a.Body)
	}
	tests := []struct {
		key, body string
		headers   []string
		status    int
		code      string
	}{
		{"json", `{"items":[`, nil, http.StatusBadRequest, "invalid_json"},
		{"empty", `{"items":[]}`, nil, http.StatusBadRequest, "invalid_lines"},
		{"negative", one(sku, -1), nil, http.StatusBadRequest, "invalid_lines"},
		{"too-many", one(sku, 10_001), nil, http.StatusBadRequest, "invalid_lines"},
		{"lower", one("lower-case", 1), nil, http.StatusBadRequest, "invalid_lines"},
		{"unknown", one("NO-SUCH", 1), nil, http.StatusNotFound, "unknown_sku"},
		{"more-than-all", one(sku, 5000), nil, http.StatusConflict, "out_of_stock"},
		{"strategy", one(sku, 1), []string{"X-Stock-Strategy", "magic"}, http.StatusBadRequest, "unknown_strategy"},
		{"flow", one(sku, 1), []string{"X-Order-Flow", "magic"}, http.StatusBadRequest, "unknown_flow"},
		{"own", one(sku, 2), nil, http.StatusUnprocessableEntity, "idempotency_mismatch"},
		{"", one(sku, 1), nil, http.StatusBadRequest, "missing_idempotency_key"},
	}
	for _, tt := range tests {
		_, a, err := f.decide(token, tt.key, tt.body, tt.headers...)
		if err != nil || a.Status != tt.status || a.code() != tt.code {
			t.Errorf("%q: %v, %d %s; want %d %s", tt.key, err, a.Status, a.Body, tt.status, tt.code)
		}
	}
	if left := f.available(sku); left != 9 {
		t.Errorf("%d units are left, want 9", left)
	}
	return fmt.Sprintf("%d refused as in every flow", len(tests))
}

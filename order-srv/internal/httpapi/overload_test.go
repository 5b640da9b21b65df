package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"holdfast/order-srv/internal/ordertest"
	"holdfast/pkg/admit"
)

// TestOverload fills the only slot for placing. The next order is refused before anything is written, its key is as it
// was, and paying and reading go on.
func TestOverload(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}, 1), make(chan struct{})
	slow := ordertest.Then(func(string) {
		select {
		case begun <- struct{}{}:
			<-end
		default: // only the first is slow
		}
	}, ordertest.OK)
	few := func() *admit.Limiter { return admit.New(admit.Config{Max: 1, MaxWait: time.Millisecond}) }
	w := newLimitedWorld(t, few(), few(), few(), slow)
	first := make(chan reply, 1)
	go func() { first <- w.call(http.MethodPost, "/v1/orders", "ann", one) }()
	<-begun

	other := strings.Replace(one, `"k"`, `"k2"`, 1)
	refused := w.call(http.MethodPost, "/v1/orders", "bob", other)
	if refused.status != 429 || refused.code() != "overloaded" || refused.header.Get("Retry-After") == "" || !strings.Contains(refused.body, `"ambiguous":false`) {
		t.Errorf("got %d %v %s, want 429 overloaded", refused.status, refused.header, refused.body)
	}
	all, err := w.store.After(t.Context(), "", 10)
	if err != nil || len(all) != 1 || all[0].UserID != "ann" {
		t.Errorf("orders %+v, error %v; want ann's alone", all, err)
	}
	pending := "/v1/orders/" + all[0].OrderNo
	if r := w.call(http.MethodGet, pending, "ann", ""); r.status != 200 {
		t.Errorf("reading while placing is full: %d %s", r.status, r.body)
	}
	if r := w.call(http.MethodPost, pending+"/cancellation", "ann", ""); r.code() != "not_cancellable" {
		t.Errorf("cancelling while placing is full: %d %s, want the answer of the status machine", r.status, r.body)
	}
	close(end)
	if r := <-first; r.status != 201 {
		t.Errorf("the first: %d %s", r.status, r.body)
	}
	if r := w.call(http.MethodPost, "/v1/orders", "bob", other); r.status != 201 {
		t.Errorf("the refused order, repeated with its key: %d %s", r.status, r.body)
	}
}

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
)

// cutRows are the rows in which no process dies: an answer is lost or arrives too late.
func cutRows() []crashRow {
	return []crashRow{
		{killed: "reserve executed, its answer lost, once", run: answerLostOnce},
		{killed: "reserve executed, its answers lost to the end", run: answersLost},
		{killed: "first attempt delayed past the second's refusal", run: firstAttemptLate},
		{killed: "the answer to the COMMIT of PLACED lost", run: commitAnswerLost},
	}
}

// wire forwards requests between order-srv and inventory-srv. A test decides what happens to requests to reserve; all
// other requests pass.
type wire struct {
	tb     testing.TB
	target string // inventory's host:port

	mu      sync.Mutex
	reserve func(w http.ResponseWriter, send func() *http.Response)
	body    func(body []byte)
}

// via starts a wire; it is a value for setup.inventory.
func (x *wire) via(addr string) string {
	x.target = addr
	s := httptest.NewServer(x)
	x.tb.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// onReserve sets the handler of requests to reserve; nil forwards them. send forwards the request; it may be called
// after order-srv has timed out.
func (x *wire) onReserve(f func(w http.ResponseWriter, send func() *http.Response)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.reserve = f
}

// onBody sets a function that is called with each request to reserve before it is forwarded.
func (x *wire) onBody(f func(body []byte)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.body = f
}

// ServeHTTP implements http.Handler.
func (x *wire) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	header := r.Header.Clone()
	header.Del("X-Deadline-Ms") // a late request must not carry an old deadline
	send := func() *http.Response {
		req, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, "http://"+x.target+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		req.Header = header
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(http.ErrAbortHandler) // inventory-srv does not answer, so the wire does not either
		}
		return res
	}
	x.mu.Lock()
	reserve, onBody := x.reserve, x.body
	x.mu.Unlock()
	reserving := r.Method == http.MethodPost && (r.URL.Path == "/v1/reservations" || r.URL.Path == "/v1/branches")
	if onBody != nil && reserving {
		onBody(body)
	}
	if reserve != nil && reserving {
		reserve(w, send)
		return
	}
	answerWith(w, send())
}

func answerWith(w http.ResponseWriter, res *http.Response) {
	defer res.Body.Close()
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body)
}

// loseAnswers forwards the next n requests and drops their answers.
func (x *wire) loseAnswers(n int) {
	var lost int
	x.onReserve(func(w http.ResponseWriter, send func() *http.Response) {
		res := send()
		x.mu.Lock()
		lost++
		lose := lost <= n
		x.mu.Unlock()
		if !lose {
			answerWith(w, res)
			return
		}
		_ = res.Body.Close()
		panic(http.ErrAbortHandler)
	})
}

func answerLostOnce(t *testing.T, b crashBroker) string {
	x := &wire{tb: t}
	cs := newCrashShop(t, b, setup{inventory: x.via}, noHealer())
	x.loseAnswers(1)
	o := cs.placed()
	cs.holds(o.OrderNo, "reserved")
	cs.stock(units-1, 1, 0)
	cs.healedBy("", 0)
	return "PLACED by the retry, one reservation"
}

func answersLost(t *testing.T, b crashBroker) string {
	x := &wire{tb: t}
	cs := newCrashShop(t, b, setup{inventory: x.via}, onlyCheckBack())
	x.loseAnswers(1_000)
	var no string
	testkit.Eventually(cs.tb, patience, "an order is open", func() error {
		a, got := cs.try()
		if no = got; a.Status != http.StatusAccepted {
			return fmt.Errorf("it was answered with %d %s", a.Status, a.Body)
		}
		return nil
	})
	if got := cs.reservation(no); got != "reserved" {
		t.Errorf("when order-srv had given up, the reservation was %q", got)
	}
	cs.becomes(no, orderapi.StatusAbandoned)
	cs.holds(no, "released")
	cs.stock(units, 0, 0)
	cs.healedBy("check-back", cs.abandoned())
	cs.noted(no, "check-back", "abandoned")
	return "ABANDONED by the check-back, given back"
}

// firstAttemptLate refuses an order while its own first attempt is still in flight. That attempt then finds the units
// that the second one missed: once before the order's release is sent, and once after the tombstone is written.
func firstAttemptLate(t *testing.T, b crashBroker) string {
	x := &wire{tb: t}
	cs := newCrashShop(t, b, setup{inventory: x.via}, noHealer())
	if a, err := cs.many("all", units); err != nil || a.Status != http.StatusCreated {
		t.Fatalf("all units: %d %s, error %v", a.Status, a.Body, err)
	}
	in := 0
	comesIn := func() {
		in++
		cs.must(http.StatusOK, http.MethodPost, "/v1/admin/products/"+cs.sku+"/inbound", cs.admin,
			fmt.Sprintf(`{"quantity":1,"reference":"late-%d","reason":"test"}`, in))
	}

	early := cs.refusedLate(x, func(first func() *http.Response) { // before order-srv receives the refusal
		comesIn()
		_ = first().Body.Close()
	}, nil)
	cs.holds(early, "released")
	// With the returned unit. order-srv may remember for a moment that there was none.
	testkit.Eventually(cs.tb, patience, "an order is placed", func() error {
		if a, _ := cs.try(); a.Status != http.StatusCreated {
			return fmt.Errorf("it was answered with %d %s", a.Status, a.Body)
		}
		return nil
	})

	var first func() *http.Response
	late := cs.refusedLate(x, nil, func(f func() *http.Response) { first = f })
	cs.holds(late, "void")
	comesIn()
	_ = first().Body.Close()
	cs.holds(late, "void")

	cs.stock(1, units+1, 0)
	cs.healedBy("", 0)
	return "REJECTED, nothing held"
}

// refusedLate orders one unit of a SKU that is sold out. The first attempt is held back. before is called with it
// after the second attempt was refused and before order-srv receives the refusal; after is called when the order is
// REJECTED.
func (cs *crashShop) refusedLate(x *wire, before, after func(first func() *http.Response)) (orderNo string) {
	cs.tb.Helper()
	held := make(chan func() *http.Response, 1)
	released := make(chan struct{})
	defer close(released)
	x.onReserve(func(w http.ResponseWriter, send func() *http.Response) {
		select {
		case held <- send: // the first attempt: order-srv times out on it
			<-released
			panic(http.ErrAbortHandler)
		default:
		}
		res := send()
		if before != nil {
			x.onReserve(nil)
			before(<-held)
		}
		answerWith(w, res)
	})
	a, orderNo := cs.try()
	if a.Status != http.StatusConflict || a.code() != "out_of_stock" || cs.status(orderNo) != orderapi.StatusRejected {
		cs.tb.Errorf("the order is %s, answered with %d %s", cs.status(orderNo), a.Status, a.Body)
	}
	x.onReserve(nil)
	if after != nil {
		after(<-held)
	}
	return orderNo
}

// The statements that identify the transactions whose COMMIT fails.
const (
	commitOfPlaced      = "SET status = 'PLACED'"
	commitOfReservation = "INSERT INTO reservations"
)

// within waits for an event that must happen soon.
func within(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// commitAnswerLost breaks order-srv's connection after MySQL has committed PLACED. order-srv must read the row and
// find it.
func commitAnswerLost(t *testing.T, b crashBroker) string {
	p := &commitProxy{tb: t}
	cs := newCrashShop(t, b, setup{mysql: p.via}, noHealer())
	failed := p.onCommit(commitOfPlaced, func(send, wait func()) {
		send()
		wait()
	})
	o := cs.placed()
	within(t, failed, "a COMMIT of PLACED fails")
	cs.becomes(o.OrderNo, orderapi.StatusPlaced)
	cs.holds(o.OrderNo, "reserved")
	cs.stock(units-1, 1, 0)
	cs.healedBy("", 0)
	return "PLACED, found again by its row"
}

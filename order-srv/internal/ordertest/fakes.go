// Package ordertest has the fakes that tests of order-srv share: an inventory behind real HTTP, and a broker.
// Production code does not import it.
package ordertest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/pkg/rest"
)

// Answer is how the inventory treats one attempt to reserve.
type Answer func(i *Inventory, o inventoryapi.ReserveOrder) (inventoryapi.ReserveResult, bool)

// The answers. The bool is false when the connection breaks instead of answering.

// OK reserves.
func OK(i *Inventory, o inventoryapi.ReserveOrder) (inventoryapi.ReserveResult, bool) {
	return i.reserve(o), true
}

// Lost reserves, and the answer is lost.
func Lost(i *Inventory, o inventoryapi.ReserveOrder) (inventoryapi.ReserveResult, bool) {
	i.reserve(o)
	return inventoryapi.ReserveResult{}, false
}

// Dropped does nothing, and the answer is lost, which looks the same.
func Dropped(*Inventory, inventoryapi.ReserveOrder) (inventoryapi.ReserveResult, bool) {
	return inventoryapi.ReserveResult{}, false
}

// Refuse answers with a fault and does nothing.
func Refuse(err error) Answer {
	return func(_ *Inventory, o inventoryapi.ReserveOrder) (inventoryapi.ReserveResult, bool) {
		p := fault.ToProblem(err)
		return inventoryapi.ReserveResult{OrderNo: o.OrderNo, Problem: &p}, true
	}
}

// Then does something before it answers.
func Then(do func(orderNo string), answer Answer) Answer {
	return func(i *Inventory, o inventoryapi.ReserveOrder) (inventoryapi.ReserveResult, bool) {
		r, ok := answer(i, o)
		do(o.OrderNo)
		return r, ok
	}
}

// Inventory speaks inventoryapi over HTTP. Each attempt to reserve gets the next answer; the last one is repeated.
type Inventory struct {
	*inventoryapi.Client
	URL string

	mu       sync.Mutex
	answers  []Answer
	choose   func(o inventoryapi.ReserveOrder) Answer // unless nil, instead of answers
	next     int                                      // of the answers
	attempts int
	calls    []int // their orders
	states   map[string]string
	refuse   map[string]error // confirm and release, by order number
	ages     map[string]time.Duration
	down     bool
	branches branches
}

// NewInventory starts an inventory that gives these answers, or OK when there are none.
func NewInventory(tb testing.TB, answers ...Answer) *Inventory {
	tb.Helper()
	i := &Inventory{answers: append(answers, OK), states: map[string]string{}, refuse: map[string]error{}, ages: map[string]time.Duration{}}
	if len(answers) > 0 {
		i.answers = answers
	}
	mux := http.NewServeMux()
	// For readiness.
	mux.HandleFunc("GET /v1/strategies", func(w http.ResponseWriter, _ *http.Request) { write(w, inventoryapi.Strategies{}) })
	mux.HandleFunc("POST /v1/reservations", i.serveReserve)
	mux.HandleFunc("GET /v1/reservations", i.servePage)
	mux.HandleFunc("POST /v1/reservations/states", i.serveStates)
	mux.HandleFunc("POST /v1/reservations/{order_no}/{what}", i.serveEnd)
	i.handleBranches(mux)
	mux.HandleFunc("GET /v1/outbox", func(w http.ResponseWriter, _ *http.Request) { write(w, inventoryapi.Outbox{}) })
	mux.HandleFunc("POST /v1/outbox/resend", func(w http.ResponseWriter, _ *http.Request) { write(w, inventoryapi.ResendResponse{}) })
	s := httptest.NewServer(mux)
	client, err := rest.New(rest.Config{URLs: []string{s.URL}, Name: "inventory", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		client.Close()
		s.Close()
	})
	i.URL = s.URL
	i.Client = inventoryapi.NewClient(client)
	return i
}

// State is what the inventory holds for an order; "" when it does not know it.
func (i *Inventory) State(orderNo string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.states[orderNo]
}

// Set makes the inventory hold an order in a state.
func (i *Inventory) Set(orderNo, state string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.states[orderNo] = state
}

// SetAge says how long ago the inventory reserved for an order; 0 unless set.
func (i *Inventory) SetAge(orderNo string, age time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ages[orderNo] = age
}

// RefuseEnd has confirm and release of an order fail with err.
func (i *Inventory) RefuseEnd(orderNo string, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refuse[orderNo] = err
}

// SetDown has every call fail without an answer.
func (i *Inventory) SetDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Answer has the next attempts to reserve get these answers; the last one is repeated.
func (i *Inventory) Answer(answers ...Answer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answers, i.next = answers, 0
}

// Choose has each attempt to reserve an order get the answer that choose returns for it.
func (i *Inventory) Choose(choose func(o inventoryapi.ReserveOrder) Answer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.choose = choose
}

// Attempts counts the attempts to reserve an order.
func (i *Inventory) Attempts() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.attempts
}

// Calls returns how many orders each call had.
func (i *Inventory) Calls() []int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]int(nil), i.calls...)
}

func (i *Inventory) reserve(o inventoryapi.ReserveOrder) inventoryapi.ReserveResult {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.states[o.OrderNo]; s == inventoryapi.StateVoid || s == inventoryapi.StateReleased {
		p := fault.ToProblem(inventoryapi.ErrClosed)
		return inventoryapi.ReserveResult{OrderNo: o.OrderNo, Problem: &p}
	}
	i.states[o.OrderNo] = inventoryapi.StateReserved
	r := &inventoryapi.Receipt{OrderNo: o.OrderNo, Strategy: "fake"}
	for _, l := range o.Lines {
		r.AmountCents += 100 * l.Quantity
		r.Lines = append(r.Lines, inventoryapi.ReceiptLine{SKU: l.SKU, Title: "Thing " + l.SKU, Quantity: l.Quantity, UnitPriceCents: 100})
	}
	return inventoryapi.ReserveResult{OrderNo: o.OrderNo, Receipt: r}
}

func (i *Inventory) serveReserve(w http.ResponseWriter, r *http.Request) {
	var in inventoryapi.ReserveRequest
	if json.NewDecoder(r.Body).Decode(&in) != nil || len(in.Orders) == 0 {
		panic(http.ErrAbortHandler)
	}
	i.mu.Lock()
	i.calls = append(i.calls, len(in.Orders))
	i.mu.Unlock()
	out := inventoryapi.ReserveResponse{Results: make([]inventoryapi.ReserveResult, len(in.Orders))}
	var lost atomic.Bool
	var reserving sync.WaitGroup
	for n, o := range in.Orders {
		answer := i.answer(o)
		reserving.Go(func() {
			result, ok := answer(i, o)
			out.Results[n] = result
			if !ok {
				lost.Store(true)
			}
		})
	}
	reserving.Wait()
	if lost.Load() {
		panic(http.ErrAbortHandler) // breaks the connection
	}
	write(w, out)
}

func (i *Inventory) answer(o inventoryapi.ReserveOrder) Answer {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.attempts++
	if i.choose != nil {
		return i.choose(o)
	}
	answer := i.answers[min(i.next, len(i.answers)-1)]
	i.next++
	return answer
}

func (i *Inventory) serveStates(w http.ResponseWriter, r *http.Request) {
	var in inventoryapi.StatesRequest
	i.mu.Lock()
	defer i.mu.Unlock()
	if json.NewDecoder(r.Body).Decode(&in) != nil || i.down {
		panic(http.ErrAbortHandler)
	}
	out := inventoryapi.StatesResponse{States: map[string]string{}}
	for _, no := range in.OrderNos {
		if s, ok := i.states[no]; ok {
			out.States[no] = s
		}
	}
	write(w, out)
}

// servePage serves pages of at most two reservations, so that few are several pages. They have no lines.
func (i *Inventory) servePage(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.down {
		panic(http.ErrAbortHandler)
	}
	var page inventoryapi.ReservationPage
	for _, no := range slices.Sorted(maps.Keys(i.states)) {
		if no <= r.URL.Query().Get("after") {
			continue
		}
		if n := len(page.Reservations); n == 2 {
			page.After = page.Reservations[n-1].OrderNo
			break
		}
		page.Reservations = append(page.Reservations, inventoryapi.Reservation{OrderNo: no, Status: i.states[no], AgeMS: i.ages[no].Milliseconds()})
	}
	write(w, page)
}

func (i *Inventory) serveEnd(w http.ResponseWriter, r *http.Request) {
	no := r.PathValue("order_no")
	i.mu.Lock()
	defer i.mu.Unlock()
	err := i.refuse[no]
	switch what := r.PathValue("what"); {
	case err != nil:
	case what == "confirmation" && i.states[no] == inventoryapi.StateReserved:
		i.states[no] = inventoryapi.StateConfirmed
	case what == "confirmation" && i.states[no] == "":
		err = inventoryapi.ErrUnknownOrder
	case what == "confirmation" && i.states[no] != inventoryapi.StateConfirmed:
		err = inventoryapi.ErrClosed
	case what == "release" && i.states[no] == inventoryapi.StateConfirmed:
		err = inventoryapi.ErrConfirmed
	case what == "release" && i.states[no] == inventoryapi.StateReserved:
		i.states[no] = inventoryapi.StateReleased
	case what == "release" && i.states[no] == "":
		i.states[no] = inventoryapi.StateVoid
	}
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	problem(w, http.StatusConflict, err)
}

func problem(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(fault.ToProblem(err))
}

func write(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

// ErrBroker is what a Broker fails with.
var ErrBroker = errors.New("the broker is down")

// Broker keeps what is sent. It is a Producer and a TxProducer.
type Broker struct {
	mu     sync.Mutex
	down   bool
	hang   bool
	fails  func(mq.Message) bool
	sent   []mq.Message
	halves []mq.Message
	states []mq.TxState
}

var (
	_ mq.Producer   = (*Broker)(nil)
	_ mq.TxProducer = (*Broker)(nil)
)

// SetDown has every send fail at once, or, with hang, only when its time is up.
func (b *Broker) SetDown(down, hang bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down, b.hang = down, hang
}

// FailIf has the sends fail for which fails returns true.
func (b *Broker) FailIf(fails func(mq.Message) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fails = fails
}

// Send implements mq.Producer.
func (b *Broker) Send(ctx context.Context, m mq.Message) error {
	if err := b.broken(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails != nil && b.fails(m) {
		return ErrBroker
	}
	b.sent = append(b.sent, m)
	return nil
}

// SendInTx implements mq.TxProducer.
func (b *Broker) SendInTx(ctx context.Context, m mq.Message, local func(ctx context.Context) mq.TxState) error {
	if err := b.broken(ctx); err != nil {
		return err
	}
	state := local(ctx)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.halves, b.states = append(b.halves, m), append(b.states, state)
	return nil
}

func (b *Broker) broken(ctx context.Context) error {
	b.mu.Lock()
	down, hang := b.down, b.hang
	b.mu.Unlock()
	if down && hang {
		<-ctx.Done()
	}
	if down {
		return ErrBroker
	}
	return nil
}

// Sent returns the messages that were sent, without the halves.
func (b *Broker) Sent() []mq.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]mq.Message(nil), b.sent...)
}

// Halves returns the half messages with how they ended.
func (b *Broker) Halves() ([]mq.Message, []mq.TxState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]mq.Message(nil), b.halves...), append([]mq.TxState(nil), b.states...)
}

package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/intake/shortage"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/sql"
)

// outboxWorld is a world that places orders through the outbox. Its test delivers inventory's answers.
type outboxWorld struct {
	*ordertest.World
	t     *testing.T
	flows []flow.Flow // of the replicas
}

func newOutboxWorld(t *testing.T, edit ...func(*app.Config)) *outboxWorld {
	t.Helper()
	w := &outboxWorld{t: t}
	use := func(cfg *app.Config) {
		cfg.OrderFlow = "outbox"
		for _, k := range flow.List() {
			if k.Name == "outbox" {
				made := k.New
				k.New = func(d flow.Deps) flow.Flow {
					w.flows = append(w.flows, made(d))
					return w.flows[len(w.flows)-1]
				}
			}
			cfg.Flows = append(cfg.Flows, k)
		}
	}
	edit = append([]func(*app.Config){ordertest.Timeout(ordertest.RequestTimeout), use}, edit...)
	w.World = ordertest.NewWorldOn(t, dbtest.NewDSN(t, sql.Orders()), nil, edit...)
	return w
}

// mustWait places an order and expects that it is PENDING.
func (w *outboxWorld) mustWait(key string) (orderNo string) {
	w.t.Helper()
	return w.MustPlace(key, http.StatusAccepted).OrderNo
}

// deliver delivers answers to a replica.
func (w *outboxWorld) deliver(f flow.Flow, results ...inventoryapi.ReserveResult) error {
	w.t.Helper()
	return w.answer(f, inventoryapi.StockReserved{Results: results})
}

func (w *outboxWorld) answer(f flow.Flow, answer inventoryapi.StockReserved) error {
	w.t.Helper()
	body, err := json.Marshal(answer)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	return f.Subscriptions()[0].Handler(ctx, mq.Message{Body: body})
}

func (w *outboxWorld) mustDeliver(results ...inventoryapi.ReserveResult) {
	w.t.Helper()
	w.mustAnswer(inventoryapi.StockReserved{Results: results})
}

func (w *outboxWorld) mustAnswer(answer inventoryapi.StockReserved) {
	w.t.Helper()
	if err := w.answer(w.flows[0], answer); err != nil {
		w.t.Fatal(err)
	}
}

// commands are the orders of the stock-reserve messages in the outbox, by message.
func (w *outboxWorld) commands() (messages [][]inventoryapi.ReserveOrder) {
	w.t.Helper()
	var payloads []string
	if err := w.DB.Raw("SELECT payload FROM outbox WHERE topic = ? ORDER BY id", orderapi.TopicStockReserve).Scan(&payloads).Error; err != nil {
		w.t.Fatal(err)
	}
	for _, p := range payloads {
		var body orderapi.StockReserve
		if err := json.Unmarshal([]byte(p), &body); err != nil {
			w.t.Fatal(err)
		}
		messages = append(messages, body.Orders)
	}
	return messages
}

func (w *outboxWorld) wantEvents(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.Events()); diff != "" {
		w.t.Errorf("events (-want +got):\n%s", diff)
	}
}

// receiptOf is inventory's receipt for [ordertest.Request].
func receiptOf(orderNo string) inventoryapi.ReserveResult {
	return inventoryapi.ReserveResult{OrderNo: orderNo, Receipt: &inventoryapi.Receipt{OrderNo: orderNo, Strategy: "fake", AmountCents: 300, Lines: []inventoryapi.ReceiptLine{
		{SKU: "A", Title: "Thing A", Quantity: 2, UnitPriceCents: 100}, {SKU: "B", Title: "Thing B", Quantity: 1, UnitPriceCents: 100},
	}}}
}

func refusalOf(orderNo string, err error) inventoryapi.ReserveResult {
	p := fault.ToProblem(err)
	return inventoryapi.ReserveResult{OrderNo: orderNo, Problem: &p}
}

// TestOutbox writes the command with the order, answers 202, calls neither inventory nor the broker, and places the
// order with inventory's answer. A repeat of the request then gets the placed order.
func TestOutbox(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	w.Broker.SetDown(true, false)
	no := w.mustWait("key")
	want := [][]inventoryapi.ReserveOrder{{{OrderNo: no, Lines: []inventoryapi.Line{{SKU: "A", Quantity: 2}, {SKU: "B", Quantity: 1}}}}}
	if diff := cmp.Diff(want, w.commands()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if o := w.Get(no); o.Status != order.Pending || o.Flow != "outbox" || w.Inventory.Attempts() != 0 {
		t.Errorf("order %+v, %d calls of inventory", o, w.Inventory.Attempts())
	}
	if again := w.mustWait("key"); again != no {
		t.Errorf("the repeat got order %s, want %s", again, no)
	}
	w.mustDeliver(receiptOf(no))
	if o := w.Get(no); o.Status != order.Placed || o.AmountCents != 300 || o.Strategy != "fake" || o.Items[0].Title != "Thing A" {
		t.Errorf("order %+v", o)
	}
	if o := w.Get(no); !o.ExpiresAt.Equal(o.UpdatedAt.Add(time.Hour)) {
		t.Errorf("placed at %v, to be paid until %v; want an hour", o.UpdatedAt, o.ExpiresAt)
	}
	if reply := w.MustPlace("key", http.StatusCreated); reply.OrderNo != no {
		t.Errorf("the repeat got order %s, want %s", reply.OrderNo, no)
	}
	w.wantEvents("reserve", "timeout")
}

// TestOutbox_strategy passes on the strategy that an order asks for.
func TestOutbox_strategy(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	r := ordertest.Request("key")
	r.Strategy = "for-update"
	if reply, err := w.Intake.Place(t.Context(), "ann", r); err != nil || reply.Status != http.StatusAccepted {
		t.Fatalf("reply %+v, error %v", reply, err)
	}
	if got := w.commands()[0][0].Strategy; got != "for-update" {
		t.Errorf("the command's strategy is %q", got)
	}
}

// TestOutbox_kick: the commit wakes the relay, which would look half a second later by itself.
func TestOutbox_kick(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	w.mustWait("key")
	select {
	case <-w.Orders.Outbox().Notify():
	case <-time.After(10 * time.Second):
		t.Error("the relay is not woken")
	}
}

// TestOutbox_group writes one command for a group, and several when its orders have many lines. Each order is in one.
func TestOutbox_group(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	const orders, lines = 25, 100
	all := make([]order.Order, orders)
	for i := range all {
		all[i] = order.Order{UserID: "ann", IdempotencyKey: fmt.Sprint(i), RequestHash: ordertest.RequestHash, Flow: "outbox"}
		for n := range lines {
			all[i].Items = append(all[i].Items, order.Item{SKU: fmt.Sprintf("SKU-%03d", n), Quantity: 1})
		}
	}
	inserted, err := w.Orders.Insert(t.Context(), all, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	messages := w.commands()
	for _, m := range messages {
		for _, o := range m {
			got = append(got, o.OrderNo)
		}
	}
	for _, i := range inserted {
		want = append(want, i.Order.OrderNo)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || len(messages) != 3 {
		t.Errorf("%d messages, want 3 (-want +got):\n%s", len(messages), diff)
	}
}

// TestOutbox_refusals: an order that inventory refuses ends as one of tx-message does, and a repeat of the request gets
// the same answer.
func TestOutbox_refusals(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	end := func(flowName, key string, refusal error) (outcome, string) {
		t.Helper()
		r := ordertest.Request(key)
		r.Flow = flowName
		w.Inventory.Answer(ordertest.Refuse(refusal))
		reply, err := w.Intake.Place(t.Context(), "ann", r)
		if flowName == "outbox" {
			if err != nil || reply.Status != http.StatusAccepted {
				t.Fatalf("reply %d %s, error %v; want 202", reply.Status, reply.Body, err)
			}
			w.mustDeliver(refusalOf(reply.OrderNo, refusal))
		}
		all, err := w.Orders.After(t.Context(), "", 100)
		if err != nil {
			t.Fatal(err)
		}
		o, code := all[len(all)-1], ""
		if o.IdempotencyKey != "" { // else the repeat would place a new order
			again, err := w.Intake.Place(t.Context(), "ann", r)
			code = fmt.Sprint(again.Status, ordertest.Problem(again), err)
		}
		return outcome{o.Status, o.Reason, o.ResponseStatus, o.FreedKey != "", !o.SettledAt.IsZero()}, code
	}
	for name, refusal := range map[string]error{
		"out of stock": inventoryapi.ErrOutOfStock, "unknown SKU": inventoryapi.ErrUnknownSKU, "invalid lines": inventoryapi.ErrInvalidLines,
		"unknown strategy": fault.New(fault.Invalid, "unknown_strategy", ""), "mismatch": inventoryapi.ErrMismatch,
		"closed": inventoryapi.ErrClosed, "wrong layout": fault.New(fault.Conflict, "wrong_layout", ""),
	} {
		want, wantCode := end("tx-message", "tx "+name, refusal)
		got, code := end("outbox", "outbox "+name, refusal)
		if diff := cmp.Diff(want, got); diff != "" || code != wantCode || got.Status != order.Rejected {
			t.Errorf("%s: repeat %s, want %s (-tx-message +outbox):\n%s", name, code, wantCode, diff)
		}
	}
	for _, e := range w.Events() {
		if strings.HasPrefix(e, "release") {
			t.Errorf("%s: nothing is to be released for a refused order", e)
		}
	}
}

// TestOutbox_repeated delivers answers again, also to the other replica, and beside new ones: each order is decided
// once.
func TestOutbox_repeated(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	w.Replica()
	placed, refused := w.mustWait("placed"), w.mustWait("refused")
	for _, f := range []flow.Flow{w.flows[0], w.flows[0], w.flows[1]} {
		if err := w.deliver(f, receiptOf(placed), refusalOf(refused, inventoryapi.ErrOutOfStock)); err != nil {
			t.Error(err)
		}
	}
	later := w.mustWait("later")
	w.mustDeliver(receiptOf(placed), receiptOf(later))
	for no, want := range map[string]order.Status{placed: order.Placed, refused: order.Rejected, later: order.Placed} {
		if got := w.Get(no).Status; got != want {
			t.Errorf("order is %s, want %s", got, want)
		}
	}
	w.wantEvents("reserve", "reserve", "timeout", "reserve", "timeout")
}

// TestOutbox_late: an order without an answer is abandoned after QUEUE_TIMEOUT and not before, with a release for what
// inventory may hold. A receipt that comes afterwards has its units given back, a refusal changes nothing.
func TestOutbox_late(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t, func(cfg *app.Config) { cfg.QueueTimeout = 2 * time.Minute })
	taken, refused, young := w.mustWait("taken"), w.mustWait("refused"), w.mustWait("young")
	taken, refused = w.Backdate(taken, 3*time.Minute), w.Backdate(refused, 3*time.Minute)
	young = w.Backdate(young, time.Minute) // older than SWEEP_AFTER
	if err := w.Healer.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for no, want := range map[string]order.Status{taken: order.Abandoned, refused: order.Abandoned, young: order.Pending} {
		if got := w.Get(no).Status; got != want {
			t.Errorf("order is %s, want %s", got, want)
		}
	}
	for range 2 {
		w.mustDeliver(refusalOf(refused, inventoryapi.ErrClosed), receiptOf(taken), receiptOf(young))
	}
	if got := w.Get(taken).Status; got != order.Abandoned {
		t.Errorf("the late answer made the order %s", got)
	}
	events := w.Events()
	slices.Sort(events)
	// Backdated orders are groups of their own, or of their first numbers: the releases may share a message or not.
	late := slices.DeleteFunc(slices.Clone(events), func(e string) bool { return e != "release-late" })
	abandoned := slices.DeleteFunc(slices.Clone(events), func(e string) bool { return e != "release-abandoned" })
	if len(late) != 1 || len(abandoned) == 0 {
		t.Errorf("events %v; want one release of the late receipt", events)
	}
	if o := w.MustPlace("taken", http.StatusAccepted); o.OrderNo == taken {
		t.Error("the key of the abandoned order is not free")
	}
}

// twoOf inserts a group of two orders of a flow, whose requests have ids, and returns them as they were inserted.
func twoOf(t *testing.T, w *ordertest.World, flowName string) (orders []order.Order) {
	t.Helper()
	var all []order.Order
	for i := range 2 {
		all = append(all, order.Order{
			UserID: "ann", IdempotencyKey: fmt.Sprint("two-", i), RequestHash: ordertest.RequestHash, RequestID: fmt.Sprint("request-", i),
			Flow: flowName, Items: []order.Item{{SKU: "A", Quantity: 1}},
		})
	}
	inserted, err := w.Orders.Insert(t.Context(), all, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range inserted {
		orders = append(orders, i.Order)
	}
	return orders
}

// wantOwnIDs expects stored refusals that name the requests of their own orders.
func wantOwnIDs(t *testing.T, w *ordertest.World, orders []order.Order) {
	t.Helper()
	for i, o := range orders {
		if body, want := w.Get(o.OrderNo).ResponseBody, fmt.Sprintf(`"request_id":"request-%d"`, i); !strings.Contains(string(body), want) {
			t.Errorf("the answer of order %d is %s, want %s", i, body, want)
		}
	}
}

// TestOutbox_requestIDs: the refusals of a group's orders each name the request of their order, although one message
// brings the commands and one the answers.
func TestOutbox_requestIDs(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	orders := twoOf(t, w.World, "outbox")
	var payload string
	if err := w.DB.Raw("SELECT payload FROM outbox").Row().Scan(&payload); err != nil {
		t.Fatal(err)
	}
	var command orderapi.StockReserve
	if err := json.Unmarshal([]byte(payload), &command); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{orders[0].OrderNo: "request-0", orders[1].OrderNo: "request-1"}
	if diff := cmp.Diff(want, command.RequestIDs); diff != "" {
		t.Errorf("ids of the command (-want +got):\n%s", diff)
	}
	var answer inventoryapi.StockReserved
	for _, o := range orders {
		answer.Results = append(answer.Results, refusalOf(o.OrderNo, inventoryapi.ErrOutOfStock))
	}
	answer.RequestIDs = want
	w.mustAnswer(answer)
	wantOwnIDs(t, w.World, orders)
}

// TestOutbox_shortage: what inventory has just refused by message is remembered, and the next order of it is refused
// without a row. An old answer, and one to an order that chose its strategy, are not.
func TestOutbox_shortage(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	short := inventoryapi.OutOfStock([]inventoryapi.ShortLine{{SKU: "A", Requested: 2, Available: 1}})
	n := 0
	refusedAfter := func(looked time.Time) (refused []string) { // keys
		t.Helper()
		n++
		no := w.mustWait(fmt.Sprint("refused-", n))
		w.mustAnswer(inventoryapi.StockReserved{Results: []inventoryapi.ReserveResult{refusalOf(no, short)}, Looked: looked})
		var mu sync.Mutex
		var placing sync.WaitGroup
		for i := range 10 { // at the same time: one in 50 ms is let through, to renew the memory
			placing.Go(func() {
				key := fmt.Sprint("next-", n, "-", i)
				_, err := w.Intake.Place(t.Context(), "ann", ordertest.Request(key))
				mu.Lock()
				defer mu.Unlock()
				if errors.Is(err, inventoryapi.ErrOutOfStock) {
					refused = append(refused, key)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		placing.Wait()
		return refused
	}
	if refused := slices.Concat(refusedAfter(time.Now().Add(-time.Minute)), refusedAfter(time.Time{})); len(refused) > 0 {
		t.Errorf("refused by an answer that may be old: %v", refused)
	}
	var refused []string
	// An answer counts for a fifth of a second. A busy machine may need that to write it.
	testkit.EventuallyTrue(t, 20*time.Second, "an order is refused", func() bool {
		time.Sleep(shortage.MaxAge) // the answer before is forgotten, so that the next order waits
		refused = refusedAfter(time.Now())
		return len(refused) > 0
	})
	all, err := w.Orders.After(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(all, func(o order.Order) bool { return slices.Contains(refused, o.IdempotencyKey) }) {
		t.Error("an order was refused and has a row")
	}
}

// TestOutbox_payment: an order that waits for its answer can be neither paid nor cancelled.
func TestOutbox_payment(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	no := w.mustWait("key")
	if _, err := w.Orders.Pay(t.Context(), "ann", no); !errors.Is(err, order.ErrNotPayable) {
		t.Errorf("paid while it is PENDING: %v", err)
	}
	if _, err := w.Orders.Cancel(t.Context(), "ann", no); !errors.Is(err, order.ErrNotCancellable) {
		t.Errorf("cancelled while it is PENDING: %v", err)
	}
	w.mustDeliver(receiptOf(no))
	if o, err := w.Orders.Pay(t.Context(), "ann", no); err != nil || o.Status != order.Paid {
		t.Errorf("paid when it is placed: %+v, error %v", o, err)
	}
	w.mustDeliver(receiptOf(no)) // comes again
	if got := w.Get(no).Status; got != order.Paid {
		t.Errorf("the repeated answer made the order %s", got)
	}
	w.wantEvents("reserve", "timeout", "PAID")
}

// TestOutbox_lockedRow: an order whose row another transaction has locked does not delay the others of its message.
func TestOutbox_lockedRow(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	locked, free := w.mustWait("locked"), w.mustWait("free")
	held, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	go func() {
		done <- database.InTx(context.Background(), w.DB, func(tx *gorm.DB) error {
			if err := tx.Exec("SELECT order_no FROM orders WHERE order_no = ? FOR UPDATE", locked).Error; err != nil {
				return err
			}
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	go func() { done <- w.deliver(w.flows[0], receiptOf(locked), receiptOf(free)) }()
	testkit.Eventually(t, 20*time.Second, "the other order is placed", func() error {
		if got := w.Get(free).Status; got != order.Placed {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
	if got := w.Get(locked).Status; got != order.Pending {
		t.Errorf("the locked order is %s", got)
	}
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := w.Get(locked).Status; got != order.Placed {
		t.Errorf("the order is %s when its row is free", got)
	}
}

// TestOutbox_badValue: an answer that the database refuses does not keep the others of its message from being decided.
func TestOutbox_badValue(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	bad, good := w.mustWait("bad"), w.mustWait("good")
	answer := receiptOf(bad)
	answer.Receipt.Strategy = strings.Repeat("x", 100) // the column has 32
	if err := w.deliver(w.flows[0], answer, receiptOf(good)); err == nil || mq.IsDiscard(err) {
		t.Errorf("error %v; want one that has the message come again", err)
	}
	if got := w.Get(good).Status; got != order.Placed {
		t.Errorf("the good order is %s", got)
	}
	if got := w.Get(bad).Status; got != order.Pending {
		t.Errorf("the bad order is %s", got)
	}
}

// TestOutbox_malformed discards what is no answer, and acknowledges one to an order that does not exist.
func TestOutbox_malformed(t *testing.T) {
	t.Parallel()
	w := newOutboxWorld(t)
	for _, body := range []string{"", "{", "[]", `{"results":[]}`, `{"results":[{"order_no":"A"}]}`} {
		if err := w.flows[0].Subscriptions()[0].Handler(t.Context(), mq.Message{Body: []byte(body)}); !mq.IsDiscard(err) {
			t.Errorf("%q: %v, want it discarded", body, err)
		}
	}
	w.mustDeliver(receiptOf(ordertest.OldNumber(time.Minute)))
}

// TestOutbox_name: an audit knows the flow by its name.
func TestOutbox_name(t *testing.T) {
	t.Parallel()
	if !slices.Contains(flow.Names(), flow.NameOutbox) {
		t.Errorf("no flow is %s", flow.NameOutbox)
	}
}

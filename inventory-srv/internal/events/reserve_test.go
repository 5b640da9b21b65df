package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/events"
	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/lock"
	"holdfast/pkg/mq"
	"holdfast/pkg/outbox"
	"holdfast/sql"
)

// shelf is an inventory of one strategy on a database of its own.
type shelf struct {
	t   *testing.T
	db  *gorm.DB
	app *app.App
}

// eachStrategy runs a test on strategies that lock rows, that gather orders, and that answer before MySQL has them.
func eachStrategy(t *testing.T, test func(t *testing.T, s *shelf)) {
	t.Helper()
	t.Parallel()
	for _, name := range []string{"for-update", "conditional", "redis-lock", "group-commit", "redis-lua"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newShelf(t, name))
		})
	}
}

func newShelf(t *testing.T, strategy string) *shelf {
	t.Helper()
	db, name := dbtest.New(t, sql.Inventory()), fmt.Sprintf("reserve-%d", rand.Uint64())
	opened, err := app.Open(t.Context(), app.Config{
		Log: slog.New(slog.DiscardHandler), DB: db, RedisAddrs: []string{stacktest.Redis(t)}, Strategy: strategy,
		LockOptions: []lock.Option{lock.WithPrefix(name + ":")}, Redis: redisstock.Config{Prefix: "{" + name + "}:"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	t.Cleanup(opened.Stock.RunInBackground(context.Background()))
	return &shelf{t: t, db: db, app: opened}
}

// has puts units of a SKU into the shop, a new one at first.
func (s *shelf) has(sku string, units int64) {
	s.t.Helper()
	if _, err := s.app.Store.CreateProduct(s.t.Context(), store.Product{SKU: sku, Title: "Title of " + sku, PriceCents: 250}); err != nil {
		s.t.Fatal(err)
	}
	in := store.Inbound{SKU: sku, Quantity: units, Reference: fmt.Sprint(rand.Uint64()), Reason: "test", Actor: "test"}
	if _, err := s.app.Store.Receive(s.t.Context(), in); err != nil {
		s.t.Fatal(err)
	}
	if s.app.Stock.Default() != "redis-lua" {
		return
	}
	if _, err := s.app.Stock.SetLayout(s.t.Context(), sku, layout.Shape{Layout: stock.LayoutRedis}); err != nil {
		s.t.Fatal(err)
	}
}

// receives adds units of a SKU that there is.
func (s *shelf) receives(sku string, units int64) {
	s.t.Helper()
	in := store.Inbound{SKU: sku, Quantity: units, Reference: fmt.Sprint(rand.Uint64()), Reason: "test", Actor: "test"}
	if _, err := s.app.Store.Receive(s.t.Context(), in); err != nil {
		s.t.Fatal(err)
	}
}

// state is an order's reservation; "" when the ledger has none.
func (s *shelf) state(orderNo string) string {
	s.t.Helper()
	if err := s.app.Stock.Settled(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	states, err := s.app.Store.States(s.t.Context(), []string{orderNo})
	if err != nil {
		s.t.Fatal(err)
	}
	return string(states[orderNo])
}

// answers are those in the outbox: "receipt" or the code of a refusal. An order with two answers is a fault.
func (s *shelf) answers() map[string]string {
	s.t.Helper()
	var payloads []string
	if err := s.db.Raw("SELECT payload FROM outbox WHERE topic = ? ORDER BY id", inventoryapi.TopicStockReserved).Scan(&payloads).Error; err != nil {
		s.t.Fatal(err)
	}
	found := map[string]string{}
	for _, p := range payloads {
		var body inventoryapi.StockReserved
		if err := json.Unmarshal([]byte(p), &body); err != nil {
			s.t.Fatal(err)
		}
		for _, r := range body.Results {
			if _, twice := found[r.OrderNo]; twice {
				s.t.Errorf("%s is answered twice", r.OrderNo)
			}
			found[r.OrderNo] = "receipt"
			if r.Problem != nil {
				found[r.OrderNo] = r.Problem.Code
			}
		}
	}
	return found
}

// want compares the answers, and the reservations of the answered orders.
func (s *shelf) want(answers, states map[string]string) {
	s.t.Helper()
	if diff := cmp.Diff(answers, s.answers()); diff != "" {
		s.t.Errorf("answers (-want +got):\n%s", diff)
	}
	for no, want := range states {
		if got := s.state(no); got != want {
			s.t.Errorf("the reservation of %s is %q, want %q", no, got, want)
		}
	}
}

// delivery is one consumer's handler. Its stock may wait, or fail, when it has reserved an order. It has the time that
// a busy machine may need.
func (s *shelf) delivery(after func(orderNo string) error) *events.Reserves {
	return s.hasty(time.Minute, after)
}

// hasty is delivery with less time.
func (s *shelf) hasty(limit time.Duration, after func(orderNo string) error) *events.Reserves {
	return events.NewReserves(events.ReservesConfig{
		Stock: &slowStock{Stock: s.app.Stock, after: after}, Answers: s.app.Store.AnswersOn(s.db), Log: slog.New(slog.DiscardHandler),
		Time: limit,
	})
}

// slowStock calls after when an order was reserved or refused, and before its caller has the outcome.
type slowStock struct {
	events.Stock
	after func(orderNo string) error
}

// Reserve implements reserve.Stock.
func (s *slowStock) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	receipt, err := s.Stock.Reserve(ctx, r)
	if s.after != nil {
		if failure := s.after(r.OrderNo); failure != nil {
			return stock.Receipt{}, failure
		}
	}
	return receipt, err
}

// ReserveAll implements reserve.Stock.
func (s *slowStock) ReserveAll(ctx context.Context, requests []stock.Request) []stock.Outcome {
	outcomes := s.Stock.ReserveAll(ctx, requests)
	for i, r := range requests {
		if s.after == nil {
			continue
		}
		if failure := s.after(r.OrderNo); failure != nil {
			outcomes[i] = stock.Outcome{Err: failure}
		}
	}
	return outcomes
}

func reserveOf(orders ...inventoryapi.ReserveOrder) mq.Message {
	body, err := json.Marshal(orderapi.StockReserve{Orders: orders})
	if err != nil {
		panic(err)
	}
	return mq.Message{Topic: orderapi.TopicStockReserve, Key: "GROUP", Body: body}
}

func orderOf(no, sku string, quantity int64) inventoryapi.ReserveOrder {
	return inventoryapi.ReserveOrder{OrderNo: no, Lines: []inventoryapi.Line{{SKU: sku, Quantity: quantity}}}
}

func deliver(t *testing.T, r *events.Reserves, m mq.Message, want string) {
	t.Helper()
	if err := r.StockReserve(t.Context(), m); fate(err) != want {
		t.Fatalf("the delivery is %s (%v), want %s", fate(err), err, want)
	}
}

// TestReserves answers each order of a message: with a receipt, or with the refusal that is its own.
func TestReserves(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s *shelf) {
		s.has("A", 10)
		deliver(t, s.delivery(nil), reserveOf(
			orderOf("FITS", "A", 4), orderOf("TOO-MANY", "A", 11), orderOf("UNKNOWN", "NOTHING", 1), orderOf("ZERO", "A", 0),
		), "acknowledged")
		s.want(map[string]string{"FITS": "receipt", "TOO-MANY": "out_of_stock", "UNKNOWN": "unknown_sku", "ZERO": "invalid_lines"},
			map[string]string{"FITS": "reserved", "TOO-MANY": "", "UNKNOWN": "", "ZERO": ""})
		var key, body string
		if err := s.db.Raw("SELECT shard_key, payload FROM outbox").Row().Scan(&key, &body); err != nil || key != "GROUP" {
			t.Errorf("shard key %q, error %v; want the message's", key, err)
		}
		if !strings.Contains(body, "Title of A") {
			t.Errorf("the receipt has no title: %s", body)
		}
	})
}

// TestReserves_repeated delivers a message again whose orders were answered: nothing is answered or reserved again, and
// what was refused cannot be reserved any more.
func TestReserves_repeated(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s *shelf) {
		s.has("A", 10)
		m := reserveOf(orderOf("FITS", "A", 4), orderOf("TOO-MANY", "A", 11))
		deliver(t, s.delivery(nil), m, "acknowledged")
		s.receives("A", 100)
		deliver(t, s.delivery(func(no string) error { t.Errorf("%s was reserved again", no); return nil }), m, "acknowledged")
		s.want(map[string]string{"FITS": "receipt", "TOO-MANY": "out_of_stock"}, map[string]string{"FITS": "reserved", "TOO-MANY": "void"})
	})
}

// twoDeliveries runs two deliveries of one order at the same time. The first one has been refused and the second one
// has reserved the order when answer is called, which lets each of them answer.
func twoDeliveries(t *testing.T, s *shelf, answer func(first, second func())) {
	t.Helper()
	m := reserveOf(orderOf("ORDER", "A", 2))
	begin := func() (at <-chan struct{}, finish func()) {
		reached, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		r := s.delivery(func(string) error {
			close(reached)
			<-goOn
			return nil
		})
		go func() { ended <- r.StockReserve(t.Context(), m) }()
		return reached, func() {
			close(goOn)
			if err := <-ended; err != nil {
				t.Errorf("the delivery failed: %v", err)
			}
		}
	}
	s.has("A", 1)
	refused, first := begin()
	<-refused
	s.receives("A", 10)
	reserved, second := begin()
	<-reserved
	answer(first, second)
}

// TestReserves_refusalFirst: of two concurrent deliveries the refused one answers first. The refusal counts, and the
// other one gives its units back.
func TestReserves_refusalFirst(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s *shelf) {
		twoDeliveries(t, s, func(first, second func()) {
			first()
			second()
		})
		s.want(map[string]string{"ORDER": "out_of_stock"}, map[string]string{"ORDER": "released"})
	})
}

// TestReserves_receiptFirst: of two concurrent deliveries the one with a receipt answers first. The order keeps it.
func TestReserves_receiptFirst(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s *shelf) {
		twoDeliveries(t, s, func(first, second func()) {
			second()
			first()
		})
		s.want(map[string]string{"ORDER": "receipt"}, map[string]string{"ORDER": "reserved"})
	})
}

// forgetful cannot write answers.
type forgetful struct{ events.Answers }

var errForgetful = errors.New("the answers cannot be written")

// Record implements events.Answers.
func (forgetful) Record(context.Context, []store.Answer, func([]string) []outbox.Event) (map[string]bool, error) {
	return nil, errForgetful
}

// TestReserves_diesBeforeItsAnswer: a delivery reserves an order that another one has refused meanwhile, and dies
// before it answers. Its message comes again and gives the units back.
func TestReserves_diesBeforeItsAnswer(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s *shelf) {
		m := reserveOf(orderOf("ORDER", "A", 2))
		s.has("A", 1)
		dies := events.NewReserves(events.ReservesConfig{
			Stock: &slowStock{Stock: s.app.Stock}, Answers: forgetful{s.app.Store.AnswersOn(s.db)}, Log: slog.New(slog.DiscardHandler),
		})
		refuses := s.delivery(func(string) error { // it is refused; now the other one gets units and dies
			s.receives("A", 10)
			deliver(t, dies, m, "retried")
			return nil
		})
		deliver(t, refuses, m, "acknowledged")
		s.want(map[string]string{"ORDER": "out_of_stock"}, map[string]string{"ORDER": "reserved"})
		m.Attempt = 1
		deliver(t, s.delivery(nil), m, "acknowledged")
		s.want(map[string]string{"ORDER": "out_of_stock"}, map[string]string{"ORDER": "released"})
	})
}

// TestReserves_unanswered: a delivery reserves and dies before it answers. The next one gets the same receipt, and
// answers.
func TestReserves_unanswered(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s *shelf) {
		m := reserveOf(orderOf("ORDER", "A", 2))
		s.has("A", 2)
		dies := events.NewReserves(events.ReservesConfig{
			Stock: s.app.Stock, Answers: forgetful{s.app.Store.AnswersOn(s.db)}, Log: slog.New(slog.DiscardHandler),
		})
		deliver(t, dies, m, "retried")
		s.want(map[string]string{}, map[string]string{"ORDER": "reserved"})
		m.Attempt = 1
		deliver(t, s.delivery(nil), m, "acknowledged")
		s.want(map[string]string{"ORDER": "receipt"}, map[string]string{"ORDER": "reserved"})
	})
}

// TestReserves_released: the release of an order that was abandoned overtakes its reserve, or comes between the reserve
// and the answer. In the second case order-srv receives a receipt, which does not bring the order back.
func TestReserves_released(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s *shelf) {
		s.has("A", 10)
		release := func(no string) error {
			c := events.New(s.app.Stock, slog.New(slog.DiscardHandler), nil)
			return c.StockRelease(t.Context(), message(t, orderapi.StockRelease{Orders: []string{no}}))
		}
		if err := release("BEFORE"); err != nil {
			t.Fatal(err)
		}
		deliver(t, s.delivery(nil), reserveOf(orderOf("BEFORE", "A", 1)), "acknowledged")
		deliver(t, s.delivery(release), reserveOf(orderOf("BETWEEN", "A", 1)), "acknowledged")
		s.want(map[string]string{"BEFORE": "closed", "BETWEEN": "receipt"}, map[string]string{"BEFORE": "void", "BETWEEN": "released"})
	})
}

// TestReserves_passing: a failure that a retry may mend is no answer. The others are answered, and the message comes
// again for the one that is left.
func TestReserves_passing(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s *shelf) {
		s.has("A", 10)
		m := reserveOf(orderOf("STUCK", "A", 1), orderOf("FITS", "A", 1))
		for _, failure := range []error{stock.ErrContended, fault.ErrTimeout, errors.New("disk on fire")} {
			r := s.hasty(300*time.Millisecond, func(no string) error {
				if no == "STUCK" {
					return failure
				}
				return nil
			})
			testkit.EventuallyTrue(t, time.Minute, "the order that fits is answered", func() bool {
				deliver(t, r, m, "retried") // on a busy machine the time may be too short for either order
				return len(s.answers()) > 0
			})
			s.want(map[string]string{"FITS": "receipt"}, nil)
		}
		m.Attempt = 3
		deliver(t, s.delivery(nil), m, "acknowledged")
		s.want(map[string]string{"FITS": "receipt", "STUCK": "receipt"}, map[string]string{"STUCK": "reserved"})
	})
}

// TestReserves_contendedForAMoment: a failure that passes within the time of the delivery costs no redelivery.
func TestReserves_contendedForAMoment(t *testing.T) {
	t.Parallel()
	s := newShelf(t, "conditional")
	s.has("A", 10)
	failed := false
	deliver(t, s.delivery(func(string) error {
		if failed {
			return nil
		}
		failed = true
		return stock.ErrContended
	}), reserveOf(orderOf("ORDER", "A", 1)), "acknowledged")
	s.want(map[string]string{"ORDER": "receipt"}, map[string]string{"ORDER": "reserved"})
}

// TestReserves_refusedAfterAmbiguous: an attempt whose outcome is unknown may still be executed after the next one was
// refused. The order gets its tombstone, so that the late attempt takes nothing. The unknown attempt may also have been
// one of an earlier delivery.
func TestReserves_refusedAfterAmbiguous(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s *shelf) {
		s.has("A", 1)
		unknown := true
		m := reserveOf(orderOf("THIS", "A", 2))
		deliver(t, s.delivery(func(string) error {
			if unknown {
				unknown = false
				return fault.ErrTimeout
			}
			return nil
		}), m, "acknowledged")
		m = reserveOf(orderOf("EARLIER", "A", 2))
		m.Attempt = 1
		deliver(t, s.delivery(nil), m, "acknowledged")
		s.want(map[string]string{"THIS": "out_of_stock", "EARLIER": "out_of_stock"}, map[string]string{"THIS": "void", "EARLIER": "void"})
	})
}

// TestReserves_several: the answers to a message with many lines are several messages, each order in one of them.
func TestReserves_several(t *testing.T) {
	t.Parallel()
	s := newShelf(t, "conditional")
	const orders, lines = 12, 100
	for i := range lines {
		s.has(fmt.Sprintf("SKU-%d", i), orders)
	}
	want := map[string]string{}
	var all []inventoryapi.ReserveOrder
	for i := range orders {
		o := inventoryapi.ReserveOrder{OrderNo: fmt.Sprintf("ORDER-%d", i)}
		for n := range lines {
			o.Lines = append(o.Lines, inventoryapi.Line{SKU: fmt.Sprintf("SKU-%d", n), Quantity: 1})
		}
		all, want[o.OrderNo] = append(all, o), "receipt"
	}
	r := events.NewReserves(events.ReservesConfig{Stock: s.app.Stock, Answers: s.app.Store.AnswersOn(s.db), Log: slog.New(slog.DiscardHandler)})
	deliver(t, r, reserveOf(all...), "acknowledged")
	s.want(want, nil)
	var messages int
	if err := s.db.Raw("SELECT COUNT(*) FROM outbox").Row().Scan(&messages); err != nil || messages != 2 {
		t.Errorf("%d messages, error %v; want 2", messages, err)
	}
}

// TestReserves_answer: an answer has the ids of its orders' requests, and says when inventory looked, unless an order
// chose its strategy: such an answer is not to be remembered.
func TestReserves_answer(t *testing.T) {
	t.Parallel()
	s := newShelf(t, "conditional")
	s.has("A", 10)
	chosen := orderOf("CHOSEN", "A", 1)
	chosen.Strategy = "for-update"
	for _, orders := range [][]inventoryapi.ReserveOrder{{orderOf("ONE", "A", 1), orderOf("TWO", "A", 100)}, {chosen, orderOf("BESIDE", "A", 1)}} {
		ids := map[string]string{orders[0].OrderNo: "first", orders[1].OrderNo: "second"}
		body, err := json.Marshal(orderapi.StockReserve{Orders: orders, RequestIDs: ids})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		deliver(t, s.delivery(nil), mq.Message{Body: body}, "acknowledged")
		var payload string
		if err := s.db.Raw("SELECT payload FROM outbox ORDER BY id DESC LIMIT 1").Row().Scan(&payload); err != nil {
			t.Fatal(err)
		}
		var answer inventoryapi.StockReserved
		if err := json.Unmarshal([]byte(payload), &answer); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(ids, answer.RequestIDs); diff != "" {
			t.Errorf("%s: ids (-want +got):\n%s", orders[0].OrderNo, diff)
		}
		within := !answer.Looked.Before(begin.UTC()) && answer.Looked.Before(time.Now())
		if want := orders[0].Strategy == ""; answer.Looked.IsZero() == want || want && !within {
			t.Errorf("%s: looked at %v, want a time within the delivery: %v", orders[0].OrderNo, answer.Looked, want)
		}
	}
}

// TestReserves_malformed discards what is no message.
func TestReserves_malformed(t *testing.T) {
	t.Parallel()
	r := events.NewReserves(events.ReservesConfig{Log: slog.New(slog.DiscardHandler)})
	for _, body := range []string{"", "{", "[]", `{"orders":"A"}`, `{"orders":[]}`, `{"orders":[{"order_no":""}]}`, `{"orders":[{"order_no":"two words"}]}`} {
		if err := r.StockReserve(t.Context(), mq.Message{Body: []byte(body)}); !mq.IsDiscard(err) {
			t.Errorf("%q: %v, want it discarded", body, err)
		}
	}
}

package intake_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
)

// few refuses every order of more than three units of A.
func few(lab bool) ordertest.Answer {
	return func(i *ordertest.Inventory, o inventoryapi.ReserveOrder) (inventoryapi.ReserveResult, bool) {
		if n := o.Lines[0].Quantity; n > 3 {
			return ordertest.Refuse(inventoryapi.OutOfStock([]inventoryapi.ShortLine{{SKU: "A", Requested: n, Available: 3, Lab: lab}}))(i, o)
		}
		return ordertest.OK(i, o)
	}
}

func requestOf(key string, quantity int64) orderapi.PlaceRequest {
	return orderapi.PlaceRequest{IdempotencyKey: key, Items: []orderapi.PlaceItem{{SKU: "A", Quantity: quantity}}}
}

// outcome is what one order left behind.
type outcome struct {
	code                   string
	short                  []inventoryapi.ShortLine
	rows, halves, attempts int  // more than before
	named, ambiguous       bool // the answer names an order; it leaves open whether something was done
}

// order places one and returns what it was answered and what it left behind.
func (w *world) order(r orderapi.PlaceRequest) outcome {
	w.t.Helper()
	var out outcome
	rows, halves, attempts := w.left()
	reply, err := w.Intake.Place(w.t.Context(), "ann", r)
	out.code = ordertest.Code(err) + ordertest.Problem(reply)
	out.short = inventoryapi.ShortLines(err)
	out.named, out.ambiguous = reply.OrderNo != "", fault.Ambiguous(err)
	out.rows, out.halves, out.attempts = w.left()
	out.rows, out.halves, out.attempts = out.rows-rows, out.halves-halves, out.attempts-attempts
	return out
}

func (w *world) left() (rows, halves, attempts int) {
	w.t.Helper()
	if err := w.DB.Raw("SELECT COUNT(*) FROM orders").Row().Scan(&rows); err != nil {
		w.t.Fatal(err)
	}
	sent, _ := w.Broker.Halves()
	return rows, len(sent), w.Inventory.Attempts()
}

// remembered places orders of five until one is refused without inventory.
func (w *world) remembered() outcome {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if got := w.order(requestOf(ulid.Make().String(), 5)); got.attempts == 0 {
			return got
		} else if got.code != "out_of_stock" || got.rows != 1 {
			w.t.Fatalf("an order that inventory refused: %+v", got)
		}
	}
	w.t.Fatal("inventory was asked about every order")
	return outcome{}
}

// TestIntake_Place_shortage refuses an order by what inventory said to the one before: as inventory would, and nothing
// is left behind. An order that may fit still asks.
func TestIntake_Place_shortage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, few(false))
	want := outcome{code: "out_of_stock", short: []inventoryapi.ShortLine{{SKU: "A", Requested: 5, Available: 3}}}
	if diff := cmp.Diff(want, w.remembered(), cmp.AllowUnexported(outcome{})); diff != "" {
		t.Errorf("refused by memory (-want +got):\n%s", diff)
	}
	w.remembered()
	if got := w.order(requestOf("three", 3)); got.code != "" || got.attempts != 1 || got.rows != 1 {
		t.Errorf("an order that fits: %+v", got)
	}
}

// TestIntake_Place_shortageKeepsAnswers repeats requests whose keys have answers, while their SKU is known to be short.
func TestIntake_Place_shortageKeepsAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ordertest.OK)
	first, err := w.Intake.Place(t.Context(), "ann", requestOf("k", 9))
	if err != nil || first.Status != http.StatusCreated {
		t.Fatalf("reply %d, error %v", first.Status, err)
	}
	w.Inventory.Answer(few(false))
	w.remembered()
	again, err := w.Intake.Place(t.Context(), "ann", requestOf("k", 9))
	if err != nil || again.Status != http.StatusCreated || string(again.Body) != string(first.Body) {
		t.Errorf("repeat: %d %s, error %v; want\n%s", again.Status, again.Body, err, first.Body)
	}
	w.remembered()
	if _, err := w.Intake.Place(t.Context(), "ann", requestOf("k", 8)); !errors.Is(err, order.ErrIdempotency) {
		t.Errorf("another payload: %v", err)
	}
}

// TestIntake_Place_shortageEnds: the key of an order that was refused by memory is unused, and new stock is noticed.
func TestIntake_Place_shortageEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, few(false))
	w.remembered()
	w.Inventory.Answer(ordertest.OK)
	testkit.Eventually(t, 20*time.Second, "new stock", func() error {
		if got := w.order(requestOf("late", 5)); got.code != "" {
			return fmt.Errorf("refused: %+v", got)
		}
		return nil
	})
	if got := w.order(requestOf("next", 5)); got.code != "" || got.attempts != 1 {
		t.Errorf("the next one: %+v", got)
	}
}

// TestIntake_Place_shortageAsks: products for the lab, orders that name a strategy and other replicas ask inventory
// each time.
func TestIntake_Place_shortageAsks(t *testing.T) {
	t.Parallel()
	const orders = 20
	for name, tt := range map[string]struct {
		lab      bool
		strategy string
	}{"a product for the lab": {true, ""}, "a strategy": {false, "naive"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, few(tt.lab))
			for i := range orders {
				r := requestOf(fmt.Sprint(i), 5)
				r.Strategy = tt.strategy
				w.order(r)
			}
			if got := w.Inventory.Attempts(); got != orders {
				t.Errorf("inventory was asked about %d of %d orders", got, orders)
			}
			if tt.strategy == "" {
				return
			}
			w.remembered()
			r := requestOf("named", 5)
			r.Strategy = tt.strategy
			if got := w.order(r); got.attempts != 1 {
				t.Errorf("refused by what inventory said to an order that named no strategy: %+v", got)
			}
		})
	}
	t.Run("another replica", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, few(false))
		w.remembered()
		w.Intake = w.Replica().Intake
		if got := w.order(requestOf("other", 5)); got.attempts != 1 {
			t.Errorf("the other replica's first order: %+v", got)
		}
		w.remembered()
	})
}

package audit_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/check"
	"holdfast/order-srv/internal/audit"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/sql"
)

// inventory answers with what it is made of, two reservations a page.
type inventory struct {
	reservations []inventoryapi.Reservation
	ledger       inventoryapi.Ledger
	fails        error
}

// Reservations implements audit.Inventory.
func (i inventory) Reservations(_ context.Context, after string, _ int) (inventoryapi.ReservationPage, error) {
	var p inventoryapi.ReservationPage
	for _, r := range i.reservations {
		if r.OrderNo <= after {
			continue
		}
		if len(p.Reservations) == 2 {
			p.After = p.Reservations[1].OrderNo
			break
		}
		p.Reservations = append(p.Reservations, r)
	}
	return p, i.fails
}

// Audit implements audit.Inventory.
func (i inventory) Audit(context.Context) (inventoryapi.Ledger, error) { return i.ledger, i.fails }

// letters are messages that were given up.
type letters struct {
	found []orderapi.DeadLetter
	fails error
}

// List implements audit.Letters.
func (l *letters) List(context.Context, int) ([]orderapi.DeadLetter, error) { return l.found, l.fails }

// TestRun joins more orders than fit on a page with their reservations, then misses what is planted.
func TestRun(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t, sql.Orders())
	s := store.New(db, nil)
	const orders = 5
	given := &letters{}
	none := audit.HalfMessages{Undecided: func() (int, time.Duration) { return 0, 0 }}
	inv := inventory{ledger: inventoryapi.Ledger{SKUs: []inventoryapi.LedgerEntry{{SKU: "A", Inbound: 10, Available: 5, Reserved: 5, LinesReserved: 5}}}}
	for range orders {
		no := ulid.Make().String()
		o := order.Order{OrderNo: no, GroupID: no, UserID: "ann", IdempotencyKey: no, RequestHash: "h", Flow: "test", Items: []order.Item{{SKU: "A", Quantity: 1}}}
		if _, inserted, err := ordertest.Insert(t.Context(), s, o); err != nil || !inserted {
			t.Fatalf("inserted %v, error %v", inserted, err)
		}
		_, err := ordertest.Place(t.Context(), s, no, store.Placement{
			Items:         []order.Item{{SKU: "A", Title: "A", Quantity: 1, UnitPriceCents: 1}},
			PaymentWindow: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
		inv.reservations = append(inv.reservations, inventoryapi.Reservation{
			OrderNo: no, Status: inventoryapi.StateReserved, CreatedAt: time.Now(), Lines: []inventoryapi.Line{{SKU: "A", Quantity: 1}},
		})
	}
	r, err := audit.Run(t.Context(), s, inv, none, given)
	if err != nil || len(r.Violations) != 0 || r.Orders["PLACED"] != orders || r.Unsent != orders {
		t.Errorf("report %+v, error %v", r, err)
	}
	lost := inv
	lost.reservations = inv.reservations[:orders-1]
	r, err = audit.Run(t.Context(), s, lost, none, given)
	if err != nil || len(r.Violations) != 1 || r.Violations[0].Subject != inv.reservations[orders-1].OrderNo {
		t.Errorf("a lost reservation: %+v, error %v", r.Violations, err)
	}
	lost.ledger.Losses = []inventoryapi.Loss{{Reason: "test", Operations: 1, Units: 1, Orders: []string{r.Violations[0].Subject}}}
	r, err = audit.Run(t.Context(), s, lost, none, given)
	if err != nil || len(r.Violations) != 0 || len(r.Lost) != 1 {
		t.Errorf("a reservation that a loss names: %+v, %+v, error %v", r.Violations, r.Lost, err)
	}
	// A freed key whose order is PLACED all the same, and the next order of that key is PLACED too.
	first, second := inv.reservations[0].OrderNo, inv.reservations[1].OrderNo
	if err := db.Exec("UPDATE orders SET idempotency_key = NULL, freed_key = ? WHERE order_no = ?", second, first).Error; err != nil {
		t.Fatal(err)
	}
	r, err = audit.Run(t.Context(), s, inv, none, given)
	if err != nil || len(r.Violations) != 1 || r.Violations[0].Subject != second || r.Violations[0].Invariant != 5 {
		t.Errorf("two orders of one key: %+v, error %v", r.Violations, err)
	}
	late := audit.HalfMessages{Undecided: func() (int, time.Duration) { return 3, time.Minute }, LateAfter: 22 * time.Second}
	r, err = audit.Run(t.Context(), s, inv, late, given)
	if err != nil || r.Messages.Undecided != 3 || !slices.ContainsFunc(r.Unsettled, func(v check.Violation) bool { return v.Subject == "half messages" }) {
		t.Errorf("half messages a minute old: %+v, unsettled %+v, error %v", r.Messages, r.Unsettled, err)
	}
	given.found = []orderapi.DeadLetter{{Source: "outbox", Topic: "order-events", Key: first}, {Source: "order-timeout", Key: second}}
	given.fails = errors.New("the broker is away")
	if err := db.Exec("UPDATE orders SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE order_no = ?", first).Error; err != nil {
		t.Fatal(err)
	}
	r, err = audit.Run(t.Context(), s, inv, none, given)
	about := func(found []check.Violation, invariant int, subject string) bool {
		return slices.ContainsFunc(found, func(v check.Violation) bool { return v.Invariant == invariant && v.Subject == subject })
	}
	if err != nil || !about(r.Violations, 7, first) || !about(r.Violations, 7, second) || !about(r.Unsettled, 7, first) || !about(r.Unsettled, 7, "dead letters") {
		t.Errorf("a parked message, a dead letter, an overdue order and a broker that is away: %+v, unsettled %+v, error %v", r.Violations, r.Unsettled, err)
	}
	inv.fails = errors.New("inventory is down")
	if _, err := audit.Run(t.Context(), s, inv, none, given); !errors.Is(err, inv.fails) {
		t.Errorf("inventory down: error %v", err)
	}
}

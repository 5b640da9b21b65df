package audit_test

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/walletapi"
)

// tcc makes orders of the flow tcc without a coordinator: what the log says stays until a test has it done.
func (w *world) tcc() {
	w.t.Helper()
	flows, err := flow.NewSet(flow.List(), flow.NameTCC)
	if err != nil {
		w.t.Fatal(err)
	}
	flows.Open(flow.Deps{Resolver: &flow.Resolver{}})
	w.store = w.store.WithFlows(flows)
}

// placed adds a PLACED order of one unit, which costs 100 cents, with its reservation and its frozen money.
func (w *world) placed() (orderNo string) {
	w.t.Helper()
	no := ulid.Make().String()
	o := order.Order{
		OrderNo: no, GroupID: no, UserID: "ann", IdempotencyKey: no, RequestHash: ordertest.RequestHash, Flow: flow.NameTCC,
		Items: []order.Item{{SKU: "A", Quantity: 1}},
	}
	if _, inserted, err := ordertest.Insert(w.t.Context(), w.store, o); err != nil || !inserted {
		w.t.Fatalf("inserted %v, error %v", inserted, err)
	}
	_, err := ordertest.Place(w.t.Context(), w.store, no, store.Placement{Items: []order.Item{{SKU: "A", Title: "A", Quantity: 1, UnitPriceCents: 100}}})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.wallet.Freeze(w.t.Context(), walletapi.FreezeRequest{OrderNo: no, UserID: "ann", AmountCents: 100}); err != nil {
		w.t.Fatal(err)
	}
	w.inventory.reservations = append(w.inventory.reservations, reservation(no, "reserved"))
	w.inventory.entry.Inbound++
	w.inventory.entry.Reserved++
	w.exec("DELETE FROM outbox") // its messages are another invariant's
	return no
}

// TestAudit_wallet checks the wallets and the coordinator's log, then finds what is planted.
func TestAudit_wallet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tcc()
	no := w.placed()
	if r := w.mustAudit(false); len(r.Violations)+len(r.Unsettled) != 0 || len(r.InDoubt) != 0 {
		t.Fatalf("a clean shop: %+v", r)
	}
	paid := w.placed()
	if _, err := w.store.Pay(t.Context(), "ann", paid); err != nil {
		t.Fatal(err)
	}
	w.exec("DELETE FROM outbox")
	r := w.mustAudit(false)
	if !about(r.Unsettled, 10, paid) || len(r.Violations) != 0 || len(r.InDoubt) != 1 || r.InDoubt[0].State != "confirming" {
		t.Errorf("a phase in flight: %+v", r)
	}
	plant := func(what, query string, invariant int, subject string, heal string, args ...any) {
		t.Helper()
		w.money(query, args...)
		if r := w.mustAudit(false); !about(r.Violations, invariant, subject) {
			t.Errorf("%s is not found: %v", what, r.Violations)
		}
		w.money(heal, args...)
	}
	plant("money without an entry", "UPDATE wallets SET available_cents = available_cents + 1", 9, "wallet of ann", "UPDATE wallets SET available_cents = available_cents - 1")
	plant("frozen money without a freeze", "UPDATE freezes SET state = 'cancelled' WHERE order_no = ?", 9, "wallet of ann", "UPDATE freezes SET state = 'frozen' WHERE order_no = ?", no)
	plant("a placed order without its money", "UPDATE freezes SET state = 'void' WHERE order_no = ?", 10, no, "UPDATE freezes SET state = 'frozen' WHERE order_no = ?", no)
	w.exec("UPDATE tcc_log SET state = 'done', next_at = NULL WHERE order_no = ?", paid)
	if r := w.mustAudit(false); !about(r.Violations, 10, paid) {
		t.Errorf("a paid order whose money is not paid is not found: %v", r.Violations)
	}
	w.exec("DELETE FROM tcc_log WHERE order_no = ?", paid)
	if r := w.mustAudit(false); !about(r.Violations, 10, paid) {
		t.Errorf("money of an order without a row of the log is not found: %v", r.Violations)
	}
}

// money changes the wallet's database.
func (w *world) money(query string, args ...any) {
	w.t.Helper()
	if err := w.wallet.DB.Exec(query, args...).Error; err != nil {
		w.t.Fatal(err)
	}
}

// TestAudit_walletAway: a wallet that cannot be read is a finding, and keeps nothing else from being checked. A shop
// that does not use the flow has no need of a wallet.
func TestAudit_walletAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.wallet.SetDown(true)
	w.history(1, time.Hour)
	if r := w.mustAudit(false); len(r.Unsettled)+len(r.Violations) != 0 {
		t.Errorf("without the flow: %+v", r)
	}
	w.wallet.SetDown(false)
	w.tcc()
	w.placed()
	w.wallet.SetDown(true)
	w.inventory.entry.Available++
	r := w.mustAudit(false)
	if !about(r.Unsettled, 10, "wallet") || !about(r.Violations, 1, "A") {
		t.Errorf("the wallet is away and a unit too many is there: %v, %v", r.Violations, r.Unsettled)
	}
}

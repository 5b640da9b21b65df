package audit_test

import (
	"testing"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
)

// TestAudit_xa checks the branches and the log of the flow xa, then finds what is planted.
func TestAudit_xa(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const one, two = "01J00000000000000000000001", "01J00000000000000000000002"
	for _, no := range []string{one, two} {
		w.exec("INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_hash, status, flow, created_at, updated_at, settled_at) "+
			"VALUES (?, ?, 'ann', ?, 'h', 'PAID', 'xa', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))", no, no, no)
		w.exec("INSERT INTO order_items (order_no, sku, quantity) VALUES (?, 'A', 1)", no)
		w.exec("INSERT INTO xa_log (gtrid, state, decision, created_at) VALUES (?, 'done', 'commit', UTC_TIMESTAMP(6))", no)
		w.inventory.reservations = append(w.inventory.reservations, reservation(no, "confirmed"))
		w.inventory.entry.Inbound++
		w.inventory.entry.Sold++
	}
	if r := w.mustAudit(true); len(r.Violations)+len(r.Unsettled)+len(r.Branches) != 0 {
		t.Fatalf("a clean shop: %+v", r)
	}
	plant := func(what, query string, violation bool) {
		t.Helper()
		w.exec(query, one)
		r := w.mustAudit(true)
		found := r.Unsettled
		if violation {
			found = r.Violations
		}
		if !about(found, 11, one) || about(r.Violations, 11, two) {
			t.Errorf("%s is not found: %v, %v", what, r.Violations, r.Unsettled)
		}
		w.exec("UPDATE xa_log SET state = 'done', decision = 'commit', open_since = NULL WHERE gtrid = ?", one)
	}
	plant("a paid order whose log says abort", "UPDATE xa_log SET decision = 'abort' WHERE gtrid = ?", true)
	plant("a paid order that is not decided", "UPDATE xa_log SET state = 'preparing', decision = '' WHERE gtrid = ?", true)
	plant("a decision that is not done", "UPDATE xa_log SET state = 'commit', open_since = UTC_TIMESTAMP(6) WHERE gtrid = ?", false)
	w.exec("UPDATE orders SET status = 'ABANDONED' WHERE order_no = ?", one)
	plant("an abandoned order whose log says commit", "UPDATE xa_log SET state = 'commit', open_since = UTC_TIMESTAMP(6) WHERE gtrid = ?", true)
	w.exec("UPDATE orders SET status = 'PAID' WHERE order_no = ?", one)

	w.inventory.branches = []inventoryapi.Branch{{OrderNo: one, AgeMS: 1000, SKUs: []string{"A"}}}
	r := w.mustAudit(false)
	if !about(r.Unsettled, 11, one) || len(r.Branches) != 1 || r.Branches[0].State != "done" || r.Branches[0].Locks[0] != "stock A" {
		t.Errorf("a young branch of inventory: %+v", r)
	}
	w.inventory.branches[0].AgeMS = 60_000
	if r := w.mustAudit(false); !about(r.Violations, 11, one) {
		t.Errorf("an old branch of inventory is not found: %+v", r)
	}
	w.inventory.branches = nil
	w.oldBranch(t)
}

// oldBranch prepares a branch of orders and finds it once it is old.
func (w *world) oldBranch(t *testing.T) {
	t.Helper()
	const no = "01J00000000000000000000003"
	w.exec("INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_hash, status, flow, created_at, updated_at) "+
		"VALUES (?, ?, 'ann', ?, 'h', 'PENDING', 'xa', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))", no, no, no)
	w.exec("INSERT INTO order_items (order_no, sku, quantity) VALUES (?, 'A', 1)", no)
	w.exec("INSERT INTO xa_log (gtrid, state, created_at, open_since) VALUES (?, 'preparing', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))", no)
	_, err := w.store.PrepareXA(t.Context(), store.Decision{OrderNo: no, Placement: &store.Placement{
		Strategy: "conditional", Items: []order.Item{{SKU: "A", Title: "A", Quantity: 1, UnitPriceCents: 100}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := w.mustAudit(false)
	if !about(r.Unsettled, 11, no) || len(r.Branches) != 1 || r.Branches[0].Side != "orders" || r.Branches[0].State != "preparing" {
		t.Errorf("a young branch of orders: %+v", r)
	}
	w.exec("UPDATE xa_log SET created_at = ? WHERE gtrid = ?", time.Now().UTC().Add(-time.Minute), no)
	if r := w.mustAudit(false); !about(r.Violations, 11, no) {
		t.Errorf("an old branch of orders is not found: %+v", r)
	}
	if err := w.store.RollbackXA(t.Context(), no); err != nil { // else nobody can drop the database
		t.Fatal(err)
	}
}

package retention_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
)

// TestWorker: orders that are older than the retention leave, by two replicas side by side; audits find the same before
// and after, and everything that was paid is still there.
func TestWorker(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.runAudits()
	old := s.history(2000, 100*day)
	s.history(1100, day)
	before := s.mustAudit(false)
	if proven, err := s.store.RolledUp(t.Context()); err != nil || proven.Cutoff < old[1999] {
		t.Fatalf("proven up to %s, error %v", proven.Cutoff, err)
	}
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			w := s.worker(nil)
			testkit.Eventually(t, time.Minute, "both databases are done", func() error {
				if _, err := w.Pass(t.Context()); err != nil {
					t.Error(err)
				}
				if n := s.count(s.stock, "SELECT COUNT(*) FROM outbox WHERE shard_key < ?", old[1999]); n > 0 {
					return errors.New("not yet")
				}
				return nil
			})
		})
	}
	running.Wait()
	s.run(s.worker(nil))
	if n := s.gone(old[1999]); n != 2000*13/20 {
		t.Errorf("%d orders are archived, want %d", n, 2000*13/20)
	}
	if n := s.count(s.stock, "SELECT COUNT(DISTINCT order_no) FROM reservation_archive"); n != 2000*12/20 {
		t.Errorf("%d reservations are archived, want %d", n, 2000*12/20)
	}
	if n := s.count(s.orders, "SELECT COUNT(*) FROM orders"); n != 1100 {
		t.Errorf("%d orders are left, want the young ones", n)
	}
	// The roll-up still counts those that left; a full audit counts what is there.
	if r := s.mustAudit(false); r.Full || r.Orders["PAID"] != before.Orders["PAID"] || r.Orders["EXPIRED"] != before.Orders["EXPIRED"] {
		t.Errorf("orders %v after, %v before; full %v", r.Orders, before.Orders, r.Full)
	}
	r := s.mustAudit(true)
	if r.Orders["PAID"] != before.Orders["PAID"] || r.Orders["REFUND_DUE"] != before.Orders["REFUND_DUE"] || r.Orders["EXPIRED"] >= before.Orders["EXPIRED"] {
		t.Errorf("a full audit: orders %v after, %v before", r.Orders, before.Orders)
	}
	s.reads(old)
}

// reads checks what the archive answers about an old PAID order of two lines and an old EXPIRED one.
func (s *shop) reads(old []string) {
	s.t.Helper()
	ctx := s.t.Context()
	paid, refund, expired := old[10], old[1], old[2]
	o, err := s.store.Get(ctx, "user-3", paid)
	if err != nil || o.Status != order.Paid || len(o.Items) != 2 || o.Items[1].UnitPriceCents != 200 {
		s.t.Errorf("an archived order: %+v, error %v", o, err)
	}
	if _, err := s.store.Get(ctx, "user-4", paid); !errors.Is(err, order.ErrNotFound) {
		s.t.Errorf("another user's archived order: %v", err)
	}
	if o, err := s.store.Get(ctx, "user-1", refund); err != nil || o.Status != order.RefundDue {
		s.t.Errorf("an order that is owed a refund: %+v, error %v", o, err)
	}
	if _, err := s.store.Get(ctx, "user-2", expired); !errors.Is(err, order.ErrNotFound) {
		s.t.Errorf("an order that was deleted: %v", err)
	}
	if o, err := s.store.Pay(ctx, "user-3", paid); err != nil || o.Status != order.Paid {
		s.t.Errorf("paid once more: %+v, error %v", o, err)
	}
	if _, err := s.store.Cancel(ctx, "user-3", paid); !errors.Is(err, order.ErrNotCancellable) {
		s.t.Errorf("an archived order cancelled: %v", err)
	}
	var listed []string
	for before := ""; ; {
		page, err := s.store.List(ctx, "user-3", before, 50)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, o := range page {
			listed = append(listed, o.OrderNo)
		}
		if len(page) < 50 {
			break
		}
		before = page[49].OrderNo
	}
	want := s.count(s.orders, "SELECT COUNT(*) FROM orders WHERE user_id = 'user-3'") + s.count(s.orders, "SELECT COUNT(*) FROM orders_archive WHERE user_id = 'user-3'")
	if len(listed) != want || listed[len(listed)-1] >= listed[0] {
		s.t.Errorf("%d orders are listed, want %d", len(listed), want)
	}
	if owners, err := s.store.Owners(ctx, []string{paid, expired}); err != nil || len(owners) != 1 || !owners[paid].Settled {
		s.t.Errorf("owners: %v, error %v", owners, err)
	}
	for no, want := range map[string]error{paid: inventoryapi.ErrConfirmed, expired: nil} {
		if err := s.inventory.Release(ctx, no); !errors.Is(err, want) {
			s.t.Errorf("release of %s: %v, want %v", no, err, want)
		}
	}
	if err := s.inventory.Confirm(ctx, paid); err != nil {
		s.t.Errorf("confirm of an archived order: %v", err)
	}
	if n := s.count(s.stock, "SELECT COUNT(*) FROM reservations WHERE order_no <= ?", old[len(old)-1]); n != 0 {
		s.t.Errorf("%d tombstones were written", n)
	}
}

// dying is an inventory whose caller dies around a call of Archive.
type dying struct {
	*inventoryapi.Client
	at   int  // the number of the call
	lost bool // it is executed, and its answer is lost
}

var errDied = errors.New("the replica died")

func (d *dying) Archive(ctx context.Context, to string) (inventoryapi.Archived, error) {
	if d.at--; d.at != 0 {
		return d.Client.Archive(ctx, to)
	}
	if d.lost {
		if _, err := d.Client.Archive(ctx, to); err != nil {
			return inventoryapi.Archived{}, err
		}
	}
	return inventoryapi.Archived{}, errDied
}

// TestWorker_killed: a replica dies between the databases, before or after inventory's step. Audits are clean then, and
// another replica goes on.
func TestWorker_killed(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"before inventory's step": false, "after inventory's step": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			s.runAudits()
			old := s.history(2000, 100*day)
			s.history(1100, day) // an audit proves whole pages
			s.mustAudit(false)
			w := s.worker(&dying{Client: s.inventory, at: 3, lost: lost})
			if _, err := w.Pass(t.Context()); !errors.Is(err, errDied) {
				t.Fatalf("error %v", err)
			}
			left := s.count(s.orders, "SELECT COUNT(*) FROM orders")
			behind := s.count(s.stock, "SELECT COUNT(*) FROM reservations") - s.count(s.orders, "SELECT COUNT(*) FROM orders WHERE status <> 'REJECTED'")
			if left == 0 || left == 3100 || behind <= 0 && !lost {
				t.Fatalf("%d orders are left, inventory is %d behind: the replica did not die in the middle", left, behind)
			}
			if more, err := s.worker(nil).Pass(t.Context()); err != nil || more || s.count(s.orders, "SELECT COUNT(*) FROM orders") != left {
				t.Errorf("another replica worked under the lease of the dead one: more %v, error %v", more, err)
			}
			s.exec(s.orders, "UPDATE audit_rollup SET lease_until = UTC_TIMESTAMP(6)") // its time has come
			s.mustAudit(false)
			s.mustAudit(true)
			s.run(s.worker(nil))
			if n := s.gone(old[1999]); n != 2000*13/20 {
				t.Errorf("%d orders are archived, want %d", n, 2000*13/20)
			}
			s.mustAudit(false)
			s.mustAudit(true)
		})
	}
}

// TestWorker_killedInTheTransaction: what a replica that dies in its step has done is undone.
func TestWorker_killedInTheTransaction(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.runAudits()
	old := s.history(1000, 100*day)
	s.mustAudit(false)
	// Its last statement waits for a row, and meanwhile its session ends.
	holder := s.orders.Begin()
	defer holder.Rollback()
	if err := holder.Exec("UPDATE retention SET archived_to = archived_to WHERE id = 1").Error; err != nil {
		t.Fatal(err)
	}
	if err := holder.Exec("SELECT * FROM retention WHERE id = 1 FOR UPDATE").Error; err != nil {
		t.Fatal(err)
	}
	ctx, kill := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer kill()
	if _, err := s.worker(nil).Pass(ctx); err == nil {
		t.Error("the pass succeeded")
	}
	if n := s.count(s.orders, "SELECT COUNT(*) FROM orders") + s.count(s.orders, "SELECT COUNT(*) FROM orders_archive"); n != 1000 {
		t.Errorf("%d orders are left", n)
	}
	holder.Rollback()
	s.exec(s.orders, "UPDATE audit_rollup SET lease_until = UTC_TIMESTAMP(6)")
	s.mustAudit(true)
	s.run(s.worker(nil))
	if n := s.gone(old[999]); n != 650 {
		t.Errorf("%d orders are archived, want 650", n)
	}
}

// TestWorker_proof: nothing leaves that no audit has proven. The worker asks for an audit when there is enough to
// prove, and an order that has not ended stops the cut-off.
func TestWorker_proof(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	old := s.history(3000, 100*day)
	s.exec(s.orders, "UPDATE orders SET settled_at = NULL WHERE order_no = ?", old[1500])
	w := s.worker(nil)
	if more, err := w.Pass(t.Context()); more || err != nil {
		t.Errorf("more %v, error %v", more, err)
	}
	if n := s.count(s.orders, "SELECT COUNT(*) FROM audits WHERE state = 'queued'"); n != 1 {
		t.Errorf("%d audits are queued, want 1", n)
	}
	// While an audit waits, the history is not leased.
	s.exec(s.orders, "UPDATE audit_rollup SET cutoff = ?", old[999])
	if more, err := w.Pass(t.Context()); more || err != nil || s.count(s.orders, "SELECT COUNT(*) FROM orders") != 3000 {
		t.Errorf("more %v, error %v", more, err)
	}
	s.exec(s.orders, "UPDATE audit_rollup SET cutoff = ''")
	s.runAudits()
	testkit.Eventually(t, time.Minute, "the audit ends", func() error {
		if s.count(s.orders, "SELECT COUNT(*) FROM audits WHERE state = 'done'") == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	s.run(w)
	if n := s.count(s.orders, "SELECT COUNT(*) FROM orders"); n != 2000 {
		t.Errorf("%d orders are left, want 2000: one of the second thousand is not settled", n)
	}
	if _, err := s.store.Archive(t.Context(), "nobody", old[2999]); !errors.Is(err, store.ErrAuditLost) {
		t.Errorf("a step without a lease: %v", err)
	}
}

// TestWorker_inventoryIsBlocked: a reservation that has not ended is not archived, and the worker reports it.
func TestWorker_inventoryIsBlocked(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.runAudits()
	old := s.history(1000, 100*day)
	s.mustAudit(false)
	s.exec(s.stock, "UPDATE reservations SET status = 'reserved' WHERE order_no = ?", old[9])
	var err error
	for more := true; more && err == nil; {
		more, err = s.worker(nil).Pass(t.Context())
	}
	if err == nil {
		t.Error("no error")
	}
	if n := s.count(s.stock, "SELECT COUNT(*) FROM reservations WHERE order_no < ?", old[9]); n != 0 {
		t.Errorf("%d reservations before it are left", n)
	}
	if n := s.count(s.stock, "SELECT COUNT(*) FROM reservations WHERE order_no = ?", old[9]); n != 1 {
		t.Error("the reservation is gone")
	}
}

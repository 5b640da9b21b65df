package store_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/database"
	"holdfast/sql"
)

// sweepAll is a pass of the sweeper. It returns the orders that it found.
func sweepAll(t *testing.T, s *store.Store, age time.Duration) (found []string) {
	t.Helper()
	for at, done := (store.Sweep{}), false; !done; {
		var pending []store.Pending
		var err error
		pending, at, done, err = s.Stale(t.Context(), age, at)
		must(t, err)
		for _, o := range pending {
			found = append(found, o.OrderNo)
		}
	}
	return found
}

func mark(t *testing.T, db *gorm.DB) (no string) {
	t.Helper()
	must(t, db.Raw("SELECT swept_to FROM order_form").Row().Scan(&no))
	return no
}

// ahead is an age by which the sweeper looks at orders of the next hour, and moves its mark there.
const ahead = -time.Hour

// TestStore_Stale: the mark stays before an order that is PENDING, passes all others, also those of several steps, and
// the orders after it have greater numbers.
func TestStore_Stale(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	const old = 4100 // three steps
	for range old / 100 {
		insertStale(t, db, 100)
	}
	must(t, db.Exec("UPDATE orders SET status = 'PLACED'").Error)
	pending := newOrder()
	insert(t, s, pending)
	young := newOrder()
	if got := sweepAll(t, s, time.Minute); len(got) != 0 {
		t.Errorf("orders that are a minute old: %v", got)
	}
	before := mark(t, db)
	for range 2 {
		if diff := cmp.Diff([]string{pending.OrderNo}, sweepAll(t, s, ahead)); diff != "" {
			t.Errorf("pending (-want +got):\n%s", diff)
		}
	}
	if m := mark(t, db); m <= before || m >= pending.OrderNo || count(t, db, "SELECT COUNT(*) FROM orders WHERE order_no <= ?", m) != old {
		t.Errorf("the mark is at %s, was at %s, and %s is pending", m, before, pending.OrderNo)
	}
	if n, err := s.Abandon(t.Context(), []string{pending.OrderNo}, 0, false, store.Sweeper); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if got := sweepAll(t, s, ahead); len(got) != 0 {
		t.Errorf("nothing is pending, found %v", got)
	}
	if m := mark(t, db); m <= pending.OrderNo {
		t.Errorf("the mark is at %s, %s has ended", m, pending.OrderNo)
	}
	if _, _, err := ordertest.Insert(t.Context(), s, young); err == nil {
		t.Error("an order was inserted below the mark")
	}
	young.OrderNo, young.GroupID = "", ""
	o, inserted, err := ordertest.Insert(t.Context(), s, young)
	if err != nil || !inserted || o.OrderNo <= mark(t, db) || o.GroupID != o.OrderNo {
		t.Errorf("order %+v, inserted %v, error %v; the mark is at %s", o, inserted, err, mark(t, db))
	}
}

// blocking is a flow that has transactions wait after they have inserted their orders.
type blocking struct{ inserted, release chan struct{} }

// Begin implements store.Flows.
func (b blocking) Begin(*store.Tx, []order.Order) error {
	b.inserted <- struct{}{}
	<-b.release
	return nil
}

// Decided implements store.Flows.
func (b blocking) Decided(*store.Tx, string, []string) error { return nil }

// Ended implements store.Flows.
func (b blocking) Ended(*store.Tx, order.Order) error { return nil }

// Left implements store.Flows.
func (b blocking) Left(*store.Tx, string, []string) error { return nil }

// TestStore_Stale_longTransaction: while a transaction that inserts orders is open, the mark does not move past them,
// and after its COMMIT the sweeper finds them.
func TestStore_Stale_longTransaction(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	b := blocking{make(chan struct{}), make(chan struct{})}
	o := newOrder()
	o.OrderNo, o.GroupID = "", ""
	var running sync.WaitGroup
	running.Go(func() {
		var err error
		if o, _, err = ordertest.Insert(t.Context(), s.WithFlows(b), o); err != nil {
			t.Error(err)
		}
	})
	<-b.inserted
	if got := sweepAll(t, s, ahead); len(got) != 0 {
		t.Errorf("found %v before the COMMIT", got)
	}
	if m := mark(t, db); m != "" {
		t.Errorf("the mark has moved to %s beside an open transaction", m)
	}
	close(b.release)
	running.Wait()
	if diff := cmp.Diff([]string{o.OrderNo}, sweepAll(t, s, ahead)); diff != "" {
		t.Errorf("pending after the COMMIT (-want +got):\n%s", diff)
	}
}

// TestStore_Stale_committedMeanwhile: a transaction commits between the sweeper's look at the orders and its move of
// the mark. The mark stays before its order.
func TestStore_Stale_committedMeanwhile(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	b := blocking{make(chan struct{}), make(chan struct{})}
	for range 10 {
		o := newOrder()
		o.OrderNo, o.GroupID = "", ""
		var running sync.WaitGroup
		running.Go(func() {
			if _, _, err := ordertest.Insert(t.Context(), s.WithFlows(b), o); err != nil {
				t.Error(err)
			}
		})
		<-b.inserted
		running.Go(func() {
			for at, done := (store.Sweep{}), false; !done; {
				var err error
				if _, at, done, err = s.Stale(t.Context(), 0, at); err != nil {
					t.Error(err)
					return
				}
			}
		})
		<-time.After(10 * time.Millisecond) // about when the sweeper has looked: the moment is the subject
		b.release <- struct{}{}
		running.Wait()
		if n := count(t, db, "SELECT COUNT(*) FROM orders JOIN order_form WHERE status = 'PENDING' AND order_no <= swept_to"); n != 0 {
			t.Fatalf("%d orders below the mark are pending", n)
		}
		must(t, db.Exec("UPDATE orders SET status = 'PLACED'").Error)
	}
}

// TestStore_Stale_clockSetBack: the database's clock is set back by two hours. Orders still get numbers above the mark,
// and the sweeper finds them.
func TestStore_Stale_clockSetBack(t *testing.T) {
	t.Parallel()
	dsn := dbtest.NewDSN(t, sql.Orders())
	db := dbtest.Open(t, dsn, database.Options{})
	sweepAll(t, store.New(db, nil), 0)
	m := mark(t, db)
	if m == "" {
		t.Fatal("the mark has not moved")
	}
	param := fmt.Sprintf("?timestamp=%d", time.Now().Add(-2*time.Hour).Unix())
	if strings.Contains(dsn, "?") {
		param = "&" + param[1:]
	}
	back := store.New(dbtest.Open(t, dsn+param, database.Options{}), nil)
	var want []string
	for range 3 {
		o := newOrder()
		o.OrderNo, o.GroupID = "", ""
		o, inserted, err := ordertest.Insert(t.Context(), back, o)
		if err != nil || !inserted || o.OrderNo <= m || time.Since(o.CreatedAt) < time.Hour {
			t.Fatalf("order %+v, inserted %v, error %v; the mark is at %s", o, inserted, err, m)
		}
		age(t, db, o.OrderNo, time.Minute)
		want = append(want, o.OrderNo)
	}
	slices.Sort(want) // other tests have made numbers between them
	if diff := cmp.Diff(want, sweepAll(t, back, 30*time.Second)); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if mark(t, db) != m {
		t.Errorf("the mark has moved from %s to %s", m, mark(t, db))
	}
}

// TestStore_Stale_twoReplicas: replicas insert and end orders while others move the mark as far as they can. No
// order that is PENDING is ever below it.
func TestStore_Stale_twoReplicas(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	const orders, buyers = 60, 4
	below := "SELECT COUNT(*) FROM orders JOIN order_form WHERE status = 'PENDING' AND order_no <= swept_to"
	var selling, sweeping sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		sweeping.Go(func() {
			for at := (store.Sweep{}); ; {
				select {
				case <-stop:
					return
				default:
				}
				_, next, done, err := s.Stale(t.Context(), 0, at)
				if err != nil {
					t.Error(err)
					return
				}
				if at = next; done {
					at = store.Sweep{}
				}
				if n := count(t, db, below); n != 0 {
					t.Errorf("%d orders below the mark are pending", n)
					return
				}
			}
		})
	}
	open := make(chan string, orders*buyers)
	for range buyers {
		selling.Go(func() {
			for i := range orders {
				o := newOrder()
				o.OrderNo, o.GroupID = "", ""
				o, _, err := ordertest.Insert(t.Context(), s, o)
				if err != nil {
					t.Error(err)
					return
				}
				if i%20 == 19 {
					open <- o.OrderNo // for the next buyers to see that the mark waits
					continue
				}
				if _, err := ordertest.Place(t.Context(), s, o.OrderNo, placement()); err != nil {
					t.Error(err)
				}
				if len(open) > 2 {
					if _, err := s.Abandon(t.Context(), []string{<-open}, ahead, false, store.Sweeper); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	selling.Wait()
	close(stop)
	sweeping.Wait()
	if count(t, db, "SELECT COUNT(*) FROM orders JOIN order_form WHERE order_no <= swept_to") == 0 {
		t.Error("the mark has not moved past any order: the test does not show what it means to")
	}
	if n := count(t, db, below); n != 0 {
		t.Errorf("%d orders below the mark are pending", n)
	}
}

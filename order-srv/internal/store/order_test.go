package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
)

func TestStore_Insert(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	o := newOrder()
	got := insert(t, s, o)
	if got.Status != order.Pending || len(got.Items) != 2 || got.ResponseStatus != 0 || time.Since(got.CreatedAt).Abs() > time.Minute {
		t.Errorf("inserted order: %+v", got)
	}
	again := newOrder()
	again.IdempotencyKey = o.IdempotencyKey
	known, inserted, err := ordertest.Insert(t.Context(), s, again)
	if err != nil || inserted || known.OrderNo != o.OrderNo {
		t.Errorf("repeat: order %s, inserted %v, error %v; want %s", known.OrderNo, inserted, err, o.OrderNo)
	}
	again.UserID = "bob"
	if _, inserted, err := ordertest.Insert(t.Context(), s, again); err != nil || !inserted {
		t.Errorf("another user's same key: inserted %v, error %v", inserted, err)
	}
	if _, err := s.Get(t.Context(), "bob", o.OrderNo); !errors.Is(err, order.ErrNotFound) {
		t.Errorf("somebody else's order: error %v", err)
	}
}

func TestStore_Insert_sameKeyAtOnce(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	const clients = 16
	var mu sync.Mutex
	numbers := map[string]int{}
	winners := 0
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			o := newOrder()
			o.IdempotencyKey = "same"
			known, inserted, err := ordertest.Insert(t.Context(), s, o)
			if err != nil {
				t.Error(err)
				return
			}
			if inserted {
				known = o
			}
			mu.Lock()
			defer mu.Unlock()
			if numbers[known.OrderNo]++; inserted {
				winners++
			}
		})
	}
	wg.Wait()
	if winners != 1 || len(numbers) != 1 {
		t.Errorf("%d inserted, orders %v; want one", winners, numbers)
	}
}

func TestStore_Place(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	o := place(t, s, time.Hour)
	if o.Status != order.Placed || o.AmountCents != 250 || o.Strategy != "for-update" || o.ResponseStatus != 201 || !o.SettledAt.IsZero() {
		t.Errorf("placed order: %+v", o)
	}
	if left := o.ExpiresAt.Sub(o.CreatedAt); left != time.Hour {
		t.Errorf("expires %v after it was inserted, want 1h", left)
	}
	if o.ResponseBody != nil {
		t.Errorf("the answer is stored: %s", o.ResponseBody)
	}
	if diff := cmp.Diff(receipt(), o.Items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"timeout"}, events(t, db, o.OrderNo)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	// Placed again, as after a COMMIT whose answer was lost: it has its units, so nothing may be given back.
	again, err := ordertest.Place(t.Context(), s, o.OrderNo, placement())
	if err != nil || again.Status != order.Placed {
		t.Errorf("placed again: %s, error %v", again.Status, err)
	}
	if got := events(t, db, o.OrderNo); len(got) != 1 {
		t.Errorf("events %v after placing again", got)
	}
}

func TestStore_Place_tooLate(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	o := insert(t, s, newOrder())
	if n, err := s.Abandon(t.Context(), []string{o.OrderNo}, 0, false, store.CheckBack); err != nil || n != 1 {
		t.Fatalf("abandoned %d, error %v", n, err)
	}
	_, err := ordertest.Place(t.Context(), s, o.OrderNo, placement())
	wantErr(t, "place an abandoned order", err, order.ErrNotPending)
	if diff := cmp.Diff([]string{"release-late"}, events(t, db, o.OrderNo)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := get(t, s, o.OrderNo); got.Status != order.Abandoned || got.AmountCents != 0 {
		t.Errorf("order: %+v", got)
	}
}

func TestStore_Reject(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	tests := []struct {
		name      string
		rejection store.Rejection
		settled   bool
		events    []string
	}{
		{"nothing taken", store.Rejection{Refusal: soldOut()}, true, nil},
		{"an attempt may have been executed", store.Rejection{Refusal: soldOut(), GiveBack: true}, false, []string{"release-rejected"}},
		{"the key is freed", store.Rejection{Refusal: database.ErrContended, FreeKey: true}, true, nil},
	}
	for _, tt := range tests {
		o := insert(t, s, newOrder())
		rejected, err := ordertest.Reject(t.Context(), s, o.OrderNo, tt.rejection)
		must(t, err)
		got := get(t, s, o.OrderNo)
		if got.Status != order.Rejected || got.Reason != fault.From(tt.rejection.Refusal).Code || got.Reason != rejected.Reason || got.SettledAt.IsZero() == tt.settled {
			t.Errorf("%s: %+v", tt.name, got)
		}
		want, err := orderapi.Refused(t.Context(), o.OrderNo, tt.rejection.Refusal)
		must(t, err)
		if tt.rejection.FreeKey {
			want.Status, want.Body = 0, nil
		}
		if got.ResponseStatus != want.Status || string(got.ResponseBody) != string(want.Body) || string(rejected.ResponseBody) != string(want.Body) {
			t.Errorf("%s: stored answer %d %s", tt.name, got.ResponseStatus, got.ResponseBody)
		}
		if diff := cmp.Diff(tt.events, events(t, db, o.OrderNo)); diff != "" {
			t.Errorf("%s: events (-want +got):\n%s", tt.name, diff)
		}
		next := newOrder()
		next.IdempotencyKey = o.IdempotencyKey
		if _, inserted, err := ordertest.Insert(t.Context(), s, next); err != nil || inserted != tt.rejection.FreeKey {
			t.Errorf("%s: the key is free: %v, error %v", tt.name, inserted, err)
		}
		_, err = ordertest.Reject(t.Context(), s, o.OrderNo, tt.rejection)
		wantErr(t, tt.name+", again", err, order.ErrNotPending)
	}
}

func TestStore_Pay(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	o := place(t, s, time.Hour)
	_, err := s.Pay(t.Context(), "bob", o.OrderNo)
	wantErr(t, "pay somebody else's order", err, order.ErrNotFound)
	for range 2 {
		paid, err := s.Pay(t.Context(), "ann", o.OrderNo)
		if err != nil || paid.Status != order.Paid || paid.PaidAt.IsZero() {
			t.Fatalf("paid: %+v, error %v", paid, err)
		}
	}
	if diff := cmp.Diff([]string{"timeout", "PAID"}, events(t, db, o.OrderNo)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	_, err = s.Cancel(t.Context(), "ann", o.OrderNo)
	wantErr(t, "cancel a paid order", err, order.ErrNotCancellable)

	late := place(t, s, time.Hour)
	age(t, db, late.OrderNo, time.Hour)
	_, err = s.Pay(t.Context(), "ann", late.OrderNo)
	wantErr(t, "pay an order that nobody has marked as expired yet", err, order.ErrNotPayable)
	_, err = s.Pay(t.Context(), "ann", insert(t, s, newOrder()).OrderNo)
	wantErr(t, "pay a pending order", err, order.ErrNotPayable)
	_, err = s.Pay(t.Context(), "ann", "NOPE")
	wantErr(t, "pay no order", err, order.ErrNotFound)
}

func TestStore_Cancel(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	o := place(t, s, time.Hour)
	for range 2 {
		cancelled, err := s.Cancel(t.Context(), "ann", o.OrderNo)
		if err != nil || cancelled.Status != order.Cancelled {
			t.Fatalf("cancelled: %+v, error %v", cancelled, err)
		}
	}
	if diff := cmp.Diff([]string{"timeout", "CANCELLED"}, events(t, db, o.OrderNo)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	_, err := s.Pay(t.Context(), "ann", o.OrderNo)
	wantErr(t, "pay a cancelled order", err, order.ErrNotPayable)
}

func TestStore_Expire(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	o := place(t, s, time.Hour)
	for _, step := range []struct {
		age, grace time.Duration
		want       store.Expiry
	}{{0, 0, store.Early}, {time.Hour, time.Hour, store.Early}, {0, 0, store.Expired}, {0, 0, store.Ended}} {
		age(t, db, o.OrderNo, step.age)
		if got, err := ordertest.Expire(t.Context(), s, o.OrderNo, step.grace, store.NoHealer); err != nil || got != step.want {
			t.Fatalf("%+v: outcome %v, error %v", step, got, err)
		}
	}
	if diff := cmp.Diff([]string{"timeout", "EXPIRED"}, events(t, db, o.OrderNo)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got, err := ordertest.Expire(t.Context(), s, "NOPE", 0, store.NoHealer); err != nil || got != store.Ended {
		t.Errorf("no order: outcome %v, error %v", got, err)
	}
}

// TestStore_Pay_racesExpire pays and expires 200 orders at the moment when their payment window ends. Each ends in one
// of the two, with one event, and both sides learn the truth.
func TestStore_Pay_racesExpire(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	const orders, window = 200, 100 * time.Millisecond
	var took atomic.Int64 // how long a payment takes; on a busy machine longer
	took.Store(int64(10 * time.Millisecond))
	var mu sync.Mutex
	paid := 0
	slots := make(chan struct{}, 20)
	var wg sync.WaitGroup
	for range orders {
		slots <- struct{}{}
		o := place(t, s, window)
		wg.Go(func() {
			defer func() { <-slots }()
			var pair sync.WaitGroup
			var payErr error
			expired := false
			early := time.Duration(took.Load())
			pair.Go(func() {
				<-time.After(time.Until(o.ExpiresAt) - rand.N(2*early)) // the moment is the subject
				begin := time.Now()
				_, payErr = s.Pay(t.Context(), "ann", o.OrderNo)
				took.Store(int64(time.Since(begin)))
			})
			pair.Go(func() {
				<-time.After(time.Until(o.ExpiresAt) - early)
				for got := store.Early; got == store.Early; {
					var err error
					if got, err = ordertest.Expire(t.Context(), s, o.OrderNo, 0, store.NoHealer); err != nil {
						t.Error(err)
						return
					}
					expired = got == store.Expired
				}
			})
			pair.Wait()
			got := get(t, s, o.OrderNo)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case got.Status == order.Paid && payErr == nil && !expired:
				paid++
			case got.Status == order.Expired && errors.Is(payErr, order.ErrNotPayable) && expired:
			default:
				t.Errorf("order is %s, payment said %v, expired %v", got.Status, payErr, expired)
			}
			if ids := events(t, db, o.OrderNo); len(ids) != 2 || ids[1] != string(got.Status) {
				t.Errorf("order is %s, events %v", got.Status, ids)
			}
		})
	}
	wg.Wait()
	if paid == 0 || paid == orders {
		t.Errorf("%d of %d paid: there was no race", paid, orders)
	}
	t.Logf("%d of %d paid", paid, orders)
}

func TestStore_List(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	var want []string
	for range 7 {
		want = append([]string{insert(t, s, newOrder()).OrderNo}, want...)
	}
	other := newOrder()
	other.UserID = "bob"
	if _, _, err := ordertest.Insert(t.Context(), s, other); err != nil {
		t.Fatal(err)
	}
	var got []string
	for before := ""; ; {
		page, err := s.List(t.Context(), "ann", before, 3)
		must(t, err)
		for _, o := range page {
			got = append(got, o.OrderNo)
		}
		if len(page) < 3 {
			break
		}
		before = page[2].OrderNo
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("newest first (-want +got):\n%s", diff)
	}
	all, err := s.After(t.Context(), want[6], 100)
	if err != nil || len(all) != 7 { // six of ann's, one of bob's
		t.Errorf("after the oldest: %d orders, error %v", len(all), err)
	}
}

// TestStore_machine takes random steps on one order and compares the row with the machine after each. The seed is
// logged.
func TestStore_machine(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 12 {
		o := insert(t, s, newOrder())
		no := o.OrderNo
		steps := []struct {
			to  order.Status
			run func() error
		}{
			{order.Placed, func() error { _, err := ordertest.Place(t.Context(), s, no, placement()); return err }},
			{order.Rejected, func() error {
				_, err := ordertest.Reject(t.Context(), s, no, store.Rejection{Refusal: soldOut(), GiveBack: true})
				return err
			}},
			{order.Abandoned, func() error { _, err := s.Abandon(t.Context(), []string{no}, 0, true, store.Sweeper); return err }},
			{order.Paid, func() error { _, err := s.Pay(t.Context(), "ann", no); return err }},
			{order.Cancelled, func() error { _, err := s.Cancel(t.Context(), "ann", no); return err }},
			{order.Expired, func() error { _, err := ordertest.Expire(t.Context(), s, no, -2*time.Hour, store.NoHealer); return err }},
			{order.RefundDue, func() error { _, err := s.RefundDue(t.Context(), no, "closed"); return err }},
		}
		at := order.Pending
		path := string(at)
		for range 8 {
			step := steps[random.IntN(len(steps))]
			err := step.run()
			if at.CanBecome(step.to) {
				if at = step.to; err != nil {
					t.Fatalf("%s to %s: %v", path, step.to, err)
				}
			}
			path += fmt.Sprintf(" (%s) %s", step.to, at)
			if got := get(t, s, no).Status; got != at {
				t.Fatalf("%s: the row is %s", path, got)
			}
		}
		if at == order.Paid || at == order.Placed { // its units must not be released
			for _, e := range events(t, db, no) {
				if e != "timeout" && e != string(order.Paid) {
					t.Errorf("%s: event %s", path, e)
				}
			}
		}
	}
}

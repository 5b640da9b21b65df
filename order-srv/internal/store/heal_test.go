package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
)

func TestStore_Abandon_onlyOld(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	young, old, placed := insert(t, s, newOrder()), insert(t, s, newOrder()), place(t, s, time.Hour)
	age(t, db, old.OrderNo, time.Minute)
	age(t, db, placed.OrderNo, time.Minute)
	n, err := s.Abandon(t.Context(), []string{young.OrderNo, old.OrderNo, placed.OrderNo, "NOPE"}, 30*time.Second, true, store.Sweeper)
	if err != nil || n != 1 {
		t.Errorf("abandoned %d, error %v; want 1", n, err)
	}
	want := map[string]order.Status{young.OrderNo: order.Pending, old.OrderNo: order.Abandoned, placed.OrderNo: order.Placed}
	got, err := s.Statuses(t.Context(), []string{young.OrderNo, old.OrderNo, placed.OrderNo, "NOPE"})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("statuses, error %v (-want +got):\n%s", err, diff)
	}
	if diff := cmp.Diff([]string{"release-abandoned"}, events(t, db, old.OrderNo)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestStore_Unsettled(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	insert(t, s, newOrder())
	place(t, s, time.Hour)
	fresh, old := place(t, s, time.Hour), place(t, s, time.Hour)
	for _, o := range []order.Order{fresh, old} {
		if _, err := s.Cancel(t.Context(), "ann", o.OrderNo); err != nil {
			t.Fatal(err)
		}
	}
	age(t, db, old.OrderNo, time.Minute)
	page, err := s.Unsettled(t.Context(), 30*time.Second, store.Place{}, 10)
	if got := page.Orders; err != nil || len(got) != 1 || got[0].OrderNo != old.OrderNo || got[0].Status != order.Cancelled || got[0].Age < time.Minute {
		t.Errorf("unsettled: %+v, error %v; want %s", got, err, old.OrderNo)
	}
	settle(t, s, order.Paid, 0, old.OrderNo, fresh.OrderNo)
	if !get(t, s, old.OrderNo).SettledAt.IsZero() {
		t.Error("settled as PAID, though it is CANCELLED")
	}
	settle(t, s, order.Cancelled, 2, old.OrderNo, fresh.OrderNo)
	settle(t, s, order.Cancelled, 0, old.OrderNo, fresh.OrderNo) // another replica was first
	if got, err := s.Unsettled(t.Context(), 0, store.Place{}, 10); err != nil || len(got.Orders) != 0 {
		t.Errorf("unsettled after settling: %+v, error %v", got, err)
	}
}

func settle(t *testing.T, s *store.Store, status order.Status, want int64, orderNos ...string) {
	t.Helper()
	if n, err := s.Settle(t.Context(), status, orderNos); err != nil || n != want {
		t.Errorf("settled %d as %s, error %v; want %d", n, status, err, want)
	}
}

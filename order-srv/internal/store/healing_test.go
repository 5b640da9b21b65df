package store_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
)

// TestStore_Healings has every healer do its work, and regular work done beside it, which must not be recorded.
func TestStore_Healings(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	pending, swept, young := insert(t, s, newOrder()), insert(t, s, newOrder()), insert(t, s, newOrder())
	age(t, db, pending.OrderNo, time.Minute)
	age(t, db, swept.OrderNo, time.Minute)
	abandon := func(by store.Healer, orderNos ...string) {
		if _, err := s.Abandon(t.Context(), orderNos, 30*time.Second, false, by); err != nil {
			t.Fatal(err)
		}
	}
	abandon(store.CheckBack, pending.OrderNo, young.OrderNo)
	abandon(store.Sweeper, swept.OrderNo, pending.OrderNo) // the check-back was first

	onTime, overdue := place(t, s, time.Microsecond), place(t, s, time.Microsecond)
	for no, by := range map[string]store.Healer{onTime.OrderNo: store.NoHealer, overdue.OrderNo: store.Sweeper} {
		if got, err := ordertest.Expire(t.Context(), s, no, 0, by); err != nil || got != store.Expired {
			t.Fatalf("expire: %v, error %v", got, err)
		}
	}
	agreed, told, paid, refund := place(t, s, time.Hour), place(t, s, time.Hour), place(t, s, time.Hour), place(t, s, time.Hour)
	must(t, second(s.Settle(t.Context(), order.Placed, []string{agreed.OrderNo})))
	must(t, second(s.MarkReconciled(t.Context(), order.Cancelled, told.OrderNo)))
	must(t, second(s.MarkReconciled(t.Context(), order.Paid, paid.OrderNo)))
	if _, err := s.Pay(t.Context(), "ann", refund.OrderNo); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds it done
		if _, err := s.RefundDue(t.Context(), refund.OrderNo, "closed"); err != nil {
			t.Fatal(err)
		}
		must(t, s.RolledBack(t.Context(), []string{agreed.OrderNo}))
	}
	settled := place(t, s, time.Hour)
	if _, err := s.Pay(t.Context(), "ann", settled.OrderNo); err != nil {
		t.Fatal(err)
	}
	must(t, second(s.Settle(t.Context(), order.Paid, []string{settled.OrderNo})))
	if won, err := s.RefundDue(t.Context(), settled.OrderNo, "closed"); err != nil || won {
		t.Errorf("an order that inventory has confirmed becomes REFUND_DUE: %v, error %v", won, err)
	}

	want := []store.Healing{
		{OrderNo: pending.OrderNo, Healer: store.CheckBack, Action: "abandoned"},
		{OrderNo: swept.OrderNo, Healer: store.Sweeper, Action: "abandoned"},
		{OrderNo: overdue.OrderNo, Healer: store.Sweeper, Action: "expired"},
		{OrderNo: told.OrderNo, Healer: store.Reconciler, Action: "told inventory to release"},
		{OrderNo: paid.OrderNo, Healer: store.Reconciler, Action: "told inventory to confirm"},
		{OrderNo: refund.OrderNo, Healer: store.Reconciler, Action: "found no stock for"},
		{OrderNo: agreed.OrderNo, Healer: store.CheckBack, Action: "rolled back the message of"},
	}
	if diff := gocmp.Diff(sorted(want), sorted(healings(t, s, 100))); diff != "" {
		t.Errorf("healings (-want +got):\n%s", diff)
	}
	if got := healings(t, s, 1); len(got) != 1 || got[0].OrderNo != agreed.OrderNo {
		t.Errorf("the newest is %+v, want %s's", got, agreed.OrderNo)
	}
}

// TestStore_Claim_deadRelay: a lease that ran out is a relay that died; one that was given up is not.
func TestStore_Claim_deadRelay(t *testing.T) {
	t.Parallel()
	s, db := newStore(t)
	o := place(t, s, time.Hour)
	claim := func(owner string, lease time.Duration) int {
		t.Helper()
		shard, ok, err := s.Outbox().Claim(t.Context(), owner, lease)
		if err != nil || !ok {
			t.Fatalf("%s gets no shard: error %v", owner, err)
		}
		return shard
	}
	must(t, s.Outbox().GiveUp(t.Context(), "leaves", claim("leaves", time.Minute), 0))
	claim("dies", time.Minute)
	if got := healings(t, s, 100); len(got) != 0 {
		t.Errorf("no relay died, and there is %+v", got)
	}
	must(t, db.Exec("UPDATE outbox_shards SET lease_until = UTC_TIMESTAMP(6) WHERE owner = 'dies'").Error)
	claim("takes over", time.Minute)
	want := []store.Healing{{OrderNo: o.OrderNo, Healer: store.Relay, Action: "sent the messages of"}}
	if diff := gocmp.Diff(want, healings(t, s, 100)); diff != "" {
		t.Errorf("healings (-want +got):\n%s", diff)
	}
}

// healings returns them without their time, which is checked to be a moment ago.
func healings(t *testing.T, s *store.Store, limit int) []store.Healing {
	t.Helper()
	found, err := s.Healings(t.Context(), limit)
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		if age := time.Since(found[i].HealedAt); age < -time.Minute || age > 10*time.Minute {
			t.Errorf("%s was healed %v ago", found[i].OrderNo, age)
		}
		found[i].HealedAt = time.Time{}
	}
	return found
}

func sorted(h []store.Healing) []store.Healing {
	slices.SortFunc(h, func(a, b store.Healing) int { return cmp.Compare(a.OrderNo, b.OrderNo) })
	return h
}

func second[T any](_ T, err error) error { return err }

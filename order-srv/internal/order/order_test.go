package order_test

import (
	"testing"

	"holdfast/order-srv/internal/order"
)

// steps is the machine as the design draws it, written down a second time.
var steps = map[order.Status][]order.Status{
	order.Pending: {order.Placed, order.Rejected, order.Abandoned},
	order.Placed:  {order.Paid, order.Cancelled, order.Expired},
	order.Paid:    {order.RefundDue},
}

func TestStatus_CanBecome(t *testing.T) {
	t.Parallel()
	for _, from := range order.Statuses() {
		for _, to := range order.Statuses() {
			want := false
			for _, s := range steps[from] {
				want = want || s == to
			}
			if got := from.CanBecome(to); got != want {
				t.Errorf("%s.CanBecome(%s) = %v, want %v", from, to, got, want)
			}
		}
	}
}

func TestStatus_HoldsNothing(t *testing.T) {
	t.Parallel()
	for _, s := range order.Statuses() {
		holds := s == order.Pending || s == order.Placed || s == order.Paid // or may hold
		if s.HoldsNothing() == holds {
			t.Errorf("%s.HoldsNothing() = %v", s, s.HoldsNothing())
		}
	}
}

// final reports whether inventory has to settle the order: confirm it when PAID, else hold nothing.
func final(s order.Status) bool { return s == order.Paid || s.HoldsNothing() }

// FuzzStatus walks the machine along any path that the input spells.
func FuzzStatus(f *testing.F) {
	f.Add([]byte{1, 4, 7})
	f.Add([]byte{3, 1, 0})
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, path []byte) {
		all := order.Statuses()
		at, moves := order.Pending, 0
		for _, b := range path {
			next := all[int(b)%len(all)]
			if !at.CanBecome(next) {
				continue
			}
			if at.HoldsNothing() {
				t.Fatalf("%s holds nothing and became %s", at, next)
			}
			if final(at) && !final(next) {
				t.Fatalf("%s was final and became %s", at, next)
			}
			at = next
			if moves++; moves > 3 {
				t.Fatalf("%d steps: the machine has a circle", moves)
			}
		}
	})
}

package history_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/history"
	"holdfast/order-srv/check"
)

// TestCheck_rareOutcomes has what a run of the shop rarely shows. An empty want is a correct history.
func TestCheck_rareOutcomes(t *testing.T) {
	t.Parallel()
	late := func(answer history.Answer) *scenario { // paid after its units were released
		s := newScenario("A", 1)
		s.order("o1", 0, 1, history.Yes, 1, "REFUND_DUE", "released")
		if answer != "" {
			s.settle(history.Pay, "o1", 2, 3, answer)
		}
		return s
	}
	for _, tt := range []struct {
		name  string
		build func(s *scenario) *scenario
		want  string
	}{
		{"paid too late", func(*scenario) *scenario { return late(history.Yes) }, ""},
		{"perhaps paid too late", func(*scenario) *scenario { return late(history.Unknown) }, ""},
		{"a refund that no client paid for", func(*scenario) *scenario { return late("") }, "6 o1"},
		{"a refund after a refused payment", func(*scenario) *scenario { return late(history.No) }, "6 o1"},
		{"a payment of an order that does not exist", func(s *scenario) *scenario {
			s.settle(history.Pay, "gone", 2, 3, history.Yes)
			return s
		}, "6 gone"},
		{"a rejected order with a freed key", func(s *scenario) *scenario {
			s.after.Orders = append(s.after.Orders, check.Order{User: "u", OrderNo: "x", Status: "REJECTED"})
			return s
		}, ""},
		{"a placed order without a key", func(s *scenario) *scenario {
			s.after.Orders = append(s.after.Orders, check.Order{User: "u", OrderNo: "x", Status: "PLACED"})
			return s
		}, "6 x"},
		{"accepted, and the answer names no order", func(s *scenario) *scenario {
			s.order("o1", 0, 1, history.Later, 1, "", "").OrderNo = ""
			return s
		}, "6 u/o1"},
		{"two SKUs, one that never came in", func(s *scenario) *scenario {
			c := s.order("o1", 0, 1, history.No, 1, "REJECTED", "")
			c.Lines, c.Short = map[string]int64{"A": 1, "never": 1}, nil
			return s
		}, ""},
		{"two orders of the only unit of each SKU", func(s *scenario) *scenario {
			s.after.SKUs = append(s.after.SKUs, check.SKU{SKU: "B", Inbound: 1})
			for _, key := range []string{"o1", "o2"} { // one unit of each SKU, and two orders of both
				c := s.order(key, 0, 1, history.Yes, 1, "PLACED", "reserved")
				c.Lines["B"] = 1
				s.after.Reservations[len(s.after.Reservations)-1].Lines["B"] = 1
			}
			return s
		}, "3 A,3 B"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := tt.build(newScenario("A", 1)).check()
			if got := found(f); got != tt.want {
				t.Errorf("found %q, want %q\n%v", got, tt.want, f.Violations)
			}
		})
	}
}

// TestCheck_repeatedRefusal: a refusal that the shop has stored was true during the first call that received it. The
// calls of a client are recorded in any order, and a wrong refusal is one violation however often it was repeated.
func TestCheck_repeatedRefusal(t *testing.T) {
	t.Parallel()
	for _, order := range [][]float64{{-4, 2, 8}, {8, 2, -4}, {2, -4, 8}} {
		s := newScenario("A", 1)
		s.placed("o1", 0, 1)
		for i, start := range order { // the first of the calls ended before the unit was taken
			s.order("o2", start, start+1, history.No, 1, "REJECTED", "")
			if i > 0 {
				s.after.Orders = s.after.Orders[:len(s.after.Orders)-1]
			}
		}
		if got := found(s.check()); got != "4 u/o2" {
			t.Errorf("calls at %v: found %q, want one violation of the refusal", order, got)
		}
	}
}

// TestHistory_concurrent: clients record their calls at the same time, and none is lost.
func TestHistory_concurrent(t *testing.T) {
	t.Parallel()
	var h history.History
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for n := range 50 {
				key := fmt.Sprintf("%d-%d", i, n)
				h.Add(history.Call{Kind: history.Place, User: "u", Key: key, Answer: history.Unknown, Start: at(0), End: at(1)})
				h.AtRest(at(2))
				if f := h.Check(history.After{}); len(f.Violations) != 0 {
					t.Errorf("calls without an answer are wrong: %v", f.Violations)
				}
			}
		})
	}
	clients.Wait()
	if f := h.Check(history.After{}); f.Calls != 400 {
		t.Errorf("%d calls were recorded, want 400", f.Calls)
	}
}

// TestCall_Answered_payment: the answer to a payment does not change which order was paid, unless it names one, and a
// missing answer leaves nothing of an earlier one.
func TestCall_Answered_payment(t *testing.T) {
	t.Parallel()
	c := history.Call{Kind: history.Pay, OrderNo: "7"}
	for _, tt := range []struct {
		status int
		body   string
		err    error
		want   history.Answer
	}{
		{200, `{}`, nil, history.Yes},
		{200, `{"order_no":"7"}`, nil, history.Yes},
		{404, `{"code":"order_not_found","ambiguous":false}`, nil, history.No},
		{200, `{"order_no":"8"}`, errors.New("connection reset"), history.Unknown},
		{200, `{"order_no":8}`, nil, history.Unknown},
		{200, ``, nil, history.Unknown},
	} {
		got := c
		got.Answered(tt.status, []byte(tt.body), tt.err)
		want := history.Call{Kind: history.Pay, OrderNo: "7", Answer: tt.want}
		if tt.want == history.No {
			want.Code = "order_not_found"
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d %s, error %v (-want +got):\n%s", tt.status, tt.body, tt.err, diff)
		}
	}
}

// FuzzCall_Answered: no body makes a refusal of a success, or the other way round, and only a body that says that
// nothing was executed makes a definite refusal.
func FuzzCall_Answered(f *testing.F) {
	f.Add(201, []byte(`{"order_no":"7"}`))
	f.Add(409, []byte(`{"code":"out_of_stock","ambiguous":false,"details":{"short":[{"sku":"A"}]}}`))
	f.Add(503, []byte(`{"code":"timeout","ambiguous":true}`))
	f.Add(502, []byte(`null`))
	f.Add(202, []byte(`[{}]`))
	f.Add(500, []byte(`{"ambiguous":null,"details":null}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		var c history.Call
		c.Answered(status, body, nil)
		switch refused := status >= 400; {
		case c.Answer == history.Unknown:
			if c.OrderNo+c.Code != "" || c.Short != nil {
				t.Errorf("%d %q: unknown, and yet %+v", status, body, c)
			}
		case (c.Answer == history.No) != refused:
			t.Errorf("%d %q is the answer %s", status, body, c.Answer)
		case refused && !bytes.Contains(body, []byte("false")):
			t.Errorf("%d %q does not say that nothing was executed, and is the answer %s", status, body, c.Answer)
		case !refused && (c.Code != "" || c.Short != nil):
			t.Errorf("%d %q: a success has a refusal's code: %+v", status, body, c)
		}
	})
}

package history_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"holdfast/internal/lab/history"
	"holdfast/order-srv/check"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// at returns a time of the tests' clock, in seconds after noon.
func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

// scenario is a history with its ledgers.
type scenario struct {
	calls  []history.Call
	atRest []time.Time
	after  history.After
}

func newScenario(sku string, units int64) *scenario {
	return &scenario{after: history.After{SKUs: []check.SKU{{SKU: sku, Inbound: units}}}}
}

// order adds a Place call and its outcome; status and reservation may be empty. The order number is the key.
func (s *scenario) order(key string, from, to float64, answer history.Answer, n int64, status, reservation string) *history.Call {
	lines := map[string]int64{"A": n}
	c := history.Call{Kind: history.Place, User: "u", Key: key, Lines: lines, Answer: answer, Start: at(from), End: at(to)}
	switch answer {
	case history.Yes, history.Later:
		c.OrderNo = key
	case history.No:
		c.Code, c.Short = "out_of_stock", []string{"A"}
		if status != "" {
			c.OrderNo = key
		}
	}
	s.calls = append(s.calls, c)
	if status != "" {
		s.after.Orders = append(s.after.Orders, check.Order{User: "u", Key: key, OrderNo: key, Status: status, Lines: lines})
	}
	if reservation != "" {
		s.after.Reservations = append(s.after.Reservations, check.Reservation{OrderNo: key, Status: reservation, Lines: maps.Clone(lines)})
	}
	return &s.calls[len(s.calls)-1]
}

func (s *scenario) placed(key string, from, to float64) {
	s.order(key, from, to, history.Yes, 1, "PLACED", "reserved")
}

func (s *scenario) refused(key string, from, to float64) {
	s.order(key, from, to, history.No, 1, "REJECTED", "")
}

// settle adds a payment or a cancellation.
func (s *scenario) settle(kind history.Kind, no string, from, to float64, answer history.Answer) {
	s.calls = append(s.calls, history.Call{Kind: kind, User: "u", OrderNo: no, Answer: answer, Start: at(from), End: at(to)})
}

func (s *scenario) check() history.Findings {
	var h history.History
	for _, c := range s.calls {
		h.Add(c)
	}
	for _, t := range s.atRest {
		h.AtRest(t)
	}
	return h.Check(s.after)
}

// found returns "invariant subject" for each violation, and "?" for each undecided SKU.
func found(f history.Findings) string {
	var names []string
	for _, v := range f.Violations {
		names = append(names, fmt.Sprintf("%d %s", v.Invariant, v.Subject))
	}
	for range f.Undecided {
		names = append(names, "?")
	}
	return strings.Join(names, ",")
}

// clean returns a correct history of a shop with three units, with every kind of outcome.
func clean() *scenario {
	s := newScenario("A", 3)
	s.placed("o1", 0, 1)
	s.order("o2", 0, 1, history.Yes, 1, "PAID", "confirmed")
	s.settle(history.Pay, "o2", 2, 3, history.Yes)
	s.order("o3", 0, 1, history.Yes, 1, "CANCELLED", "released")
	s.refused("o4", 2, 3) // all three units are taken
	s.settle(history.Cancel, "o3", 4, 5, history.Yes)
	s.refused("o5", 6, 7) // the unit is being returned
	s.atRest = append(s.atRest, at(8))
	s.order("o6", 9, 10, history.Yes, 1, "EXPIRED", "released")
	s.order("o7", 11, 12, history.Unknown, 1, "ABANDONED", "void")
	s.order("o8", 11, 12, history.Later, 1, "REJECTED", "")
	s.order("o9", 11, 12, history.Unknown, 1, "", "")
	return s
}

func TestCheck_clean(t *testing.T) {
	t.Parallel()
	f := clean().check()
	if got := found(f); got != "" {
		t.Errorf("a clean history has %s\n%v", got, f.Violations)
	}
	if f.Calls != 11 || f.Searched != 1 {
		t.Errorf("checked %d calls, searched %d SKUs; want 11 and 1", f.Calls, f.Searched)
	}
}

// Each case plants one wrong answer in the clean history. The check must report it, and nothing else.
func TestCheck_namesPlantedViolation(t *testing.T) {
	t.Parallel()
	status := func(s *scenario, i int, status string) { s.after.Orders[i].Status = status }
	stock := func(s *scenario, i int, status string) { s.after.Reservations[i].Status = status }
	for _, tt := range []struct {
		name  string
		plant func(s *scenario)
		want  string
	}{
		{"201 without an order", func(s *scenario) { s.calls[0].OrderNo = "gone" }, "6 gone"},
		{"201 without a number", func(s *scenario) { s.calls[0].OrderNo = "" }, "6 u/o1"},
		{"201 for another user's order", func(s *scenario) { s.after.Orders[0].User = "v" }, "6 o1,6 o1"},
		{"201 for other lines", func(s *scenario) { s.after.Orders[0].Lines = map[string]int64{"A": 2} }, "6 o1"},
		{"201 that was rejected", func(s *scenario) { status(s, 0, "REJECTED"); stock(s, 0, "void") }, "4 u/o4,4 u/o5,6 o1"},
		{"201 that was abandoned", func(s *scenario) { status(s, 0, "ABANDONED"); stock(s, 0, "released") }, "6 o1"},
		{"201 whose stock was given away", func(s *scenario) { stock(s, 0, "released") }, "6 o1"},
		{"201 whose stock was never taken", func(s *scenario) { s.after.Reservations = s.after.Reservations[1:] }, "4 u/o4,4 u/o5,6 o1"},
		{"paid, and its stock is only reserved", func(s *scenario) { stock(s, 1, "reserved") }, "6 o2"},
		{"payment that did not count", func(s *scenario) { status(s, 1, "EXPIRED"); stock(s, 1, "released") }, "6 o2"},
		{"cancellation that did not count", func(s *scenario) { status(s, 2, "EXPIRED") }, "6 o3"},
		{"paid without a request", func(s *scenario) { s.calls[2].Answer = history.No }, "6 o2"},
		{"cancelled without a request", func(s *scenario) { s.calls[5].Answer = history.No }, "6 o3"},
		{"placed without a request", func(s *scenario) { s.calls[7].Key = "other" }, "6 o6,6 o6"},
		{"refused, but placed", func(s *scenario) { status(s, 3, "PLACED") }, "6 o4"},
		{"refused, but held", func(s *scenario) {
			s.after.Reservations = append(s.after.Reservations, check.Reservation{OrderNo: "o4", Status: "reserved", Lines: map[string]int64{"A": 1}})
		}, "6 o4"},
		{"refused for what was not ordered", func(s *scenario) { s.calls[4].Short = []string{"B"} }, "6 u/o4"},
		{"not executed, but placed", func(s *scenario) {
			s.order("o10", 20, 21, history.No, 1, "PLACED", "").Code = "broker_unavailable"
		}, "6 o10"},
		{"202 and never decided", func(s *scenario) { status(s, 7, "PENDING") }, "6 o8"},
		{"202 without an order", func(s *scenario) { s.calls[9].OrderNo = "gone" }, "6 gone"},
		{"one key, two orders", func(s *scenario) {
			s.order("o10", 20, 21, history.Yes, 1, "PLACED", "reserved").Key = "o1"
		}, "6 o10,6 o10,6 u/o1"},
		{"one key, placed and refused", func(s *scenario) {
			s.calls = append(s.calls, history.Call{Kind: history.Place, User: "u", Key: "o1", Lines: s.calls[0].Lines, Answer: history.No, Code: "out_of_stock", Short: []string{"A"}, Start: at(2), End: at(3)})
		}, "6 u/o1"},
		{"one key, placed and refused by another order", func(s *scenario) {
			c := s.order("o10", 0, 5, history.No, 1, "PLACED", "")
			c.Key, s.after.Orders[len(s.after.Orders)-1].Key = "o4", "o4"
		}, "6 o10"},
		{"refused while a unit was free", func(s *scenario) { s.calls[4].Start, s.calls[4].End = at(-2), at(-1) }, "4 u/o4"},
		{"refused after the unit was back", func(s *scenario) { s.calls[6].Start, s.calls[6].End = at(8.2), at(8.4) }, "4 u/o5"},
		{"refused without an order, after the unit was back", func(s *scenario) { s.order("o10", 8.21, 8.3, history.No, 1, "", "") }, "4 u/o10"},
		{"refused, though every line could be served", func(s *scenario) {
			s.after.SKUs = append(s.after.SKUs, check.SKU{SKU: "B", Inbound: 9}, check.SKU{SKU: "C", Inbound: 9})
			c := s.order("o10", 20, 21, history.No, 1, "REJECTED", "")
			c.Lines, c.Short = map[string]int64{"B": 1, "C": 1}, nil
		}, "4 u/o10"},
		{"one unit held by two clients at once", func(s *scenario) {
			s.order("o10", 2, 3, history.Yes, 1, "CANCELLED", "released")
			s.settle(history.Cancel, "o10", 4, 5, history.Yes)
		}, "3 A"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := clean()
			tt.plant(s)
			f := s.check()
			if got := found(f); got != tt.want {
				t.Errorf("found %q, want %q\n%v", got, tt.want, f.Violations)
			}
		})
	}
}

// Each case is unusual but correct.
func TestCheck_acceptsWhatMayBe(t *testing.T) {
	t.Parallel()
	sold := func() *scenario { // one unit, sold and returned: requested at second 2
		s := newScenario("A", 1)
		s.order("o1", 0, 1, history.Yes, 1, "CANCELLED", "released")
		s.settle(history.Cancel, "o1", 2, 3, history.Yes)
		return s
	}
	for _, tt := range []struct {
		name  string
		build func() *scenario
	}{
		{"refused because of a later call", func() *scenario {
			s := newScenario("A", 1)
			s.refused("o1", 0, 2)
			s.placed("o2", 1, 3)
			return s
		}},
		{"refused while the shop came to rest", func() *scenario {
			s := sold()
			s.atRest = append(s.atRest, at(5))
			s.refused("o2", 4, 6)
			return s
		}},
		{"at rest before the cancellation only", func() *scenario {
			s := sold()
			s.atRest = append(s.atRest, at(1.5))
			s.refused("o2", 4, 6)
			return s
		}},
		{"cancelled, perhaps after the shop was at rest", func() *scenario {
			s := sold()
			s.calls[1].Answer = history.Unknown
			s.atRest = append(s.atRest, at(4))
			s.refused("o2", 5, 6)
			return s
		}},
		{"placed, perhaps after the shop was at rest", func() *scenario {
			s := newScenario("A", 1)
			s.order("o1", 0, 1, history.Unknown, 1, "ABANDONED", "released")
			s.atRest = append(s.atRest, at(4))
			s.refused("o2", 5, 6)
			return s
		}},
		{"taken during a first call, answered to the second", func() *scenario {
			s := newScenario("A", 1)
			s.placed("o1", 5, 6)
			s.order("o1", 0, 4, history.Unknown, 1, "", "")
			s.refused("o2", 1, 2)
			return s
		}},
		{"refused during a first call, answered to the second", func() *scenario {
			s := sold()
			s.atRest = append(s.atRest, at(9))
			s.order("o2", 10, 11, history.No, 1, "REJECTED", "")
			s.order("o2", 1, 2, history.Unknown, 1, "", "")
			return s
		}},
		{"the key was freed", func() *scenario {
			s := newScenario("A", 1)
			s.order("o1", 0, 1, history.No, 1, "REJECTED", "").Code = "broker_unavailable"
			s.after.Orders[0].Key = ""
			return s
		}},
		{"refused without an order, the unit being back for less than 200 ms", func() *scenario {
			s := sold()
			s.atRest = append(s.atRest, at(4))
			s.order("o2", 4.19, 4.3, history.No, 1, "", "")
			return s
		}},
		{"refused without an order, placed when the unit was back", func() *scenario {
			s := sold()
			s.atRest = append(s.atRest, at(4))
			s.order("o2", 1, 1.5, history.No, 1, "", "")
			s.placed("o2", 5, 6)
			return s
		}},
		{"pending without items, then abandoned", func() *scenario {
			s := newScenario("A", 1)
			s.order("o1", 0, 1, history.Later, 1, "ABANDONED", "released")
			s.after.Orders[0].Lines = nil
			s.placed("o2", 5, 6)
			return s
		}},
		{"abandoned, then placed with the freed key", func() *scenario {
			s := newScenario("A", 1)
			s.order("o1", 0, 1, history.Later, 1, "ABANDONED", "released")
			s.placed("o2", 5, 6)
			s.calls[1].Key, s.after.Orders[1].Key = "o1", "o1"
			return s
		}},
		{"refused twice with a freed key, then placed", func() *scenario {
			s := newScenario("A", 1)
			s.order("o1", 0, 1, history.Unknown, 1, "ABANDONED", "released")
			s.order("o2", 2, 3, history.No, 1, "REJECTED", "")
			s.order("o3", 4, 5, history.No, 1, "REJECTED", "")
			s.placed("o4", 6, 7)
			for i := range s.calls {
				s.calls[i].Key, s.after.Orders[i].Key = "o1", "o1"
			}
			return s
		}},
		{"the key belongs to another payload", func() *scenario {
			s := newScenario("A", 1)
			c := s.order("o1", 0, 1, history.No, 5, "", "")
			c.Code, c.Short = "idempotency_mismatch", nil
			s.placed("o1", 0, 1)
			return s
		}},
		{"some line of two was short", func() *scenario {
			s := newScenario("A", 1)
			s.after.SKUs = append(s.after.SKUs, check.SKU{SKU: "B", Inbound: 9})
			s.placed("o1", 0, 1)
			c := s.order("o2", 2, 3, history.No, 1, "REJECTED", "")
			c.Lines, c.Short = map[string]int64{"A": 1, "B": 1}, nil
			s.after.Orders[1].Lines = c.Lines
			return s
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := tt.build().check()
			if got := found(f); got != "" {
				t.Errorf("found %q\n%v", got, f.Violations)
			}
		})
	}
}

func TestCall_Answered(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status int
		body   string
		err    error
		want   string
	}{
		{"placed", 201, `{"order_no":"7"}`, nil, "yes 7  []"},
		{"paid", 200, `{"order_no":"7"}`, nil, "yes 7  []"},
		{"accepted", 202, `{"order_no":"7"}`, nil, "later 7  []"},
		{"sold out", 409, `{"code":"out_of_stock","ambiguous":false,"details":{"short":[{"sku":"A"}]}}`, nil, "no  out_of_stock [A]"},
		{"sold out, stored", 409, `{"code":"out_of_stock","ambiguous":false,"details":{"order_no":"7","short":[{"sku":"A"}]}}`, nil, "no 7 out_of_stock [A]"},
		{"not executed", 503, `{"code":"broker_unavailable","ambiguous":false}`, nil, "no  broker_unavailable []"},
		{"perhaps executed", 504, `{"code":"timeout","ambiguous":true}`, nil, "unknown   []"},
		{"a problem from another server", 502, `{}`, nil, "unknown   []"},
		{"no JSON", 502, `<html>`, nil, "unknown   []"},
		{"no answer", 0, ``, errors.New("connection reset"), "unknown   []"},
	} {
		var c history.Call
		c.Answered(tt.status, []byte(tt.body), tt.err)
		if got := fmt.Sprintf("%s %s %s %v", c.Answer, c.OrderNo, c.Code, c.Short); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

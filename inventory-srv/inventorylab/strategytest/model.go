package strategytest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/inventory-srv/internal/store"
)

// modelOrder is what the model knows of an order number.
type modelOrder struct {
	status stock.Status // "" is unknown
	lines  []stock.Line
}

// model is the inventory as it should be, in a few lines that are checked by reading. The strategy under test runs
// beside it.
type model struct {
	shop
	ctx       context.Context //nolint:containedctx // one for a sequence, as the actions take none
	run       int             // makes this run's order numbers and SKUs its own
	skus      []string
	available map[string]int64
	orders    map[string]*modelOrder
	delivered map[string]bool
}

// testModel lets rapid invent sequences of operations: whatever comes, answers and counters are the model's.
func testModel(t *testing.T, s shop) {
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &model{shop: s, ctx: replicatest.Soon(t), run: run, available: map[string]int64{}, orders: map[string]*modelOrder{}, delivered: map[string]bool{}}
		for i := range 3 {
			sku := fmt.Sprintf("RUN-%d-%d", run, i)
			m.skus = append(m.skus, sku)
			units := rapid.Int64Range(0, 12).Draw(rt, "units")
			m.Has(t, sku, units)
			m.available[sku] = units
		}
		rt.Repeat(map[string]func(*rapid.T){
			"reserve": m.reserve, "duplicate": m.duplicate, "cancelled reserve": m.cancelled,
			"confirm": m.confirm, "release": m.release, "deliver": m.deliver, "": m.check,
		})
	})
}

func (m *model) at(rt *rapid.T) stock.Reserver {
	return m.of(rapid.IntRange(0, 1).Draw(rt, "instance"))
}

// number draws one of a few order numbers, so that they meet again.
func (m *model) number(rt *rapid.T) (string, *modelOrder) {
	no := fmt.Sprintf("RUN-%d-%d", m.run, rapid.IntRange(0, 7).Draw(rt, "order"))
	if m.orders[no] == nil {
		m.orders[no] = &modelOrder{}
	}
	return no, m.orders[no]
}

func (m *model) lines(rt *rapid.T) []stock.Line {
	skus := rapid.SliceOfNDistinct(rapid.SampledFrom(m.skus), 1, 3, rapid.ID[string]).Draw(rt, "skus")
	lines := make([]stock.Line, len(skus))
	for i, sku := range skus {
		lines[i] = replicatest.Line(sku, rapid.Int64Range(1, 5).Draw(rt, "quantity"))
	}
	return lines
}

// want is the answer that the model gives to a reserve, and what it does.
func (m *model) want(o *modelOrder, lines []stock.Line) error {
	switch {
	case o.status == stock.Released || o.status == stock.Void:
		return stock.ErrClosed
	case o.status != "":
		if (stock.Request{Lines: o.lines}).Hash() != (stock.Request{Lines: lines}).Hash() {
			return stock.ErrMismatch
		}
		return nil
	case slices.ContainsFunc(lines, func(l stock.Line) bool { return l.Quantity > m.available[l.SKU] }):
		return stock.ErrOutOfStock
	}
	for _, l := range lines {
		m.available[l.SKU] -= l.Quantity
	}
	o.status, o.lines = stock.Reserved, lines
	return nil
}

func (m *model) reserve(rt *rapid.T) {
	no, o := m.number(rt)
	m.ask(rt, no, o, m.lines(rt))
}

// duplicate sends a known order again, with its lines the other way round.
func (m *model) duplicate(rt *rapid.T) {
	no, o := m.number(rt)
	if o.lines == nil {
		return // nothing to repeat
	}
	lines := slices.Clone(o.lines)
	slices.Reverse(lines)
	m.ask(rt, no, o, lines)
}

func (m *model) ask(rt *rapid.T, no string, o *modelOrder, lines []stock.Line) {
	_, err := stocktest.Buy(m.ctx, m.at(rt), replicatest.Order(no, m.by, lines...))
	if want := m.want(o, lines); !errors.Is(err, want) {
		rt.Fatalf("reserve %s %v: got %v, want %v", no, lines, err, want)
	}
}

// cancelled has the caller leave at some moment. The model takes over what became of it, if that is one of the two
// things that may have.
func (m *model) cancelled(rt *rapid.T) {
	no, o := m.number(rt)
	if o.status != "" {
		return // its answer would come from the ledger
	}
	lines := m.lines(rt)
	ctx, cancel := context.WithTimeout(m.ctx, time.Duration(rapid.IntRange(0, 6000).Draw(rt, "micros"))*time.Microsecond)
	defer cancel()
	_, err := m.at(rt).Reserve(ctx, replicatest.Order(no, m.by, lines...))
	m.settled(rt)
	states, lookErr := m.One.Store.States(m.ctx, []string{no})
	if lookErr != nil {
		rt.Fatal(lookErr)
	}
	switch {
	case states[no] == stock.Reserved && err == nil:
		if want := m.want(o, lines); want != nil {
			rt.Fatalf("a cancelled reserve of %s %v was granted, want %v", no, lines, want)
		}
	case states[no] != "" || err == nil:
		rt.Fatalf("a cancelled reserve of %s: error %v, status %q", no, err, states[no])
	}
}

func (m *model) confirm(rt *rapid.T) {
	no, o := m.number(rt)
	var want error
	switch o.status {
	case "":
		want = stock.ErrUnknownOrder
	case stock.Reserved, stock.Confirmed:
		o.status = stock.Confirmed
	default:
		want = stock.ErrClosed
	}
	if err := replicatest.Settle(m.ctx, m.at(rt).Confirm, no); !errors.Is(err, want) {
		rt.Fatalf("confirm %s: got %v, want %v", no, err, want)
	}
}

func (m *model) release(rt *rapid.T) {
	no, o := m.number(rt)
	var want error
	switch o.status {
	case "":
		o.status = stock.Void
	case stock.Reserved:
		for _, l := range o.lines {
			m.available[l.SKU] += l.Quantity
		}
		o.status = stock.Released
	case stock.Confirmed:
		want = stock.ErrConfirmed
	}
	if err := replicatest.Settle(m.ctx, m.at(rt).Release, no); !errors.Is(err, want) {
		rt.Fatalf("release %s: got %v, want %v", no, err, want)
	}
}

// deliver brings units in. The second time it is the same delivery again.
func (m *model) deliver(rt *rapid.T) {
	sku := rapid.SampledFrom(m.skus).Draw(rt, "sku")
	reference := fmt.Sprintf("again-%s", sku)
	_, err := m.One.Store.Receive(m.ctx, store.Inbound{SKU: sku, Quantity: 3, Reference: reference, Reason: "test", Actor: "test"})
	if err != nil {
		rt.Fatal(err)
	}
	if !m.delivered[reference] {
		m.delivered[reference] = true
		m.available[sku] += 3
	}
}

// settled waits until MySQL knows all.
func (m *model) settled(rt *rapid.T) {
	if !m.One.InRedis {
		return
	}
	if err := m.One.Redis.Settled(m.ctx); err != nil {
		rt.Fatal(err)
	}
}

// check compares the counters after every step.
func (m *model) check(rt *rapid.T) {
	m.settled(rt)
	if err := m.One.Store.CountUnits(m.ctx, 0); err != nil { // the catalogue has the last count
		rt.Fatal(err)
	}
	for _, sku := range m.skus {
		p, err := m.One.Store.Product(m.ctx, sku)
		if err != nil || p.Available != m.available[sku] {
			rt.Fatalf("%s: available %d (error %v), want %d", sku, p.Available, err, m.available[sku])
		}
	}
}

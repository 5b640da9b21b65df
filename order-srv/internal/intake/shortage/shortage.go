// Package shortage remembers for which SKUs inventory has just refused an order, and what it said is available. Under a
// rush for a SKU that is sold out most orders can be refused by that alone: without a row, a message and a call.
package shortage

import (
	"container/list"
	"context"
	"sync"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
)

const (
	// MaxAge is how long an availability is used. It is counted from the moment when inventory was called, before
	// inventory looked. Units that come in meanwhile are not seen.
	MaxAge = 200 * time.Millisecond

	// ProbeInterval is how often, for each SKU, an order that could be refused is passed on to inventory. Its answer
	// renews the availability before it is too old, and shows the units that have come in.
	ProbeInterval = 50 * time.Millisecond

	// MaxSKUs bounds the memory, at some 200 bytes each.
	MaxSKUs = 10_000
)

// Memory is safe for concurrent use. Each replica has its own.
type Memory struct {
	mu    sync.Mutex
	bySKU map[string]*list.Element
	byAge *list.List // of *entry; the one that was changed least recently is in front
}

type entry struct {
	sku       string
	available int64
	called    time.Time // when inventory was called
	probed    time.Time // when an order of more than that was last passed on
}

// New returns an empty memory.
func New() *Memory { return &Memory{bySKU: map[string]*list.Element{}, byAge: list.New()} }

// Refuse returns inventoryapi.ErrOutOfStock with the lines that exceed what is available. It returns nil when none is
// known to exceed it, or when it is time for a probe: the caller must then ask inventory.
func (m *Memory) Refuse(items []order.Item) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var short []inventoryapi.ShortLine
	var exceeded []*entry
	probe := false
	for _, it := range items {
		e := m.get(it.SKU)
		if e == nil || now.Sub(e.called) > MaxAge || it.Quantity <= e.available {
			continue
		}
		short = append(short, inventoryapi.ShortLine{SKU: it.SKU, Requested: it.Quantity, Available: e.available})
		exceeded = append(exceeded, e)
		probe = probe || now.Sub(e.probed) >= ProbeInterval
	}
	switch {
	case len(short) == 0:
		return nil
	case probe:
		for _, e := range exceeded {
			e.probed = now
		}
		return nil
	}
	return inventoryapi.OutOfStock(short)
}

// Learn takes inventory's answer to an order that names no strategy. looked is a time before inventory looked.
func (m *Memory) Learn(answer inventoryapi.ReserveResult, looked time.Time) {
	switch {
	case answer.Problem != nil:
		m.Refused(inventoryapi.ShortLines(answer.Problem.Fault()), looked)
	case answer.Receipt != nil:
		lines := make([]inventoryapi.Line, len(answer.Receipt.Lines))
		for i, l := range answer.Receipt.Lines {
			lines[i] = inventoryapi.Line{SKU: l.SKU, Quantity: l.Quantity}
		}
		m.Served(lines)
	}
}

// Refused takes the short lines of inventory's refusal. called is when inventory was called. SKUs that were created for
// the lab are not remembered: a lesson shows what inventory does with each order.
func (m *Memory) Refused(short []inventoryapi.ShortLine, called time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range short {
		if l.Lab {
			continue
		}
		e := m.get(l.SKU)
		switch {
		case e == nil:
			m.bySKU[l.SKU] = m.byAge.PushBack(&entry{sku: l.SKU, available: l.Available, called: called, probed: called})
		case called.After(e.called):
			e.available, e.called = l.Available, called
			m.byAge.MoveToBack(m.bySKU[l.SKU])
		}
	}
	for m.byAge.Len() > 0 && (m.byAge.Len() > MaxSKUs || time.Since(m.oldest().called) > MaxAge) {
		m.forget(m.oldest())
	}
}

// Served takes the lines of an order that inventory has served. An availability of less than a line is out of date.
func (m *Memory) Served(lines []inventoryapi.Line) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range lines {
		if e := m.get(l.SKU); e != nil && e.available < l.Quantity {
			m.forget(e)
		}
	}
}

// Len returns the number of SKUs that are remembered.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byAge.Len()
}

// get returns the SKU's entry, or nil.
func (m *Memory) get(sku string) *entry {
	element, ok := m.bySKU[sku]
	if !ok {
		return nil
	}
	return element.Value.(*entry) //nolint:forcetypeassert // the list has nothing else
}

func (m *Memory) oldest() *entry {
	return m.byAge.Front().Value.(*entry) //nolint:forcetypeassert // the list has nothing else
}

func (m *Memory) forget(e *entry) {
	m.byAge.Remove(m.bySKU[e.sku])
	delete(m.bySKU, e.sku)
}

// Inventory is what the memory observes of inventory-srv.
type Inventory interface {
	Reserve(ctx context.Context, orders []inventoryapi.ReserveOrder) ([]inventoryapi.ReserveResult, error)
}

// Observe returns an inventory whose answers are remembered, except those to orders that name a strategy.
func (m *Memory) Observe(i Inventory) Inventory { return observed{i, m} }

type observed struct {
	Inventory
	memory *Memory
}

// Reserve implements Inventory.
func (o observed) Reserve(ctx context.Context, orders []inventoryapi.ReserveOrder) ([]inventoryapi.ReserveResult, error) {
	called := time.Now()
	results, err := o.Inventory.Reserve(ctx, orders)
	if err != nil || len(results) != len(orders) {
		return results, err
	}
	for i, r := range results {
		if orders[i].Strategy == "" {
			o.memory.Learn(r, called)
		}
	}
	return results, nil
}

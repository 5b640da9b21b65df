package strategy

import (
	"context"
	"fmt"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// Set is all strategies behind one stock.Reserver: an order is reserved by the strategy it names or by the default one,
// and confirmed and released by the one that reserved it, whatever the configuration has become since.
type Set struct {
	ledger   *store.Ledger
	reserver map[string]stock.Reserver
	def      string
	lab      bool
}

var _ stock.Reserver = (*Set)(nil)

// NewSet makes every strategy of List. An order may name another than def only if lab is true. stock.ErrUnknownStrategy
// when there is no def.
func NewSet(def string, lab bool, d Deps) (*Set, error) {
	s := &Set{ledger: d.Ledger, reserver: map[string]stock.Reserver{}, def: def, lab: lab}
	for _, one := range List() {
		s.reserver[one.Name] = one.New(d)
	}
	if s.reserver[def] == nil {
		return nil, stock.ErrUnknownStrategy.With("strategy", def)
	}
	return s, nil
}

// Default returns the name of the strategy for orders that name none.
func (s *Set) Default() string { return s.def }

// Lab reports whether an order may name its own strategy.
func (s *Set) Lab() bool { return s.lab }

// Reserve implements stock.Reserver. stock.ErrUnknownStrategy also when the order may not choose.
func (s *Set) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	if r.Strategy == "" {
		r.Strategy = s.def
	}
	if r.Strategy != s.def && !s.lab {
		return stock.Receipt{}, stock.ErrUnknownStrategy.WithText("an order may name a strategy only in lab mode")
	}
	chosen := s.reserver[r.Strategy]
	if chosen == nil {
		return stock.Receipt{}, stock.ErrUnknownStrategy.With("allowed", Names())
	}
	return chosen.Reserve(ctx, r)
}

// Confirm implements stock.Reserver.
func (s *Set) Confirm(ctx context.Context, orderNo string) error {
	chosen, err := s.of(ctx, orderNo)
	if err != nil {
		return err
	}
	return chosen.Confirm(ctx, orderNo)
}

// Release implements stock.Reserver.
func (s *Set) Release(ctx context.Context, orderNo string) error {
	chosen, err := s.of(ctx, orderNo)
	if err != nil {
		return err
	}
	return chosen.Release(ctx, orderNo)
}

// of returns the strategy that reserved the order; the default one for an order that is not known, of which there is
// nothing to confirm and only a tombstone to write.
func (s *Set) of(ctx context.Context, orderNo string) (stock.Reserver, error) {
	name, err := s.ledger.StrategyOf(ctx, orderNo)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = s.def
	}
	chosen := s.reserver[name]
	if chosen == nil {
		return nil, fmt.Errorf("order %s was reserved by the strategy %q, which this version does not have", orderNo, name)
	}
	return chosen, nil
}

package strategy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// Set is all strategies behind one stock.Reserver. The strategy that an order names, or the default one, reserves it;
// the strategy that reserved it confirms and releases it, also after a change of the configuration.
type Set struct {
	store    *store.Store
	ledger   *store.Ledger
	all      []Strategy // in reading order
	reserver map[string]stock.Reserver
	def      string
	lab      bool
	horizon  time.Duration
}

var _ stock.Reserver = (*Set)(nil)

// NewSet makes every strategy of List and of extra, or def only. An order may name another than def only if lab is
// true. stock.ErrUnknownStrategy when there is no def; an error for an extra strategy that cannot be added, see With.
func NewSet(def string, lab, only bool, d Deps, extra ...Strategy) (*Set, error) {
	all, err := With(extra)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(NamesOf(all), def) {
		return nil, stock.ErrUnknownStrategy.With("allowed", NamesOf(all))
	}
	s := &Set{
		store: d.Store, ledger: d.Store.Ledger(), all: all, reserver: map[string]stock.Reserver{}, def: def, lab: lab, horizon: d.ReserveHorizon,
	}
	for _, one := range all {
		if one.Name == def || !only {
			s.reserver[one.Name] = one.New(d)
		}
	}
	return s, nil
}

// Strategies returns the strategies from which an order may choose, in reading order.
func (s *Set) Strategies() []Strategy { return s.all }

// Default returns the name of the default strategy.
func (s *Set) Default() string { return s.def }

// Reserver returns the strategy of that name, or nil. Its Confirm and Release are for its own orders.
func (s *Set) Reserver(name string) stock.Reserver { return s.reserver[name] }

// Lab reports whether an order may name its own strategy.
func (s *Set) Lab() bool { return s.lab }

// Reserve implements stock.Reserver. It returns stock.ErrUnknownStrategy also when the order may not choose, and
// stock.ErrClosed for an order that is too old.
func (s *Set) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	chosen, err := s.chosen(&r)
	if err != nil {
		return stock.Receipt{}, err
	}
	return chosen.Reserve(ctx, r)
}

// ReserveAll reserves orders that name the same strategy, which must be one that Gathers, each as Reserve does.
func (s *Set) ReserveAll(ctx context.Context, requests []stock.Request) []stock.Outcome {
	outcomes := make([]stock.Outcome, len(requests))
	var gatherer Gatherer
	var asked []stock.Request
	var of []int // asked's places in requests
	for i, r := range requests {
		chosen, err := s.chosen(&r)
		if err != nil {
			outcomes[i].Err = err
			continue
		}
		gatherer, asked, of = chosen.(Gatherer), append(asked, r), append(of, i)
	}
	if len(asked) > 0 {
		for n, o := range gatherer.ReserveAll(ctx, asked) {
			outcomes[of[n]] = o
		}
	}
	return outcomes
}

// chosen returns the strategy that reserves the order, and notes its name in the order.
func (s *Set) chosen(r *stock.Request) (stock.Reserver, error) {
	if s.pastHorizon(r.OrderNo) {
		return nil, stock.ErrClosed
	}
	if r.Strategy == "" {
		r.Strategy = s.def
	}
	if r.Strategy != s.def && !s.lab {
		return nil, stock.ErrUnknownStrategy.WithText("an order may name a strategy only in lab mode")
	}
	chosen := s.reserver[r.Strategy]
	if chosen == nil {
		return nil, stock.ErrUnknownStrategy.With("allowed", NamesOf(s.all))
	}
	return chosen, nil
}

// Confirm implements stock.Reserver.
func (s *Set) Confirm(ctx context.Context, orderNo string) error {
	return s.end(ctx, orderNo, stock.Reserver.Confirm, s.confirmUnknown)
}

// Release implements stock.Reserver.
func (s *Set) Release(ctx context.Context, orderNo string) error {
	return s.end(ctx, orderNo, stock.Reserver.Release, s.releaseUnknown)
}

// end confirms or releases. A strategy may reserve the order between the choice and the operation. The operation then
// fails with *stock.OtherStrategyError, and end repeats it with that strategy. An order past the horizon that the
// ledger does not have is answered by unknown.
func (s *Set) end(ctx context.Context, orderNo string, op func(stock.Reserver, context.Context, string) error, unknown func(context.Context, string) error) error {
	if s.pastHorizon(orderNo) {
		if _, known, err := s.ledger.Known(ctx, orderNo); err != nil || !known {
			if err == nil {
				err = unknown(ctx, orderNo)
			}
			return err
		}
	}
	chosen, err := s.first(ctx, orderNo)
	if err != nil {
		return err
	}
	err = op(chosen, ctx, orderNo)
	if _, another := errors.AsType[*stock.OtherStrategyError](err); !another {
		return err
	}
	if chosen, err = s.of(ctx, orderNo); err != nil {
		return err
	}
	return op(chosen, ctx, orderNo)
}

// first returns the strategy with which end begins. It reads the header to choose, unless the default is a HeaderReader
// and also ends unknown orders.
func (s *Set) first(ctx context.Context, orderNo string) (stock.Reserver, error) {
	def := s.reserver[s.def]
	if _, ok := def.(HeaderReader); ok {
		if unknown, err := s.unknownOrderReserver(ctx); err != nil || unknown == def {
			return unknown, err
		}
	}
	return s.of(ctx, orderNo)
}

// unknownOrderReserver returns the strategy that ends an order that the ledger does not have.
func (s *Set) unknownOrderReserver(ctx context.Context) (stock.Reserver, error) {
	for name, settler := range offering[Settler](s) {
		if name == s.def || s.lab {
			if ends, err := settler.EndsUnknown(ctx); err != nil || ends {
				return s.reserver[name], err
			}
		}
	}
	return s.reserver[s.def], nil
}

// Batches reports whether the strategy of an order ("" is the default) is a Batcher.
func (s *Set) Batches(strategy string) bool {
	_, ok := s.reserver[cmp.Or(strategy, s.def)].(Batcher)
	return ok
}

// Gathers reports whether the strategy of an order ("" is the default) is a Gatherer.
func (s *Set) Gathers(strategy string) bool {
	_, ok := s.reserver[cmp.Or(strategy, s.def)].(Gatherer)
	return ok
}

// RunInBackground starts the work of all Workers and returns a function that stops it.
func (s *Set) RunInBackground(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, w := range offering[Worker](s) {
		running.Go(func() { w.Run(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// Probers returns the strategies with a readiness check, by their names.
func (s *Set) Probers() iter.Seq2[string, Prober] { return offering[Prober](s) }

// Settled returns when the ledger has all that Settlers had answered before the call.
func (s *Set) Settled(ctx context.Context) error {
	for _, settler := range offering[Settler](s) {
		if err := settler.Settled(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Losses returns what Settlers had answered and the ledger will never have.
func (s *Set) Losses(ctx context.Context) (all []stock.Loss, err error) {
	for _, settler := range offering[Settler](s) {
		losses, err := settler.Losses(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, losses...)
	}
	return all, nil
}

// SetLayout is [store.Store.SetLayout] for all layouts, also those that a SKU enters and leaves with a Mover's help.
func (s *Set) SetLayout(ctx context.Context, sku string, to layout.Shape) (store.Product, error) {
	for name, mover := range offering[Mover](s) {
		if layoutOf(name) == to.Layout {
			if err := mover.Open(ctx); err != nil {
				return store.Product{}, err
			}
		}
	}
	p, err := s.store.SetLayout(ctx, sku, to)
	if !errors.Is(err, store.ErrMoving) {
		return p, err
	}
	for _, mover := range offering[Mover](s) {
		if err := mover.Drain(ctx, sku); err != nil {
			return store.Product{}, err
		}
	}
	return s.store.Product(ctx, sku)
}

// Close waits for the operations that strategies have begun. Later ones fail.
func (s *Set) Close() error {
	var faults []error
	for _, c := range offering[io.Closer](s) {
		faults = append(faults, c.Close())
	}
	return errors.Join(faults...)
}

// offering returns the strategies that have the capability T, by their names, in reading order.
func offering[T any](s *Set) iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		for _, name := range NamesOf(s.all) {
			if c, ok := s.reserver[name].(T); ok && !yield(name, c) {
				return
			}
		}
	}
}

// of returns the strategy that reserved the order, or unknownOrderReserver for an order without a reservation.
func (s *Set) of(ctx context.Context, orderNo string) (stock.Reserver, error) {
	name, err := s.ledger.StrategyOf(ctx, orderNo)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return s.unknownOrderReserver(ctx)
	}
	chosen := s.reserver[name]
	if chosen == nil {
		return nil, fmt.Errorf("order %s was reserved by the strategy %q, which this version does not have", orderNo, name)
	}
	return chosen, nil
}

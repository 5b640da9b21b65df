package strategy

import (
	"context"
	"errors"
	"fmt"
	"io"

	"holdfast/inventory-srv/internal/groupcommit"
	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// Set is all strategies behind one stock.Reserver: an order is reserved by the strategy it names or by the default one,
// and confirmed and released by the one that reserved it, whatever the configuration has become since.
type Set struct {
	ledger   *store.Ledger
	redis    *redisstock.Counters
	reserver map[string]stock.Reserver
	def      string
	lab      bool
}

var _ stock.Reserver = (*Set)(nil)

// NewSet makes every strategy of List, or def only. An order may name another than def only if lab is true.
// stock.ErrUnknownStrategy when there is no def.
func NewSet(def string, lab, only bool, d Deps) (*Set, error) {
	s := &Set{ledger: d.Ledger, redis: d.Redis, reserver: map[string]stock.Reserver{}, def: def, lab: lab}
	for _, one := range List() {
		if one.Name == def || !only {
			s.reserver[one.Name] = one.New(d)
		}
	}
	if s.reserver[def] == nil {
		return nil, stock.ErrUnknownStrategy.With("allowed", Names())
	}
	return s, nil
}

// Default returns the name of the strategy for orders that name none.
func (s *Set) Default() string { return s.def }

// Reserver returns the strategy of that name, or nil. Its Confirm and Release are for its own orders.
func (s *Set) Reserver(name string) stock.Reserver { return s.reserver[name] }

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
	return s.end(ctx, orderNo, stock.Reserver.Confirm)
}

// Release implements stock.Reserver.
func (s *Set) Release(ctx context.Context, orderNo string) error {
	return s.end(ctx, orderNo, stock.Reserver.Release)
}

// end confirms or releases. An order that is ended while it is being reserved may turn out to be another strategy's than it was
// a moment ago, when it was nobody's; that strategy is asked then.
func (s *Set) end(ctx context.Context, orderNo string, op func(stock.Reserver, context.Context, string) error) error {
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

// first returns whom to ask first. GroupCommit as the default strategy is asked without a query for each order before it: it reads
// the headers of a whole flush anyway. Not so where an order that it does not find may be of Redis.
func (s *Set) first(ctx context.Context, orderNo string) (stock.Reserver, error) {
	if def := s.reserver[s.def]; gathers(def) {
		if nobodys, err := s.nobodys(ctx); err != nil || nobodys == def {
			return nobodys, err
		}
	}
	return s.of(ctx, orderNo)
}

// nobodys returns who ends an order that MySQL does not know: it hears of what Redis has reserved a moment later, so where orders may
// be of Redis, they are asked for there.
func (s *Set) nobodys(ctx context.Context) (stock.Reserver, error) {
	if s.redis == nil || s.def != redisLua && !s.lab {
		return s.reserver[s.def], nil
	}
	if inUse, err := s.redis.InUse(ctx); err != nil || !inUse {
		return s.reserver[s.def], err
	}
	return s.reserver[redisLua], nil
}

// Gathers reports whether the strategy of an order ("" is the default) makes one transaction of all orders that come at
// the same time. Such orders need no database connection each, and it is best to bring many of them at once.
func (s *Set) Gathers(strategy string) bool {
	if strategy == "" {
		strategy = s.def
	}
	return strategy == redisLua || gathers(s.reserver[strategy])
}

func gathers(r stock.Reserver) bool {
	_, ok := r.(*groupcommit.Reserver)
	return ok
}

// Close waits for what strategies still have in hand. Operations that come later fail.
func (s *Set) Close() error {
	var faults []error
	for _, r := range s.reserver {
		if c, ok := r.(io.Closer); ok {
			faults = append(faults, c.Close())
		}
	}
	return errors.Join(faults...)
}

// of returns the strategy that reserved the order, or for an order that is not known, nobodys.
func (s *Set) of(ctx context.Context, orderNo string) (stock.Reserver, error) {
	name, err := s.ledger.StrategyOf(ctx, orderNo)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return s.nobodys(ctx)
	}
	chosen := s.reserver[name]
	if chosen == nil {
		return nil, fmt.Errorf("order %s was reserved by the strategy %q, which this version does not have", orderNo, name)
	}
	return chosen, nil
}

package inventorylab

import (
	"context"
	"fmt"
	"slices"

	"holdfast/inventory-srv/internal/flawed"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/strategy"
)

// HandLock is the lock of the flaws that write one by hand.
type HandLock = flawed.HandLock

// LockKey returns the key of a SKU in pkg/lock, the same for strategies and flaws.
func LockKey(sku string) string { return strategy.LockKey(sku) }

// flaw reserves with a mistake. It confirms and releases with the strategy that is the mistake's cure.
type flaw struct {
	stock.Reserver
	reserve flawed.Reserver
}

// Reserve implements stock.Reserver.
func (f flaw) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return f.reserve.Reserve(ctx, r)
}

// OpenFlaw opens a lab that reserves with the named mistake of the gallery (package flawed). Its products have the
// layout of the strategy that is the mistake's cure.
func OpenFlaw(ctx context.Context, cfg Config, name string) (*Lab, error) {
	all := flawed.List()
	i := slices.IndexFunc(all, func(f flawed.Flaw) bool { return f.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("open a flaw: the gallery has no %q", name)
	}
	cfg.Strategy = all[i].Cure
	if layoutOf(strategy.List(), cfg.Strategy) == stock.LayoutRedis {
		cfg.Strategy = "conditional" // these mistakes have a counter of their own in front of a row
	}
	lab, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	lab.reserver = flaw{lab.reserver, all[i].New(flawed.Deps{
		Ledger: lab.app.Store.Ledger(), DB: lab.app.DB, Locker: stoppingLocker{lab.app.Locker, cfg.At}, Redis: lab.app.LockClient,
		Prefix: cfg.LockPrefix,
	})}
	return lab, nil
}

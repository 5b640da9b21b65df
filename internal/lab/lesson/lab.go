package lesson

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
)

// lab opens a replica of the inventory with a strategy, on the lesson's database. It is closed at the end.
func (e *Env) lab(ctx context.Context, dsn, strategy string) (*inventorylab.Lab, error) {
	return e.open(ctx, inventorylab.Config{DSN: dsn, Strategy: strategy, Log: slog.New(slog.DiscardHandler)})
}

func (e *Env) open(ctx context.Context, cfg inventorylab.Config) (*inventorylab.Lab, error) {
	lab, err := inventorylab.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error { return lab.Close() })
	return lab, nil
}

// redisLab returns the configuration of a lab on the lesson's database and Redis. Labs of one lesson share their locks.
func (e *Env) redisLab(ctx context.Context, dsn, strategy string) (inventorylab.Config, error) {
	addr, err := e.RedisAddr(ctx)
	return inventorylab.Config{
		DSN: dsn, RedisAddrs: []string{addr}, Strategy: strategy, LockPrefix: e.Key("locks:"), Log: slog.New(slog.DiscardHandler),
	}, err
}

// flaw opens a lab that makes a mistake of the gallery (inventory-srv/internal/flawed). It is closed at the end. If
// locked is not nil, it is called after each lock that the mistake takes.
func (e *Env) flaw(ctx context.Context, dsn, name string, locked func()) (*inventorylab.Lab, error) {
	cfg, err := e.redisLab(ctx, dsn, "")
	if err != nil {
		return nil, err
	}
	lab, err := inventorylab.OpenFlaw(ctx, cfg, name, locked)
	if err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error { return lab.Close() })
	return lab, nil
}

// The rush of the lessons: more buyers than units, at the same time, one unit each.
const (
	rushBuyers = 60
	rushUnits  = 20
)

// rush is the result of a rush.
type rush struct {
	sold     int64 // buyers with a receipt
	oversold int64 // receipts beyond the units that existed
	lost     int64 // sales that the stock row has not recorded
}

func (r rush) row(name string) []any {
	return []any{name, rushBuyers, rushUnits, r.sold, r.oversold, r.lost}
}

// rushHead returns the header row for tables of rushes.
func rushHead() []any {
	return []any{"", "buyers", "units", "receipts", "oversold", "lost updates"}
}

// sellOut runs the rush on a new product, distributes the buyers over the labs, and reads the ledger afterwards.
func sellOut(ctx context.Context, sku string, labs ...*inventorylab.Lab) (rush, error) {
	if err := labs[0].Stock(ctx, sku, rushUnits, "first-"+sku); err != nil {
		return rush{}, err
	}
	var sold atomic.Int64
	buyers, bctx := errgroup.WithContext(ctx)
	start := make(chan struct{})
	for i := range rushBuyers {
		buyers.Go(func() error {
			<-start
			ok, err := buyOne(bctx, labs[i%len(labs)], sku, fmt.Sprintf("%s-%d", sku, i))
			if ok {
				sold.Add(1)
			}
			return err
		})
	}
	close(start)
	if err := buyers.Wait(); err != nil {
		return rush{}, err
	}
	entry, err := ledgerOf(ctx, labs[0], sku)
	return rush{sold: sold.Load(), oversold: max(0, sold.Load()-rushUnits), lost: entry.LinesReserved - entry.Reserved}, err
}

// ledgerOf returns the ledger's entry of one SKU.
func ledgerOf(ctx context.Context, lab *inventorylab.Lab, sku string) (inventoryapi.LedgerEntry, error) {
	ledger, err := lab.Ledger(ctx)
	if err != nil {
		return inventoryapi.LedgerEntry{}, err
	}
	i := slices.IndexFunc(ledger.SKUs, func(e inventoryapi.LedgerEntry) bool { return e.SKU == sku })
	if i < 0 {
		return inventoryapi.LedgerEntry{}, fmt.Errorf("the ledger has no %s", sku)
	}
	return ledger.SKUs[i], nil
}

// rushAtTwo runs the rush on two replicas with a strategy.
func (e *Env) rushAtTwo(ctx context.Context, dsn, strategy, sku string) (rush, error) {
	one, err := e.lab(ctx, dsn, strategy)
	if err != nil {
		return rush{}, err
	}
	two, err := e.lab(ctx, dsn, strategy)
	if err != nil {
		return rush{}, err
	}
	return sellOut(ctx, sku, one, two)
}

// buyOne retries while the strategy answers ErrContended. It returns false if the product is sold out.
func buyOne(ctx context.Context, lab *inventorylab.Lab, sku, orderNo string) (bool, error) {
	for {
		_, err := lab.Reserve(ctx, orderNo, []inventoryapi.Line{{SKU: sku, Quantity: 1}})
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, inventoryapi.ErrOutOfStock):
			return false, nil
		case !errors.Is(err, inventoryapi.ErrContended) || ctx.Err() != nil:
			return false, err
		}
	}
}

// rushUntilBroken repeats the rush until both units oversold and lost updates were seen. The first rush is nearly
// always sufficient, but a race does not always occur.
func rushUntilBroken(ctx context.Context, sku string, labs ...*inventorylab.Lab) (rush, error) {
	for round := 1; ; round++ {
		r, err := sellOut(ctx, fmt.Sprintf("%s-%d", sku, round), labs...)
		if err != nil || r.oversold > 0 && r.lost > 0 || round == 20 {
			return r, err
		}
	}
}

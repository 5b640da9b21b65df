package lesson

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"holdfast/internal/lab/step"
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

// flaw opens a lab that makes a mistake of the gallery (inventory-srv/internal/flawed). It is closed at the end.
func (e *Env) flaw(ctx context.Context, dsn, name string) (*inventorylab.Lab, error) {
	cfg, err := e.redisLab(ctx, dsn, "")
	if err != nil {
		return nil, err
	}
	return e.openFlaw(ctx, cfg, name)
}

func (e *Env) openFlaw(ctx context.Context, cfg inventorylab.Config, name string) (*inventorylab.Lab, error) {
	lab, err := inventorylab.OpenFlaw(ctx, cfg, name)
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
	buyers   int
	sold     int64 // buyers with a receipt
	oversold int64 // receipts beyond the units that existed
	lost     int64 // sales that the stock row has not recorded
}

func (r rush) row(name any) []any {
	return []any{name, r.buyers, rushUnits, r.sold, r.oversold, r.lost}
}

// exact reports whether all units were sold, once, and the row has recorded every sale.
func (r rush) exact() bool { return r.sold == rushUnits && r.lost == 0 }

// rushHead returns the header row for tables of rushes.
func rushHead() []any {
	return []any{
		"", step.T("lesson.buyers"), step.T("lesson.units"), step.T("lesson.receipts"), step.T("lesson.oversold"), step.T("lesson.lost"),
	}
}

// rushScene returns a scene with a rush as its only step. name is the row of its table; end checks the result, nil: no
// check.
func (e *Env) rushScene(
	title step.Text, ask string, name any, run func(ctx context.Context) (rush, error), end func(r rush, end *step.Ending),
) step.Scene {
	return e.scene(title, func(context.Context) (*step.Stage, error) {
		var r rush
		stage := crowd(step.T("lesson.rush", e.buyers(), rushUnits), ask, func(ctx context.Context) (_ *step.Table, err error) {
			r, err = run(ctx)
			return step.NewTable(rushHead(), r.row(name)), err
		})
		if end != nil {
			stage.End = func(_ context.Context, ending *step.Ending) error {
				end(r, ending)
				return nil
			}
		}
		return stage, nil
	})
}

// crowd returns a stage on which many clients act at the same time, in one step, whose result is a table.
func crowd(label step.Text, ask string, run func(ctx context.Context) (*step.Table, error)) *step.Stage {
	return &step.Stage{
		Actors: []*step.Actor{{Steps: []step.Step{{Label: label, Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
			table, err := run(ctx)
			return step.Result{Table: table}, err
		}}}}},
		Order: []string{""},
	}
}

// sellOut runs the rush on a new product, distributes the buyers over the labs, and reads the ledger afterwards.
func sellOut(ctx context.Context, buyers int, sku string, labs ...*inventorylab.Lab) (rush, error) {
	if err := labs[0].Stock(ctx, sku, rushUnits, "first-"+sku); err != nil {
		return rush{}, err
	}
	var sold atomic.Int64
	all, bctx := errgroup.WithContext(ctx)
	start := make(chan struct{})
	for i := range buyers {
		all.Go(func() error {
			<-start
			ok, err := buyOne(bctx, labs[i%len(labs)], sku, ulid.Make().String())
			if ok {
				sold.Add(1)
			}
			return err
		})
	}
	close(start)
	if err := all.Wait(); err != nil {
		return rush{}, err
	}
	entry, err := ledgerOf(ctx, labs[0], sku)
	return rush{
		buyers: buyers, sold: sold.Load(), oversold: max(0, sold.Load()-rushUnits), lost: entry.LinesReserved - entry.Reserved,
	}, err
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
	return sellOut(ctx, e.buyers(), fresh(sku), one, two)
}

// fresh returns a name that no earlier play of the scene has used.
func fresh(name string) string { return name + "-" + ulid.Make().String()[16:] }

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
func (e *Env) rushUntilBroken(ctx context.Context, sku string, labs ...*inventorylab.Lab) (rush, error) {
	for round := 1; ; round++ {
		r, err := sellOut(ctx, e.buyers(), fresh(sku), labs...)
		if err != nil || r.oversold > 0 && r.lost > 0 || round == 20 {
			return r, err
		}
	}
}

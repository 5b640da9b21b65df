package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/order-srv/check"
)

// Options describes what to compare, and where.
type Options struct {
	Servers    Servers
	Preset     Preset
	Strategies []string                // default: all
	Extra      []inventorylab.Strategy // strategies from outside, beside those of the service
	Pool       int                     // database connections of one replica; default 64
	Progress   io.Writer               // receives a line for each cell, which is overwritten on a terminal; nil: none
}

// defaultPool is the pool size of the services.
const defaultPool = 64

// Run compares the strategies. It returns the measured cells also with an error. An error means that measuring failed;
// violations of a strategy are a result.
func Run(ctx context.Context, o Options) (Report, error) {
	if o.Pool == 0 {
		o.Pool = defaultPool
	}
	r := Report{Preset: o.Preset.Name, StartedAt: time.Now().UTC(), Period: o.Preset.Period.Seconds()}
	var err error
	if r.Strategies, err = choose(o.Strategies, o.Extra); err != nil {
		return r, err
	}
	admin, err := openAdmin(ctx, o.Servers.MySQL)
	if err != nil {
		return r, err
	}
	defer admin.close()
	if r.Environment, err = environment(ctx, admin, o); err != nil {
		return r, err
	}
	line := newProgress(o.Progress, cellCount(o.Preset, r.Strategies))
	for repetition := 1; repetition <= o.Preset.Repetitions; repetition++ {
		for _, shape := range o.Preset.Shapes {
			for _, s := range r.Strategies {
				if !shape.fits(s.Name) {
					continue
				}
				line.begin(s.Name, shape, repetition)
				c, err := runCell(ctx, admin, o, s, shape)
				if err != nil {
					return r, errors.Join(fmt.Errorf("%s, %s: %w", s.Name, shape, err), line.end())
				}
				c.Repetition = repetition
				r.Cells = append(r.Cells, c)
				line.done(c)
			}
		}
	}
	r.Took = time.Since(r.StartedAt).Seconds()
	return r, line.end()
}

// stopTimeout bounds the end of private servers.
const stopTimeout = 30 * time.Second

// RunOnPrivate is Run on private servers, or on the database server of mysqlDSN, if it is not empty, and private Redis
// servers. startTimeout bounds their start.
func RunOnPrivate(ctx context.Context, mysqlDSN string, startTimeout time.Duration, o Options) (Report, error) {
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	servers, stop, err := StartServers(starting, mysqlDSN, o.Progress)
	if err != nil {
		return Report{}, err
	}
	o.Servers = servers
	report, err := Run(ctx, o)
	clean, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	return report, errors.Join(err, stop(clean))
}

// choose returns the named strategies and the reference, or all if there are no names.
func choose(names []string, extra []inventorylab.Strategy) ([]Strategy, error) {
	var chosen []Strategy
	unknown := slices.Clone(names)
	for _, s := range inventorylab.Strategies(extra...) {
		if len(names) == 0 || s.Name == Reference || slices.Contains(names, s.Name) {
			chosen = append(chosen, Strategy{Name: s.Name, Layout: s.Layout, Idea: s.Idea, Safe: s.Safe})
		}
		unknown = slices.DeleteFunc(unknown, func(name string) bool { return name == s.Name })
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%q: no such strategy", unknown)
	}
	return chosen, nil
}

func cellCount(p Preset, strategies []Strategy) int {
	n := 0
	for _, shape := range p.Shapes {
		for _, s := range strategies {
			if shape.fits(s.Name) {
				n += p.Repetitions
			}
		}
	}
	return n
}

// warmUp is the time of load before each measurement, which opens connections, fills the buffer pool and loads
// scripts.
const warmUp = 150 * time.Millisecond

// cellTimeout bounds one cell beyond its period: two order timeouts, and creating and dropping a database.
const cellTimeout = 2*orderTimeout + time.Minute

// runCell measures one strategy under one load, in a database of its own.
func runCell(ctx context.Context, admin *admin, o Options, s Strategy, shape Shape) (c Cell, err error) {
	c = Cell{Strategy: s.Name, Layout: s.Layout, Shape: shape}
	ctx, cancel := context.WithTimeout(ctx, o.Preset.Period+cellTimeout)
	defer cancel()
	dsn, drop, err := admin.database(ctx)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	l := &load{shape: shape}
	for range shape.Replicas {
		lab, err := inventorylab.Open(ctx, inventorylab.Config{
			DSN: dsn, RedisAddrs: o.Servers.Redis, RedlockAddrs: o.Servers.Redlock, Strategy: s.Name, Extra: o.Extra, MaxOpen: o.Pool,
			LockPrefix: admin.name() + ":", Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return c, err
		}
		defer func() { err = errors.Join(err, lab.Close()) }()
		defer func() { err = errors.Join(err, lab.Forget(context.WithoutCancel(ctx))) }()
		l.labs = append(l.labs, lab)
	}
	for i := range shape.SKUs {
		l.skus = append(l.skus, fmt.Sprintf("SKU-%03d", i))
		if err := l.labs[0].Stock(ctx, l.skus[i], plenty, l.skus[i]); err != nil {
			return c, err
		}
	}
	if err := l.labs[0].Stock(ctx, last, lastUnits, last); err != nil {
		return c, err
	}
	if err := measure(ctx, admin, l, o.Preset.Period, &c); err != nil {
		return c, err
	}
	l.sellOut(ctx, last)
	c.Failed, c.Findings = l.failed, l.failures
	return c, judge(ctx, l.labs[0], &c)
}

// last is the product that is sold out in every cell.
const last = "LAST"

func measure(ctx context.Context, admin *admin, l *load, period time.Duration, c *Cell) error {
	run := l.closed
	switch l.shape.Loop {
	case Open:
		run = l.open
	case Limit:
		run = l.limit
	}
	run(ctx, warmUp)
	l.contended.Store(0)
	before, err := admin.lockWaits(ctx)
	if err != nil {
		return err
	}
	s, took := run(ctx, period)
	after, err := admin.lockWaits(ctx)
	if err != nil {
		return err
	}
	ms := func(quantile float64) float64 { return float64(s.latency.ValueAtQuantile(quantile)) / 1000 }
	c.Orders = int(s.latency.TotalCount())
	c.Throughput = float64(c.Orders) / took.Seconds()
	c.P50, c.P95, c.P99 = ms(50), ms(95), ms(99)
	c.Contended = int(l.contended.Load())
	c.LockWaits, c.LockWaitMS = after.waits-before.waits, after.ms-before.ms
	return ctx.Err()
}

// judge checks the cell's ledger with the checker that also audits the shop.
func judge(ctx context.Context, lab *inventorylab.Lab, c *Cell) error {
	ledger, err := lab.Ledger(ctx)
	if err != nil {
		return err
	}
	report, err := check.Run(check.Input{
		Started:      ledger.TakenAt,
		Orders:       func(func(check.Order, error) bool) {}, // the comparison has no orders
		Reservations: func(func(check.Reservation, error) bool) {},
		Ledger:       func() (check.Ledger, error) { return check.Ledger{SKUs: skus(ledger)}, nil },
	})
	if err != nil {
		return err
	}
	c.Violations = len(report.Violations)
	for _, v := range report.Violations {
		c.Findings = append(c.Findings, v.String())
	}
	for _, s := range ledger.SKUs {
		promised := s.LinesReserved + s.LinesConfirmed
		c.Oversold += max(0, promised-s.Inbound)
		if s.SKU == last {
			c.Undersold += max(0, s.Inbound-promised)
		}
	}
	return nil
}

func skus(ledger inventoryapi.Ledger) []check.SKU {
	out := make([]check.SKU, len(ledger.SKUs))
	for i, e := range ledger.SKUs {
		out[i] = check.SKU{
			SKU: e.SKU, Inbound: e.Inbound, Available: e.Available, Reserved: e.Reserved, Sold: e.Sold,
			LinesReserved: e.LinesReserved, LinesConfirmed: e.LinesConfirmed,
		}
	}
	return out
}

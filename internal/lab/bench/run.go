package bench

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"holdfast/internal/lab/load"
	"holdfast/internal/lab/shop"
	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/wait"
)

// Options describes what to measure, and where.
type Options struct {
	URL      string         // the gateway, in lab mode
	MySQL    *stdsql.DB     // the shop's database server
	Namesrv  string         // the shop's name server
	PIDs     map[string]int // the shop's processes by name
	Broker   string         // name and version, for the report
	Self     string         // a program that calls [Hop] for [HopArg], for the chain
	Dir      string         // for the chain's logs
	Preset   Preset
	Progress *slog.Logger // one line for each cell; nil: none
}

const (
	deadline     = 3 * time.Second        // an order that is placed later is no goodput
	restPatience = 2 * time.Minute        // for the shop to come to rest after a cell
	restPoll     = 500 * time.Millisecond // between two audits
	mixedSKUs    = 100
	credit       = 10_000_000_000 // cents for each buyer, more than a run spends
)

// subject is the chain, or a strategy or a flow of the shop.
type subject struct {
	name    string
	baskets map[string]load.Target
	meter   Meter
}

// bench is a run.
type bench struct {
	Options
	admin    *shop.Client
	subjects []subject
	best     map[string]float64 // by subject and basket: orders per second of the best closed loop, for open loops
	cells    int
}

// Run measures. It returns the measured cells also with an error. An error means that measuring failed; what the audit
// finds is a result.
func Run(ctx context.Context, o Options) (r Report, err error) {
	if o.Progress == nil {
		o.Progress = slog.New(slog.DiscardHandler)
	}
	admin, err := shop.Login(ctx, o.URL, "load-admin", orderapi.RoleAdmin)
	if err != nil {
		return r, err
	}
	b := &bench{Options: o, admin: admin, best: map[string]float64{}}
	r = Report{Preset: o.Preset.Name, StartedAt: time.Now().UTC(), Time: o.Preset.Time.Seconds()}
	if r.Sheet, err = sheet(ctx, o); err != nil {
		return r, err
	}
	if r.Sheet.Meanwhile != "" {
		o.Progress.WarnContext(ctx, "the shop is not at rest", "meanwhile", r.Sheet.Meanwhile)
	}
	addr, hops, stop, err := startChain(ctx, o.Self, o.Dir)
	if err != nil {
		return r, fmt.Errorf("start the chain: %w", err)
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, stop(clean))
	}()
	chain := load.Target{Addr: addr, Name: "CHAIN", Tokens: []string{"none"}}
	b.subjects = []subject{{name: Chain, baskets: baskets(chain, skus("CHAIN")), meter: Meter{PIDs: hops}}}
	if err := b.prepare(ctx); err != nil {
		return r, err
	}
	if len(o.Preset.Flows) > 0 {
		r.Strategy = o.Preset.Strategies[0]
	}
	for repetition := 1; repetition <= o.Preset.Repetitions; repetition++ {
		for _, shape := range o.Preset.Shapes {
			for _, s := range b.subjects {
				c, err := b.cell(ctx, s, shape, repetition)
				if err != nil {
					return r, fmt.Errorf("%s, %s: %w", s.name, shape, err)
				}
				r.Cells = append(r.Cells, c)
			}
			if r.Flow == "" && r.Strategy == "" {
				if r.Flow, err = flow(ctx, o.MySQL); err != nil {
					return r, fmt.Errorf("read the orders' flow: %w", err)
				}
			}
		}
	}
	r.Took = time.Since(r.StartedAt).Seconds()
	return r, nil
}

// prepare adds the strategies or the flows to the subjects, with products of their own.
func (b *bench) prepare(ctx context.Context) error {
	names, flows := b.Preset.Strategies, len(b.Preset.Flows) > 0
	if flows {
		names = b.Preset.Flows
		if err := load.Credit(ctx, b.admin, credit, load.UniqueName("bench")); err != nil { // tcc freezes the buyers' money
			return err
		}
	}
	for _, name := range names {
		strategy, flow := name, ""
		if flows {
			strategy, flow = b.Preset.Strategies[0], name
		}
		t, products, err := load.Prepare(ctx, b.admin, load.UniqueName("bench-"+name), strategy, mixedSKUs)
		if err != nil {
			return fmt.Errorf("prepare %s: %w", name, err)
		}
		t.Flow, t.Follow = flow, flows
		m := Meter{DB: b.MySQL, Namesrv: b.Namesrv, PIDs: b.PIDs}
		b.subjects = append(b.subjects, subject{name: name, baskets: baskets(t, products), meter: m})
	}
	return nil
}

func skus(name string) []string {
	all := make([]string, mixedSKUs)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%d", name, i+1)
	}
	return all
}

// baskets makes the orders of each kind of basket. The mixed ones have one, two and three lines in turn.
func baskets(t load.Target, skus []string) map[string]load.Target {
	hot, mixed := t, t
	hot.Baskets = []string{load.Basket(skus[0])}
	for i := range skus {
		lines := make([]string, 1+i%3)
		for n := range lines {
			lines[n] = skus[(i+n*len(skus)/3)%len(skus)]
		}
		mixed.Baskets = append(mixed.Baskets, load.Basket(lines...))
	}
	return map[string]load.Target{Hot: hot, Mixed: mixed}
}

// cell measures one subject under one load, and waits until the shop is at rest again: what it still sends would slow
// down the next cell.
func (b *bench) cell(ctx context.Context, s subject, shape Shape, repetition int) (Cell, error) {
	b.cells++
	var before Counters
	var failed error
	run := load.Run{
		Target: s.baskets[shape.Basket], Name: fmt.Sprintf("cell%d", b.cells), Connections: shape.Connections,
		Time: b.Preset.Time, Deadline: deadline, Began: func() { before, failed = s.meter.Read(ctx) },
	}
	c := Cell{Subject: s.name, Shape: shape, Repetition: repetition}
	var t *load.Tally
	var took time.Duration
	if shape.Share > 0 {
		c.Rate = shape.Share * b.best[s.name+shape.Basket]
		t, took = run.Open(ctx, c.Rate)
	} else {
		t, took = run.Closed(ctx)
	}
	after, err := s.meter.Read(ctx)
	if err := errors.Join(failed, err, ctx.Err()); err != nil {
		return c, err
	}
	c.fill(t, took, after.Since(before))
	if shape.Share == 0 {
		b.best[s.name+shape.Basket] = max(b.best[s.name+shape.Basket], c.Throughput)
	}
	b.Progress.InfoContext(ctx, "measured", "cell", fmt.Sprintf("%d of %d", b.cells, b.Preset.Repetitions*len(b.Preset.Shapes)*len(b.subjects)),
		"subject", s.name, "load", shape.String(), "orders_per_s", int(c.Throughput), "p99_ms", int(c.P99))
	if s.name == Chain {
		return c, nil
	}
	found, err := b.rest(ctx)
	if err != nil {
		return c, fmt.Errorf("audit: %w", err)
	}
	for _, v := range append(found.Violations, found.Unsettled...) {
		c.Findings = append(c.Findings, v.String())
	}
	return c, nil
}

// rest audits until nothing is in flight and every message is sent, or until its patience ends.
func (b *bench) rest(ctx context.Context) (found check.Report, err error) {
	for end := time.Now().Add(restPatience); ; {
		found, err = b.admin.Audit(ctx, false, nil)
		still := err == nil && len(found.Unsettled) == 0 && found.Messages.Unsent == 0 && found.Messages.Undecided == 0
		if still || time.Now().After(end) {
			return found, err
		}
		if wait.Sleep(ctx, restPoll) != nil {
			return found, ctx.Err()
		}
	}
}

// flow is the flow that placed the newest order.
func flow(ctx context.Context, db *stdsql.DB) (name string, err error) {
	err = db.QueryRowContext(ctx, "SELECT flow FROM orders.orders ORDER BY order_no DESC LIMIT 1").Scan(&name)
	return name, err
}

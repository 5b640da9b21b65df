package compareflows

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"holdfast/internal/lab/machine"
	"holdfast/order-srv/orderlab"
)

// Options says what to measure, and with which programs.
type Options struct {
	Preset   Preset
	Flows    []string     // default: all flows that order-srv has
	Dir      string       // for the shop's state, data and logs
	Bin      string       // folder with the programs: the services and holdfast
	Broker   string       // as in [stack.UpOptions]
	Progress *slog.Logger // one line for each measurement; nil: none
}

// Run starts a shop, measures the flows in turn and stops the shop. It returns what was measured also with an error. An
// error means that measuring failed; what an audit finds is a result.
func Run(ctx context.Context, o Options) (r Report, err error) {
	if o.Flows == nil {
		o.Flows = orderlab.Flows()
	}
	if o.Progress == nil {
		o.Progress = slog.New(slog.DiscardHandler)
	}
	r = newReport(o)
	s, err := open(ctx, o)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, s.stop(context.WithoutCancel(ctx))) }()
	if r.Machine, err = machine.Describe(ctx, s.db); err != nil {
		return r, err
	}
	r.Broker = s.broker
	o.Progress.InfoContext(ctx, "started the shop", "broker", s.broker)
	if r.Idle, err = s.idle(ctx, o.Preset.Warm); err != nil {
		return r, fmt.Errorf("measure the idle shop: %w", err)
	}
	if err := r.load(ctx, s, o); err != nil {
		return r, err
	}
	if err := r.outages(ctx, s, o); err != nil {
		return r, err
	}
	found, err := s.audit(ctx, true)
	if err != nil {
		return r, err
	}
	r.Audit = Audit{Ran: true, Orders: found.Orders, Findings: findings(found)}
	r.Took = time.Since(r.StartedAt).Seconds()
	o.Progress.InfoContext(ctx, "audited", "findings", len(r.Audit.Findings))
	return r, nil
}

// load measures the closed loops, the flows in turn.
func (r *Report) load(ctx context.Context, s *site, o Options) error {
	for repetition := 1; repetition <= o.Preset.Repetitions; repetition++ {
		for _, flow := range o.Flows {
			c, err := s.cell(ctx, o.Preset, flow, repetition, r.Idle)
			if err != nil {
				return fmt.Errorf("measure %s: %w", flow, err)
			}
			r.Cells = append(r.Cells, c)
			o.Progress.InfoContext(ctx, "measured", "flow", flow, "repetition", repetition, "orders_per_s", int(c.Throughput), "known_p99_ms", int(c.KnownP99))
		}
	}
	return nil
}

// outages measures an outage for each flow, and audits after each. The audit waits until nothing is in flight, so the
// next flow begins with a shop at rest.
func (r *Report) outages(ctx context.Context, s *site, o Options) error {
	for _, flow := range o.Flows {
		out, err := s.outage(ctx, o.Preset, flow)
		if err != nil {
			return fmt.Errorf("measure %s: %w", flow, err)
		}
		back := time.Now().Add(-time.Duration(out.Known * float64(time.Second)))
		found, err := s.audit(ctx, false)
		if err != nil {
			return fmt.Errorf("measure %s: %w", flow, err)
		}
		out.Settled, out.Findings = time.Since(back).Seconds(), findings(found)
		r.Outages = append(r.Outages, out)
		o.Progress.InfoContext(ctx, "outage", "flow", flow, "most_in_doubt", out.MostInDoubt, "settled_s", int(out.Settled), "findings", len(out.Findings))
	}
	return nil
}

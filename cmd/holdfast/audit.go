package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"holdfast/order-srv/check"
)

type auditCmd struct {
	Wait        time.Duration `help:"Wait this long for the shop to come to rest." default:"60s"`
	SKU         string        `help:"Judge this product and the orders of it alone: what a load test did, whatever others did before." name:"sku"`
	ExpectSales bool          `help:"Leave with 3 when no unit is reserved or sold: a load test that sold nothing proves nothing."`
}

// Run asks for audits until nothing is in flight or the patience ends, prints the last one and judges it.
func (a *auditCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	r, err := a.look(ctx, c.URL, healerAwaited(c.Dir))
	if err != nil {
		return exit{2, explain(ctx, c.Dir, fmt.Errorf("could not look: %w", err))}
	}
	if a.SKU != "" && len(r.SKUs) == 0 {
		return exit{2, fmt.Errorf("the ledger has no %s", a.SKU)}
	}
	if err := printReport(stdout, r); err != nil {
		return exit{2, err}
	}
	if err := printHealing(stdout, r, c.Dir); err != nil {
		return exit{2, err}
	}
	return a.judge(r, stdout)
}

// look audits until nothing is in flight, a violation is found, or the patience ends, and returns what the last look saw.
// A gateway that does not answer at first is not waited for; one that did answer may have a bad moment. While awaited says
// so, a healer is still to come, although nothing is in flight.
func (a *auditCmd) look(ctx context.Context, url string, awaited func(check.Report) bool) (check.Report, error) {
	deadline := time.NewTimer(a.Wait)
	defer deadline.Stop()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for first := true; ; first = false {
		r, err := audit(ctx, url)
		if a.SKU != "" {
			r = only(r, a.SKU)
		}
		if first && err != nil || a.SKU == "" && len(r.Violations) > 0 || err == nil && len(r.Unsettled) == 0 && !awaited(r) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-deadline.C:
			return r, err
		case <-tick.C:
		}
	}
}

// only keeps what is known of one product: its line of the ledger, and what was found about it, about orders and reservations
// of it, and about what may be anything's.
func only(r check.Report, sku string) check.Report {
	r.SKUs = slices.DeleteFunc(r.SKUs, func(s check.SKU) bool { return s.SKU != sku })
	other := func(v check.Violation) bool { return !v.Concerns(sku) }
	r.Violations, r.Unsettled = slices.DeleteFunc(r.Violations, other), slices.DeleteFunc(r.Unsettled, other)
	return r
}

func printReport(stdout io.Writer, r check.Report) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "SKU\tcame in\tavailable\treserved\tsold\t")
	for _, s := range r.SKUs {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t\n", s.SKU, s.Inbound, s.Available, s.Reserved, s.Sold)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "\norders: %s\n", countsLine(r.Orders))
	fmt.Fprintf(stdout, "messages: %s\n", messagesLine(r.Messages))
	for _, v := range r.Violations {
		fmt.Fprintf(stdout, "VIOLATION %s\n", v)
	}
	for _, v := range r.Unsettled {
		fmt.Fprintf(stdout, "unsettled %s\n", v)
	}
	printLosses(stdout, r)
	return nil
}

// toldLost is how many lost orders are named.
const toldLost = 10

// printLosses says what Redis has lost, which is no finding: redis-lua does not promise to prevent it.
func printLosses(stdout io.Writer, r check.Report) {
	for _, l := range r.Losses {
		fmt.Fprintf(stdout, "Redis lost %d operations (%d units) that replicas have reported and MySQL does not have, noticed at %s: %s\n",
			l.Operations, l.Units, l.NoticedAt.Format(time.RFC3339), l.Reason)
	}
	for i, v := range r.Lost {
		if i == toldLost {
			fmt.Fprintf(stdout, "lost: and %d more\n", len(r.Lost)-i)
			break
		}
		fmt.Fprintf(stdout, "lost %s; it is REFUND_DUE as soon as it is paid\n", v)
	}
}

func (a *auditCmd) judge(r check.Report, stdout io.Writer) error {
	if n := len(r.Violations) + len(r.Unsettled); n > 0 {
		return exit{1, fmt.Errorf("%d findings after %v", n, a.Wait)}
	}
	sales := int64(0)
	for _, s := range r.SKUs {
		sales += s.LinesReserved + s.LinesConfirmed
	}
	if a.ExpectSales && sales == 0 {
		return exit{3, errors.New("nothing is reserved or sold")}
	}
	if a.SKU != "" {
		fmt.Fprintf(stdout, "clean: every unit of %s is accounted for\n", a.SKU)
		return nil
	}
	fmt.Fprintln(stdout, "clean: every unit is accounted for, and no order is in flight")
	return nil
}

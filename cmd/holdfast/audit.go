package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"holdfast/internal/lab/shop"
	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
)

type auditCmd struct {
	Wait        time.Duration `help:"Wait at most this long until no order or message is in flight; a violation ends the waiting." default:"60s"`
	SKU         string        `help:"Audit only this product and its orders, for instance after a load test." name:"sku"`
	ExpectSales bool          `help:"Exit with status 3 when no unit is reserved or sold, so that a load test without sales does not pass."`
	Full        bool          `help:"Prove settled history again, which earlier audits have proven. With ten million orders this takes minutes."`
	JSON        bool          `help:"Print the report as one JSON document." name:"json"`
}

// Run repeats the audit until nothing is in flight or the waiting time ends. It prints the last report and judges it.
func (a *auditCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	r, err := a.awaitRest(ctx, c.URL, healerAwaited(c.Dir))
	if err != nil {
		return exit{2, explain(ctx, c.Dir, fmt.Errorf("audit: %w", err))}
	}
	if a.SKU != "" && len(r.SKUs) == 0 {
		return exit{2, fmt.Errorf("the ledger has no %s", a.SKU)}
	}
	if a.JSON {
		if err := printJSON(stdout, newAuditResult(r)); err != nil {
			return exit{2, err}
		}
		return a.judge(r, io.Discard)
	}
	if err := printReport(stdout, r); err != nil {
		return exit{2, err}
	}
	if err := printHealing(stdout, r, c.Dir); err != nil {
		return exit{2, err}
	}
	return a.judge(r, stdout)
}

// awaitRest repeats the audit until nothing is in flight, a violation is found or the waiting time ends. It returns
// the last report. If the first audit fails, it returns the error at once; later failures are retried. awaited reports
// that a healer must still act, even if nothing is in flight.
func (a *auditCmd) awaitRest(ctx context.Context, url string, awaited func(check.Report) bool) (check.Report, error) {
	deadline := time.NewTimer(a.Wait)
	defer deadline.Stop()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	full := a.Full // once: what the first audit has proven the next ones do not prove again
	for first := true; ; first = false {
		r, err := audit(ctx, url, full, newProgress())
		full = full && err != nil
		if a.SKU != "" {
			r = only(r, a.SKU)
		}
		if first && err != nil || len(r.Violations) > 0 || err == nil && len(r.Unsettled)+r.Unlisted == 0 && !awaited(r) {
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

// audit requests an audit as an administrator and waits for its report. progress, unless nil, is called with each
// state.
func audit(ctx context.Context, url string, full bool, progress func(orderapi.AuditJob)) (check.Report, error) {
	admin, err := shop.Login(ctx, url, "auditor", orderapi.RoleAdmin)
	if err != nil {
		return check.Report{}, err
	}
	return admin.Audit(ctx, full, progress)
}

// only reduces a report to one product: its line of the ledger, and the findings that concern it or may concern any
// product.
func only(r check.Report, sku string) check.Report {
	r.SKUs = slices.DeleteFunc(r.SKUs, func(s check.SKU) bool { return s.SKU != sku })
	other := func(v check.Violation) bool { return !v.Concerns(sku) }
	r.Violations, r.Unsettled = slices.DeleteFunc(r.Violations, other), slices.DeleteFunc(r.Unsettled, other)
	return r
}

// progressInterval is the time between two lines about an audit that takes long.
const progressInterval = 5 * time.Second

// newProgress returns a function that prints now and then how far an audit is.
func newProgress() func(orderapi.AuditJob) {
	printed := time.Now()
	return func(j orderapi.AuditJob) {
		if j.EndedAt == nil && time.Since(printed) >= progressInterval {
			printed = time.Now()
			fmt.Fprintf(os.Stderr, "audit %s: %s, %d orders checked\n", j.ID, j.State, j.OrdersChecked)
		}
	}
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
	printInDoubt(stdout, r)
	for _, v := range r.Violations {
		fmt.Fprintf(stdout, "VIOLATION %s\n", v)
	}
	for _, v := range r.Unsettled {
		fmt.Fprintf(stdout, "unsettled %s\n", v)
	}
	if r.Unlisted > 0 {
		fmt.Fprintf(stdout, "and %d more findings\n", r.Unlisted)
	}
	printLosses(stdout, r)
	return nil
}

// maxLostPrinted is the number of lost orders that are listed.
const maxLostPrinted = 10

// printLosses prints what Redis has lost. A loss is no finding: redis-lua does not promise to prevent it.
func printLosses(stdout io.Writer, r check.Report) {
	for _, l := range r.Losses {
		fmt.Fprintf(stdout, "Redis lost %d operations (%d units) that replicas have reported and MySQL does not have, noticed at %s: %s\n",
			l.Operations, l.Units, l.NoticedAt.Format(time.RFC3339), l.Reason)
	}
	for i, v := range r.Lost {
		if i == maxLostPrinted {
			fmt.Fprintf(stdout, "lost: and %d more\n", len(r.Lost)-i)
			break
		}
		fmt.Fprintf(stdout, "lost %s; it becomes REFUND_DUE when it is paid\n", v)
	}
}

// sales counts the units that are reserved or sold.
func sales(r check.Report) int64 {
	units := int64(0)
	for _, s := range r.SKUs {
		units += s.LinesReserved + s.LinesConfirmed
	}
	return units
}

func (a *auditCmd) judge(r check.Report, stdout io.Writer) error {
	if n := len(r.Violations) + len(r.Unsettled) + r.Unlisted; n > 0 {
		return exit{1, fmt.Errorf("%d findings", n)}
	}
	if a.ExpectSales && sales(r) == 0 {
		return exit{3, errors.New("nothing is reserved or sold")}
	}
	if a.SKU != "" {
		fmt.Fprintf(stdout, "clean: every unit of %s is accounted for\n", a.SKU)
		return nil
	}
	fmt.Fprintln(stdout, "clean: every unit is accounted for, and no order is in flight")
	return nil
}

// countsLine formats counts as "PAID 2, PLACED 1".
func countsLine(counts map[string]int) string {
	if len(counts) == 0 {
		return "none"
	}
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", status, counts[status]))
	}
	return strings.Join(parts, ", ")
}

// messagesLine formats messages as "3 half messages undecided (oldest 2s), 0 unsent in the outbox".
func messagesLine(m check.Messages) string {
	return counted(m.Undecided, "half messages undecided", m.OldestUndecided) + ", " + counted(m.Unsent, "unsent in the outbox", m.OldestUnsent)
}

// printInDoubt prints what the coordinators of the flows tcc and xa have to end; nothing without such orders.
func printInDoubt(stdout io.Writer, r check.Report) {
	var parts []string
	for _, d := range r.InDoubt {
		parts = append(parts, counted(d.Orders, d.State, d.Oldest))
	}
	if len(parts) > 0 {
		fmt.Fprintf(stdout, "tcc: %s\n", strings.Join(parts, ", "))
	}
	for _, b := range r.Branches {
		fmt.Fprintf(stdout, "xa: %s is prepared in %s since %v, its log says %s; it locks %s\n",
			b.OrderNo, b.Side, b.Age.Round(100*time.Millisecond), cmp.Or(b.State, "nothing"), strings.Join(b.Locks, ", "))
	}
}

func counted(n int, what string, oldest time.Duration) string {
	if n == 0 {
		return "0 " + what
	}
	return fmt.Sprintf("%d %s (oldest %v)", n, what, oldest.Round(100*time.Millisecond))
}

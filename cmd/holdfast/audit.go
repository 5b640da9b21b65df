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
	"time"

	"holdfast/internal/dev/terminal"
	"holdfast/internal/lab/phrase"
	"holdfast/internal/lab/shop"
	"holdfast/internal/lab/step"
	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
)

type auditCmd struct {
	Wait        time.Duration `help:"Wait at most this long until no order or message is in flight; a violation ends the waiting." default:"60s"`
	SKU         string        `help:"Audit only this product and its orders, for instance after a load test." name:"sku"`
	ExpectSales bool          `help:"Exit with status 3 when no unit is reserved or sold, so that a load test without sales does not pass."`
	Full        bool          `help:"Prove settled history again, which earlier audits have proven. With ten million orders this takes minutes."`
	Lang        string        `help:"Language of the text: en or zh. Default: that of HOLDFAST_LANG, else of LANG. --json is always English." enum:",en,zh" default:""`
	JSON        bool          `help:"Print the report as one JSON document." name:"json"`
}

// Run repeats the audit until nothing is in flight or the waiting time ends. It prints the last report and judges it.
func (a *auditCmd) Run(ctx context.Context, c *cli, stdout io.Writer) error {
	in, err := phrase.New(a.language())
	if err != nil {
		return exit{2, err}
	}
	r, err := a.awaitRest(ctx, c.URL, in, healerAwaited(c.Dir))
	if err != nil {
		return exit{2, saidError{explain(ctx, c.Dir, fmt.Errorf("audit: %w", err)), in}}
	}
	if a.SKU != "" && len(r.SKUs) == 0 {
		return exit{2, fmt.Errorf("the ledger has no %s", a.SKU)}
	}
	if a.JSON {
		if err := printJSON(stdout, newAuditResult(r)); err != nil {
			return exit{2, err}
		}
		return a.judge(r, io.Discard, in)
	}
	printReport(stdout, r, in)
	if err := printHealing(stdout, r, c.Dir, in); err != nil {
		return exit{2, err}
	}
	return a.judge(r, stdout, in)
}

// saidError is an error whose text is said in the reader's language, as far as it is the commands' own.
type saidError struct {
	error

	in *phrase.Book
}

func (e saidError) Error() string { return e.in.Sentence(e.error.Error()) }

func (e saidError) Unwrap() error { return e.error }

// language returns the language of what is printed. Programs read --json, and get English.
func (a *auditCmd) language() string {
	if a.JSON {
		return step.Languages()[0]
	}
	return language(a.Lang)
}

// awaitRest repeats the audit until nothing is in flight, a violation is found or the waiting time ends. It returns
// the last report. If the first audit fails, it returns the error at once; later failures are retried. awaited reports
// that a healer must still act, even if nothing is in flight.
func (a *auditCmd) awaitRest(ctx context.Context, url string, in *phrase.Book, awaited func(check.Report) bool) (check.Report, error) {
	deadline := time.NewTimer(a.Wait)
	defer deadline.Stop()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	full := a.Full // once: what the first audit has proven the next ones do not prove again
	for first := true; ; first = false {
		r, err := audit(ctx, url, full, newProgress(in))
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
func newProgress(in *phrase.Book) func(orderapi.AuditJob) {
	printed := time.Now()
	return func(j orderapi.AuditJob) {
		if j.EndedAt == nil && time.Since(printed) >= progressInterval {
			printed = time.Now()
			fmt.Fprintln(os.Stderr, in.Say("audit.progress", j.ID, j.State, j.OrdersChecked))
		}
	}
}

func printReport(stdout io.Writer, r check.Report, in *phrase.Book) {
	rows := [][]string{{in.Say("audit.sku"), in.Say("audit.inbound"), in.Say("audit.available"), in.Say("audit.reserved"), in.Say("audit.sold")}}
	for _, s := range r.SKUs {
		rows = append(rows, []string{s.SKU, fmt.Sprint(s.Inbound), fmt.Sprint(s.Available), fmt.Sprint(s.Reserved), fmt.Sprint(s.Sold)})
	}
	printTable(stdout, rows, true)
	printMovement(stdout, r.Orders, r.Messages, in)
	printInDoubt(stdout, r, in)
	for _, v := range r.Violations {
		fmt.Fprintln(stdout, in.Say("audit.violation", v.Invariant, v.Subject, v.Text))
	}
	for _, v := range r.Unsettled {
		fmt.Fprintln(stdout, in.Say("audit.unsettled", v.Invariant, v.Subject, v.Text))
	}
	if r.Unlisted > 0 {
		fmt.Fprintln(stdout, in.Say("audit.unlisted", r.Unlisted))
	}
	printLosses(stdout, r, in)
}

// printTable prints rows in columns that are as wide as their widest cell, two spaces apart. Chinese characters take
// two columns of a terminal.
func printTable(stdout io.Writer, rows [][]string, right bool) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], terminal.Width(cell)+2)
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(terminal.Pad(cell, widths[i], right))
		}
		fmt.Fprintln(stdout, strings.TrimRight(line.String(), " "))
	}
}

// printMovement prints the orders by status, and the messages in flight.
func printMovement(stdout io.Writer, orders map[string]int, m check.Messages, in *phrase.Book) {
	fmt.Fprintf(stdout, "\n%s\n", in.Say("audit.orders", countsLine(orders, in)))
	fmt.Fprintln(stdout, in.Say("audit.messages", counted("audit.undecided", m.Undecided, m.OldestUndecided, in), counted("audit.unsent", m.Unsent, m.OldestUnsent, in)))
}

// maxLostPrinted is the number of lost orders that are listed.
const maxLostPrinted = 10

// printLosses prints what Redis has lost. A loss is no finding: redis-lua does not promise to prevent it.
func printLosses(stdout io.Writer, r check.Report, in *phrase.Book) {
	for _, l := range r.Losses {
		fmt.Fprintln(stdout, in.Say("audit.loss", l.Operations, l.Units, l.NoticedAt.Format(time.RFC3339), l.Reason))
	}
	for i, v := range r.Lost {
		if i == maxLostPrinted {
			fmt.Fprintln(stdout, in.Say("audit.lost.more", len(r.Lost)-i))
			break
		}
		fmt.Fprintln(stdout, in.Say("audit.lost", v.Invariant, v.Subject, v.Text))
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

func (a *auditCmd) judge(r check.Report, stdout io.Writer, in *phrase.Book) error {
	if n := len(r.Violations) + len(r.Unsettled) + r.Unlisted; n > 0 {
		return exit{1, errors.New(in.Say("audit.findings", n))}
	}
	if a.ExpectSales && sales(r) == 0 {
		return exit{3, errors.New(in.Say("audit.no-sales"))}
	}
	if a.SKU != "" {
		fmt.Fprintln(stdout, in.Say("audit.clean.sku", a.SKU))
		return nil
	}
	fmt.Fprintln(stdout, in.Say("audit.clean"))
	return nil
}

// countsLine formats counts as "PAID 2, PLACED 1".
func countsLine(counts map[string]int, in *phrase.Book) string {
	if len(counts) == 0 {
		return in.Say("audit.none")
	}
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", status, counts[status]))
	}
	return strings.Join(parts, in.Say("audit.comma"))
}

// printInDoubt prints what the coordinators of the flows tcc and xa have to end; nothing without such orders.
func printInDoubt(stdout io.Writer, r check.Report, in *phrase.Book) {
	var parts []string
	for _, d := range r.InDoubt {
		parts = append(parts, in.Say("audit.tcc.state", d.Orders, d.State, d.Oldest.Round(100*time.Millisecond)))
	}
	if len(parts) > 0 {
		fmt.Fprintln(stdout, in.Say("audit.tcc", strings.Join(parts, in.Say("audit.comma"))))
	}
	for _, b := range r.Branches {
		locks := make([]string, len(b.Locks))
		for i, l := range b.Locks {
			locks[i] = in.Sentence(l)
		}
		fmt.Fprintln(stdout, in.Say("audit.xa",
			b.OrderNo, b.Side, b.Age.Round(100*time.Millisecond), cmp.Or(b.State, in.Say("audit.xa.nothing")), strings.Join(locks, in.Say("audit.comma"))))
	}
}

// counted says a number of messages, and the age of the oldest one if there is one.
func counted(key string, n int, oldest time.Duration, in *phrase.Book) string {
	if n == 0 {
		return in.Say(key, n)
	}
	return in.Say(key+".oldest", n, oldest.Round(100*time.Millisecond))
}

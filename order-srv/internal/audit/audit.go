// Package audit checks both services' ledgers against each other, as jobs: it reads them page by page and has the
// checker judge them. Settled history is proven once and rolled up; the next audits read what came after it.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/check"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/wait"
)

const (
	page   = 1000 // orders of one page; inventory answers up to 1,000 reservations at once
	healed = 10   // of the newest healings that a report shows

	// rollUpEvery is how many pages are proven before the roll-up is written.
	rollUpEvery = 50
	// settledAge is the age below which nothing is rolled up. It is longer than an order number waits until its row is
	// inserted, and than the clocks of two replicas differ: no order appears below the cut-off.
	settledAge = time.Minute
	// proofAge is the age of the proof of all history after which an audit proves everything again.
	proofAge = 24 * time.Hour

	maxStrays  = 100             // orders that are in the queue and must not be
	maxLetters = 100             // of the messages that were given up
	letterTime = 3 * time.Second // for reading them

	readTries = 5 // of a page of reservations; a replica of inventory-srv may be restarting
	readPause = 500 * time.Millisecond
)

// Inventory is what an audit reads of inventory-srv.
type Inventory interface {
	ReservationsOf(ctx context.Context, after, to string, answered bool, limit int) (inventoryapi.ReservationPage, error)
	RollUp(ctx context.Context, r inventoryapi.RollUpRequest) (inventoryapi.RollUp, error)
	Audit(ctx context.Context) (inventoryapi.Ledger, error)
	Outbox(ctx context.Context, limit int) (inventoryapi.Outbox, error)
	Answers(ctx context.Context, orderNos []string) (refused map[string]bool, err error)
	Branches(ctx context.Context) ([]inventoryapi.Branch, error)
}

// HalfMessages is what an audit asks of the check-back.
type HalfMessages struct {
	Undecided func() (n int, oldest time.Duration)
	LateAfter time.Duration // an older one is a finding
}

// Letters lists the messages that were given up. What it returns beside an error is what it could read.
type Letters interface {
	List(ctx context.Context, limit int) ([]orderapi.DeadLetter, error)
}

// Config is what an audit reads.
type Config struct {
	Store        *store.Store
	Inventory    Inventory
	Wallet       Wallet
	HalfMessages HalfMessages
	Letters      Letters
	LateBranch   time.Duration // the age from which a prepared branch of the flow xa is a finding that does not settle
}

// run is one audit.
type run struct {
	Config
	owner      string
	everything bool
	reached    func(orders int, orderNo string) // is told the progress; called from the goroutine of the run

	started time.Time
	checker *check.Checker
	checked int
	proven  store.RollUp // what the roll-up has, and after it what was proven since
	totals  check.Totals // of proven
	horizon string       // order numbers from here on are too young to be rolled up
}

// run checks everything after the roll-up's cut-off. When what it finds can be the roll-up's fault, because something
// below the cut-off has changed, it proves everything again. What that proof finds as well is not the roll-up's fault,
// and the next audits that find the same do not read everything for it.
func (r *run) run(ctx context.Context) (check.Report, error) {
	rolled, err := r.Store.RolledUp(ctx)
	if err != nil {
		return check.Report{}, err
	}
	r.everything = r.everything || rolled.Cutoff == "" || rolled.Age > proofAge
	if !r.everything {
		report, err := r.from(ctx, rolled)
		if err != nil || !aboutSums(report) || rolled.Known != "" && differences(report) == rolled.Known {
			return report, err
		}
		r.everything = true
	}
	if err := r.restart(ctx); err != nil {
		return check.Report{}, err
	}
	report, err := r.from(ctx, store.RollUp{Totals: "{}"})
	if err != nil {
		return check.Report{}, err
	}
	return report, r.Store.SetKnown(ctx, r.owner, differences(report))
}

// differences describes by how much the sums of each SKU disagree. It stays the same while the shop sells, unless the
// disagreement changes. A finding about a SKU that the ledger does not have is described by its text.
func differences(r check.Report) string {
	var all []string
	known := map[string]bool{}
	for _, s := range r.SKUs {
		known[s.SKU] = true
		d := [...]int64{s.Inbound - s.Available - s.Reserved - s.Sold, s.Reserved - s.LinesReserved, s.Sold - s.LinesConfirmed, s.Oversold}
		if d != [len(d)]int64{} {
			all = append(all, fmt.Sprint(s.SKU, d))
		}
	}
	for _, found := range [][]check.Violation{r.Violations, r.Unsettled} {
		for _, v := range found {
			if v.Invariant <= 3 && !known[v.Subject] {
				all = append(all, v.String())
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// restart forgets the roll-ups of both services.
func (r *run) restart(ctx context.Context) error {
	if err := r.Store.SetRollUp(ctx, r.owner, store.RollUp{Totals: "{}"}, true); err != nil {
		return err
	}
	_, err := r.Inventory.RollUp(ctx, inventoryapi.RollUpRequest{Restart: true})
	return err
}

// aboutSums reports a finding about a SKU's sums, the roll-up included.
func aboutSums(r check.Report) bool {
	for _, found := range [][]check.Violation{r.Violations, r.Unsettled} {
		for _, v := range found {
			if v.Invariant <= 3 {
				return true
			}
		}
	}
	return false
}

// from checks everything after a roll-up.
func (r *run) from(ctx context.Context, rolled store.RollUp) (check.Report, error) {
	r.totals, r.proven = check.NewTotals(), rolled
	if err := json.Unmarshal([]byte(rolled.Totals), &r.totals); err != nil {
		return check.Report{}, fmt.Errorf("decode the roll-up: %w", err)
	}
	var err error
	if r.started, err = r.Store.Now(ctx); err != nil {
		return check.Report{}, err
	}
	r.checker, r.checked, r.horizon = check.New(r.started, r.totals), 0, numberAt(r.started.Add(-settledAge))
	last, err := r.messages(ctx)
	if err != nil {
		return check.Report{}, err
	}
	// An audit that ended between the two roll-ups has left inventory's behind.
	if err := r.rollUpInventory(ctx); err != nil {
		return check.Report{}, err
	}
	if err := r.pages(ctx); err != nil {
		return check.Report{}, err
	}
	if err := r.wallet(ctx, rolled.Cutoff); err != nil {
		return check.Report{}, err
	}
	if err := r.xa(ctx, rolled.Cutoff); err != nil {
		return check.Report{}, err
	}
	if last.Letters, err = r.letters(ctx); err != nil {
		return check.Report{}, err
	}
	if last.Ledger, err = r.ledger(ctx); err != nil {
		return check.Report{}, err
	}
	report := r.checker.Finish(last)
	report.Full = r.everything
	return report, nil
}

// numberAt is the lowest order number of a time.
func numberAt(t time.Time) string {
	var no ulid.ULID
	_ = no.SetTime(ulid.Timestamp(t)) // fails after the year 10889
	return no.String()
}

// messages reads what is in flight, before the orders: a message that is sent in the meantime is a finding less.
func (r *run) messages(ctx context.Context) (last check.Last, err error) {
	m := &last.Messages
	m.LateAfter = r.HalfMessages.LateAfter
	m.Undecided, m.OldestUndecided = r.HalfMessages.Undecided()
	if m.Unsent, m.OldestUnsent, err = r.unsent(ctx); err != nil {
		return last, err
	}
	if last.Strays, err = r.Store.QueueStrays(ctx, maxStrays); err != nil {
		return last, err
	}
	if last.InDoubt, err = r.inDoubt(ctx); err != nil {
		return last, err
	}
	unnotified, err := r.Store.CountNotifications(ctx)
	if err != nil {
		return last, err
	}
	last.Unnotified = check.Notifications(unnotified)
	found, err := r.Store.Healings(ctx, healed)
	for _, h := range found {
		last.Healed = append(last.Healed, check.Healing{OrderNo: h.OrderNo, Healer: string(h.Healer), Action: h.Action, At: h.HealedAt})
	}
	return last, err
}

// pages checks all pages after the roll-up, and adds pages to it as long as they are settled history.
func (r *run) pages(ctx context.Context) error {
	proving, unsaved := true, 0
	for after := r.proven.Cutoff; ; {
		p, through, err := r.read(ctx, after)
		if err != nil {
			return err
		}
		sums, settled := r.checker.Page(p)
		last := through == ""
		proving = proving && settled && !last && through < r.horizon
		if proving {
			unsaved++
			r.proven.Cutoff = through
			r.totals.Add(sums)
		}
		if unsaved == rollUpEvery || !proving && unsaved > 0 {
			unsaved = 0
			if err := r.rollUp(ctx); err != nil {
				return err
			}
		}
		after = through
		r.checked += len(p.Orders)
		r.reached(r.checked, through)
		if last {
			return nil
		}
	}
}

// rollUp records what was proven.
func (r *run) rollUp(ctx context.Context) error {
	totals, err := json.Marshal(r.totals)
	if err != nil {
		return fmt.Errorf("encode the roll-up: %w", err)
	}
	r.proven.Totals = string(totals)
	if err := r.Store.SetRollUp(ctx, r.owner, r.proven, false); err != nil {
		return err
	}
	return r.rollUpInventory(ctx)
}

// rollUpInventory has inventory roll up the reservations of the orders that were proven.
func (r *run) rollUpInventory(ctx context.Context) error {
	for {
		step, err := r.Inventory.RollUp(ctx, inventoryapi.RollUpRequest{To: r.proven.Cutoff})
		if err != nil || step.Done {
			return err
		}
	}
}

// read reads the next page of orders, and then the reservations of its range. through is the end of the range, or ""
// for the last page, whose range has no end.
func (r *run) read(ctx context.Context, after string) (p check.Page, through string, err error) {
	orders, readAt, err := r.Store.AuditPage(ctx, after, page)
	if err != nil {
		return p, "", err
	}
	p = check.Page{ReadAt: readAt, Orders: make([]check.Order, len(orders)), SameKey: map[string]check.Order{}}
	for i, o := range orders {
		p.Orders[i] = convert(o)
		if !o.Freed || o.Status == order.Rejected || o.Status == order.Abandoned {
			continue // the database keeps two orders from having one key
		}
		other, ok, err := r.Store.SameKey(ctx, o.UserID, o.Key, o.OrderNo)
		if err != nil {
			return p, "", err
		}
		if ok {
			p.SameKey[o.OrderNo] = convert(other)
		}
	}
	if len(orders) == page {
		through = orders[page-1].OrderNo
	}
	if err := r.answers(ctx, orders, p.Orders); err != nil {
		return p, "", err
	}
	p.Reservations, err = r.reservations(ctx, after, through)
	return p, through, err
}

func convert(o store.AuditedOrder) check.Order {
	return check.Order{
		OrderNo: o.OrderNo, User: o.UserID, Key: o.Key, Freed: o.Freed, Status: string(o.Status), Settled: o.Settled,
		Lines: o.Lines, ExpiresAt: o.ExpiresAt,
	}
}

// reservations reads the reservations after an order number, up to another. Young ones may have been answered by Redis
// and not be in the ledger yet.
func (r *run) reservations(ctx context.Context, after, to string) (found []check.Reservation, err error) {
	answered := to == "" || to >= r.horizon
	for {
		p, err := r.reservationPage(ctx, after, to, answered)
		if err != nil {
			return nil, err
		}
		for _, res := range p.Reservations {
			lines := make(map[string]int64, len(res.Lines))
			for _, l := range res.Lines {
				lines[l.SKU] = l.Quantity
			}
			found = append(found, check.Reservation{OrderNo: res.OrderNo, Status: res.Status, CreatedAt: res.CreatedAt, Lines: lines})
		}
		if p.After == "" {
			return found, nil
		}
		after, answered = p.After, false
	}
}

// reservationPage reads a page, and retries: an audit of a long history outlives the restart of a replica.
func (r *run) reservationPage(ctx context.Context, after, to string, answered bool) (inventoryapi.ReservationPage, error) {
	for try := 1; ; try++ {
		p, err := r.Inventory.ReservationsOf(ctx, after, to, answered, page)
		if err == nil || try == readTries {
			return p, err
		}
		if stopped := wait.Sleep(ctx, readPause); stopped != nil {
			return p, errors.Join(err, stopped)
		}
	}
}

// letters reads messages that were given up. A broker that is away must not keep the rest from being checked.
func (r *run) letters(ctx context.Context) (l check.Letters, err error) {
	reading, cancel := context.WithTimeout(ctx, letterTime)
	defer cancel()
	found, err := r.Letters.List(reading, maxLetters)
	l.Err = err
	keys := make([]string, len(found))
	for i, d := range found {
		keys[i] = d.Key
	}
	lines, err := r.Store.LinesOf(ctx, keys)
	if err != nil {
		return l, err
	}
	for _, d := range found {
		l.Found = append(l.Found, check.Letter{Source: d.Source, Topic: d.Topic, Key: d.Key, Reason: d.Reason, Lines: lines[d.Key]})
	}
	return l, nil
}

func (r *run) ledger(ctx context.Context) (check.Ledger, error) {
	l, err := r.Inventory.Audit(ctx)
	if err != nil {
		return check.Ledger{}, fmt.Errorf("inventory's ledger: %w", err)
	}
	out := check.Ledger{SKUs: make([]check.SKU, len(l.SKUs))}
	for i, e := range l.SKUs {
		out.SKUs[i] = check.SKU{
			SKU: e.SKU, Inbound: e.Inbound, Available: e.Available, Reserved: e.Reserved, Sold: e.Sold,
			LinesReserved: e.LinesReserved, LinesConfirmed: e.LinesConfirmed,
		}
	}
	for _, loss := range l.Losses {
		out.Losses = append(out.Losses, check.Loss(loss))
	}
	return out, nil
}

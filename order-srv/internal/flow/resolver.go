package flow

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/batch"
	"holdfast/pkg/crash"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
	"holdfast/pkg/wait"
)

const (
	attemptTimeout = 1500 * time.Millisecond // of one call to inventory

	// DecideTime is the part of an order's deadline that is kept for writing the outcome. Writing may end as much after
	// the deadline.
	DecideTime = 700 * time.Millisecond

	// leastAttempt must be left for an attempt. One that is cut turns "not executed" into an unknown outcome.
	leastAttempt = 150 * time.Millisecond

	firstPause = 40 * time.Millisecond // the limit of the pause after a failed attempt, doubling
	lastPause  = 320 * time.Millisecond
)

// Inventory is what the resolver needs of inventory-srv.
type Inventory interface {
	Reserve(ctx context.Context, orders []inventoryapi.ReserveOrder) ([]inventoryapi.ReserveResult, error)
}

var _ Inventory = (*inventoryapi.Client)(nil)

// Resolver decides PENDING orders. It knows no flow.
type Resolver struct {
	Store     *store.Store
	Inventory Inventory
	Pace      *batch.Pace // of groups, see NewPace
	Log       *slog.Logger
}

const (
	// MaxGroup is how many orders a group has at most.
	MaxGroup = 500

	firstGroup = 64 // the limit until inventory's pace is known

	// groupTime is how long inventory may need for a group. It is a fraction of attemptTimeout: the answers to a group
	// come together, and a call that is cut leaves all of them without one.
	groupTime = 250 * time.Millisecond
)

// NewPace returns the pace that bounds groups by what inventory reserves in time.
func NewPace() *batch.Pace { return batch.NewPace(firstGroup, MaxGroup, groupTime) }

// Resolve reserves stock for the members, in one call, and writes the outcomes in one transaction: PLACED, or REJECTED
// after a refusal or when nothing was executed. Members whose attempt did not decide them are retried together until
// their deadlines are near; the others have their answers by then. It leaves an order PENDING when an attempt may have
// been executed and no answer says so, or when the outcome cannot be written: the order's flow recovers it later.
func (r *Resolver) Resolve(ctx context.Context, group []*Member) {
	backoff := wait.Backoff{First: firstPause, Max: lastPause, Attempt: leastAttempt}
	for try := 1; ; try++ {
		if group = r.inTime(ctx, group); len(group) == 0 {
			return
		}
		if group = r.attempt(ctx, group); len(group) == 0 {
			return
		}
		pausing, cancel := context.WithDeadline(ctx, latest(group).Add(-DecideTime))
		err := backoff.Sleep(pausing, try)
		cancel()
		if err != nil {
			r.giveUp(ctx, group)
			return
		}
	}
}

// inTime returns the members that have time for another attempt and gives the others up: writing and sending took the
// time.
func (r *Resolver) inTime(ctx context.Context, group []*Member) []*Member {
	var late, here []*Member
	for _, m := range group {
		if time.Until(m.reserveEnd()) < leastAttempt {
			if m.last == nil { // else an attempt has failed, and that says more than the time
				m.last = fault.ErrTimeout.NotExecuted()
			}
			late = append(late, m)
			continue
		}
		here = append(here, m)
	}
	r.giveUp(ctx, late)
	return here
}

// giveUp ends members that no attempt decides. Those for which nothing was executed are rejected, unless they are
// queued and a later attempt may decide them. The others stay PENDING.
func (r *Resolver) giveUp(ctx context.Context, group []*Member) {
	var decided []decision
	for _, m := range group {
		if m.maybe || m.queued && (passing(m.last) || fault.KindOf(m.last) == fault.Limited) {
			r.Log.WarnContext(ctx, "order stays pending, no attempt to reserve has decided it", "order_no", m.OrderNo, "may_be_reserved", m.maybe, "err", m.last)
			m.leave()
			continue
		}
		err := notExecuted(m.last)
		decided = append(decided, decision{m: m, rejection: &store.Rejection{Refusal: err, FreeKey: true, GiveBack: m.held}, failure: err})
	}
	r.write(ctx, decided)
}

// unsent rejects orders whose message could not be sent, so that their keys are free. maybe: a consumer may have got
// the message all the same, and may reserve. An order that cannot be rejected stays PENDING until its flow recovers it.
func (r *Resolver) unsent(ctx context.Context, group []*Member, cause error, maybe bool) {
	refusal := order.ErrBrokerUnavailable.Wrap(cause)
	decided := make([]decision, len(group))
	for i, m := range group {
		rejection := &store.Rejection{Refusal: refusal, FreeKey: true, GiveBack: maybe}
		decided[i] = decision{m: m, rejection: rejection, failure: refusal, unwritten: Result{Err: refusal}}
	}
	r.write(ctx, decided)
}

// attempt calls inventory for the members, writes the outcomes of those that are decided, and returns those for which a
// retry may be answered otherwise.
func (r *Resolver) attempt(ctx context.Context, group []*Member) (again []*Member) {
	results, err := r.reserve(ctx, group)
	if len(group) > 1 && definite(err) {
		// The call was refused and not its orders: what is wrong with one of them must not end the others.
		for _, m := range group {
			again = append(again, r.attempt(ctx, []*Member{m})...)
		}
		return again
	}
	receipts, failures := make([]*inventoryapi.Receipt, len(group)), make([]error, len(group))
	for i, m := range group {
		receipts[i], failures[i] = outcome(results, i, m, err)
	}
	r.try(ctx, group, receipts, failures)
	var decided []decision
	var over []*Member
	for i, m := range group {
		err := failures[i]
		switch {
		case err == nil:
			decided = append(decided, decision{m: m, placement: placement(receipts[i], m.window)})
			continue
		case definite(err) || m.held && m.participant.Refused(err):
			shortage := errors.Is(err, inventoryapi.ErrOutOfStock)
			decided = append(decided, decision{m: m, rejection: &store.Rejection{Refusal: err, GiveBack: m.maybe || m.held, Shortage: shortage}})
			continue
		}
		m.maybe, m.last = m.maybe || fault.Ambiguous(err), err
		// While an attempt may have been executed only another one can decide the order.
		if passing(err) || m.maybe && fault.KindOf(err) == fault.Limited {
			again = append(again, m)
		} else {
			over = append(over, m)
		}
	}
	r.write(ctx, decided)
	r.giveUp(ctx, over)
	return again
}

// reserve calls inventory once. A member whose time ends during the call is answered that its order is PENDING, and
// gets its outcome from the call all the same.
func (r *Resolver) reserve(ctx context.Context, group []*Member) ([]inventoryapi.ReserveResult, error) {
	end := time.Now().Add(attemptTimeout)
	if last := latest(group).Add(-DecideTime); last.Before(end) {
		end = last
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	asked := make([]inventoryapi.ReserveOrder, len(group))
	for i, m := range group {
		asked[i] = reserveOrder(m.Order)
		if m.reserveEnd().Before(end) {
			early := time.AfterFunc(time.Until(m.reserveEnd()), m.leave)
			defer early.Stop()
		}
	}
	begin := time.Now()
	results, err := r.Inventory.Reserve(ctx, asked)
	r.Pace.Note(len(group), time.Since(begin))
	if err == nil && len(results) != len(group) {
		err = errOtherOrders
	}
	return results, err
}

// reserveOrder is an order as inventory is asked for it.
func reserveOrder(o order.Order) inventoryapi.ReserveOrder {
	asked := inventoryapi.ReserveOrder{OrderNo: o.OrderNo, Strategy: o.Strategy, Lines: make([]inventoryapi.Line, len(o.Items))}
	for i, it := range o.Items {
		asked.Lines[i] = inventoryapi.Line{SKU: it.SKU, Quantity: it.Quantity}
	}
	return asked
}

var errOtherOrders = errors.New("inventory answered about other orders")

// outcome is the receipt of the i-th order of a call, or why it has none.
func outcome(results []inventoryapi.ReserveResult, i int, m *Member, err error) (*inventoryapi.Receipt, error) {
	switch {
	case err != nil:
		return nil, err
	case results[i].OrderNo != m.OrderNo:
		return nil, errOtherOrders
	case results[i].Problem != nil:
		return nil, results[i].Problem.Fault()
	case results[i].Receipt == nil:
		return nil, errors.New("inventory answered with neither a receipt nor a problem")
	}
	return results[i].Receipt, nil
}

func placement(receipt *inventoryapi.Receipt, window time.Duration) *store.Placement {
	p := &store.Placement{Strategy: receipt.Strategy, Window: window, Items: make([]order.Item, len(receipt.Lines))}
	for i, l := range receipt.Lines {
		p.Items[i] = order.Item{SKU: l.SKU, Title: l.Title, Quantity: l.Quantity, UnitPriceCents: l.UnitPriceCents}
	}
	return p
}

// decision is how a member is to end, and what its caller gets.
type decision struct {
	m         *Member
	placement *store.Placement
	rejection *store.Rejection
	failure   error  // with a rejection that has no answer
	unwritten Result // when the outcome cannot be written; zero: the order is PENDING
}

// resolving gives the last step the time until DecideTime after the latest deadline, but at least 2*DecideTime.
// The units may be taken by now, and an outcome that is not written leaves the order PENDING.
func resolving(ctx context.Context, decided []decision) (context.Context, context.CancelFunc) {
	end := time.Now().Add(2 * DecideTime)
	for _, d := range decided {
		if t := d.m.Deadline.Add(DecideTime); t.After(end) {
			end = t
		}
	}
	return context.WithDeadline(context.WithoutCancel(ctx), end)
}

// write writes the outcomes and answers the members. An order whose row another transaction holds delays only the
// orders like it.
func (r *Resolver) write(ctx context.Context, decided []decision) {
	if len(decided) == 0 {
		return
	}
	ctx, cancel := resolving(ctx, decided)
	defer cancel()
	if locked := r.resolve(ctx, decided, len(decided) > 1); len(locked) > 0 {
		r.resolve(ctx, locked, false)
	}
}

// resolve writes outcomes in one transaction, and with skipLocked returns those that it left out. When the server
// refuses a value, each outcome gets a transaction of its own.
func (r *Resolver) resolve(ctx context.Context, decided []decision, skipLocked bool) (locked []decision) {
	steps := make([]store.Decision, len(decided))
	reserved := 0
	for i, d := range decided {
		if d.rejection != nil && d.m.bare {
			d.rejection.Items = d.m.Items
		}
		steps[i] = store.Decision{OrderNo: d.m.OrderNo, RequestID: d.m.RequestID, Placement: d.placement, Rejection: d.rejection}
		if d.placement != nil {
			reserved++
		}
	}
	atReserved(reserved)
	resolved, err := r.Store.Resolve(ctx, steps, skipLocked)
	if database.IsData(err) && len(decided) > 1 {
		for i := range decided {
			r.resolve(ctx, decided[i:i+1], false)
		}
		return nil
	}
	atWritten(resolved)
	for i, d := range decided {
		switch {
		case err != nil:
			r.unresolved(ctx, d, err)
		case resolved[i].Locked:
			locked = append(locked, d)
		case resolved[i].Err != nil:
			r.unresolved(ctx, d, resolved[i].Err)
		default:
			d.m.end(Result{Order: resolved[i].Order, Err: d.failure})
		}
	}
	return locked
}

// atReserved is the crash point after inventory has reserved for so many orders.
func atReserved(n int) {
	if n > 0 {
		crash.AtGroup(crash.OrderReserved, n)
	}
}

// atWritten has the crash points after the outcomes are committed.
func atWritten(resolved []store.Resolved) {
	written := map[order.Status]int{}
	for _, o := range resolved {
		written[o.Order.Status]++
	}
	if n := written[order.Placed]; n > 0 {
		crash.AtGroup(crash.OrderPlaced, n)
	}
	if n := written[order.Rejected]; n > 0 {
		crash.AtGroup(crash.OrderRejected, n)
	}
}

// unresolved is an outcome that could not be written. Either the order was ended before, which is definite; or the row
// is PENDING, or its status is unknown.
func (r *Resolver) unresolved(ctx context.Context, d decision, err error) {
	if errors.Is(err, order.ErrNotPending) {
		d.m.end(Result{Err: order.ErrNotPending.With("order_no", d.m.OrderNo)})
		return
	}
	r.Log.WarnContext(ctx, "outcome not written, the order is recovered later", "order_no", d.m.OrderNo, "err", err)
	if d.unwritten.Err != nil {
		d.m.Answer(d.unwritten)
		return
	}
	d.m.leave()
}

// definite reports whether a refusal is inventory's last word. Any other failure is retried.
func definite(err error) bool {
	if fault.Ambiguous(err) {
		return false
	}
	for _, refusal := range []error{
		inventoryapi.ErrOutOfStock, inventoryapi.ErrUnknownSKU, inventoryapi.ErrInvalidLines, inventoryapi.ErrMismatch, inventoryapi.ErrClosed,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return fault.KindOf(err) == fault.Invalid
}

// passing reports whether a retry may be answered otherwise. A refusal for overload is not retried: a retry adds to the
// load.
func passing(err error) bool {
	switch fault.KindOf(err) {
	case fault.Contended, fault.Unavailable, fault.Timeout, fault.Internal:
		return true
	}
	return fault.Ambiguous(err)
}

// notExecuted is the fault of an order whose reserve was not executed. A deadline that passed in a queue becomes
// contended: contended says that a retry may succeed, and a timeout would not.
func notExecuted(err error) error {
	switch f := fault.From(err); f.Kind {
	case fault.Timeout, fault.Contended:
		return inventoryapi.ErrContended.Wrap(err)
	default:
		return f.NotExecuted()
	}
}

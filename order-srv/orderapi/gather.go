package orderapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"holdfast/pkg/batch"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest"
	"holdfast/pkg/telemetry"
)

const (
	// gatherCalls is how many calls with gathered orders are under way. Each replica of order-srv makes one group of the
	// orders of all calls that wait there. What waits here is in no group, so these are more than the two calls that keep
	// a replica busy.
	gatherCalls = 16

	// gatherOverlap is how long a call is one of these. One that takes longer has an order that waits for something else,
	// such as a row lock. Calls are bounded all the same: each has an order of a caller that waits.
	gatherOverlap = 100 * time.Millisecond

	// A call has as many orders and bytes as gatherOrders orders of bytesPerOrder: a larger order counts as several.
	gatherOrders  = 256
	bytesPerOrder = 1 << 10
)

// Gatherer places the orders of many users. Those that come while calls are under way share the next call, so that a
// busy gateway pays for a request and its answer once for many orders. It waits for no more orders: a lone one is sent
// at once, and without a batch.
//
// Each order keeps its user, its request id, its deadline and its answer. A caller that gives up does not disturb the
// others.
type Gatherer struct {
	client  *Client
	timeout time.Duration
	calls   *batch.Batcher[*gathered, Order]
}

// gathered is an order in a call.
type gathered struct {
	userID, role, requestID string
	deadline                time.Time
	request                 PlaceRequest

	refused error // by the address that was called last, which is unavailable and has not executed the order
}

type (
	gatheredBatch = batch.Batch[*gathered, Order]
	gatheredCall  = batch.Call[*gathered, Order]
)

// NewGatherer returns a gatherer of orders whose requests take no longer than timeout. Close it before the client's
// connections. opts, such as an observer of the calls, come after the gatherer's own.
func NewGatherer(c *Client, timeout time.Duration, opts ...batch.Option) *Gatherer {
	g := &Gatherer{client: c, timeout: timeout}
	own := []batch.Option{
		batch.WithFlushes(gatherCalls), batch.WithOverlap(gatherOverlap), batch.WithMaxWeight(gatherOrders), batch.WithTimeout(timeout),
	}
	g.calls = batch.New(g.send, append(own, opts...)...)
	return g
}

// Close returns when the last calls have ended. Place fails from then on.
func (g *Gatherer) Close() error { return g.calls.Close() }

// Place is [Session.Place] for the user, in a call with other orders. It has the same faults. An order that was not
// sent before its deadline was not executed; one whose call has begun may have been.
func (g *Gatherer) Place(ctx context.Context, userID, role string, r PlaceRequest) (o Order, placed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	one := &gathered{userID: userID, role: role, requestID: telemetry.RequestID(ctx), deadline: deadline, request: r}
	o, err = g.calls.Do(ctx, one, one.weight())
	if err != nil {
		sent := !errors.Is(err, batch.ErrWithdrawn) && !errors.Is(err, batch.ErrClosed)
		return Order{}, false, g.client.rest.Unanswered(err, sent)
	}
	return o, o.Status != StatusPending, nil
}

// weight is what an order takes of a call.
func (one *gathered) weight() int {
	const names = 160 // of the fields, at most
	size := names + len(one.userID) + len(one.role) + len(one.requestID) + len(one.request.IdempotencyKey)
	for _, it := range one.request.Items {
		size += len(it.SKU) + len(`{"sku":"","quantity":10000},`)
	}
	return 1 + size/bytesPerOrder
}

// send is the flush. A replica that refuses the call and not its orders, as one of an earlier version that does not
// know the route, gets the orders one by one.
func (g *Gatherer) send(ctx context.Context, b *gatheredBatch) {
	calls := b.Calls()
	if len(calls) == 1 {
		g.sendAlone(ctx, b, calls[0])
		return
	}
	var end time.Time
	for _, c := range calls {
		if c.Item.deadline.After(end) {
			end = c.Item.deadline
		}
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	p := &parts{client: g.client.rest, batch: b, left: slices.Clone(calls)}
	err := g.client.rest.DoParts(ctx, http.MethodPost, "/v1/orders/batch", p)
	left := p.unanswered()
	if len(left) == 0 {
		return
	}
	if refusesCall(err) {
		var running sync.WaitGroup
		for _, c := range left {
			running.Go(func() { g.sendAlone(ctx, b, c) })
		}
		running.Wait()
		return
	}
	for _, c := range left {
		if c.Item.refused != nil {
			b.Deliver(c, Order{}, c.Item.refused)
			continue
		}
		b.Deliver(c, Order{}, err)
	}
}

// sendAlone sends an order as [Session.Place] does.
func (g *Gatherer) sendAlone(ctx context.Context, b *gatheredBatch, c *gatheredCall) {
	ctx, cancel := context.WithDeadline(telemetry.WithRequestID(ctx, c.Item.requestID), c.Item.deadline)
	defer cancel()
	o, _, err := g.client.As(c.Item.userID, c.Item.role).Place(ctx, c.Item.request)
	b.Deliver(c, o, err)
}

// refusesCall reports whether a fault of a call says what is wrong with the call. Nothing was executed then.
func refusesCall(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.TooLarge, fault.NotFound:
		return !fault.Ambiguous(err)
	}
	return false
}

// parts are the orders of a call.
type parts struct {
	client *rest.Client
	batch  *gatheredBatch
	sent   []*gatheredCall // of the last request; nil: it was answered, or is left
	left   []*gatheredCall // for the next address
}

var _ rest.Parts = (*parts)(nil)

// unanswered returns the orders that have no answer.
func (p *parts) unanswered() []*gatheredCall {
	for _, c := range p.sent {
		if c != nil {
			p.left = append(p.left, c)
		}
	}
	p.sent = nil
	return p.left
}

// Request implements rest.Parts.
func (p *parts) Request() any {
	p.sent, p.left = p.unanswered(), nil
	out := PlaceBatch{Orders: make([]BatchOrder, len(p.sent))}
	for i, c := range p.sent {
		one := c.Item
		one.refused = nil
		out.Orders[i] = BatchOrder{
			UserID: one.userID, Role: one.role, RequestID: one.requestID, DeadlineMS: rest.ForService(one.deadline).Milliseconds(), Order: one.request,
		}
	}
	return out
}

// Line implements rest.Parts. A line that names another user than the order's is not taken for its answer: no user sees
// what another one has ordered, also if order-srv confuses them.
func (p *parts) Line(line []byte) error {
	var a BatchAnswer
	if err := a.ParseLine(line); err != nil {
		return err
	}
	if a.Order < 0 || a.Order >= len(p.sent) || p.sent[a.Order] == nil || p.sent[a.Order].Item.userID != a.UserID {
		return fmt.Errorf("%w: order %d of %d", errNoAnswer, a.Order, len(p.sent))
	}
	c := p.sent[a.Order]
	p.sent[a.Order] = nil
	o, err := a.decode()
	if err != nil {
		err = p.client.Unanswered(err, true) // a broken answer; a fault stays as it is
	}
	if f := fault.From(err); f != nil && f.Kind == fault.Unavailable && !f.Ambiguous {
		c.Item.refused = f
		p.left = append(p.left, c)
		return nil
	}
	p.batch.Deliver(c, o, err)
	return nil
}

// Ended implements rest.Parts.
func (p *parts) Ended(err error) error {
	for _, c := range p.sent {
		if c != nil {
			p.batch.Deliver(c, Order{}, err)
		}
	}
	p.sent = nil
	if len(p.left) == 0 {
		return nil
	}
	return p.left[0].Item.refused
}

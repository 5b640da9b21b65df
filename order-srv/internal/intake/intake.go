// Package intake takes requests for orders: it writes each order once, answers repeats, and renders the answers.
package intake

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/intake/shortage"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/batch"
	"holdfast/pkg/crash"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
	"holdfast/pkg/telemetry"
)

const (
	// defaultOverlap is how long a group keeps the next one waiting. A group that takes longer waits for something that is
	// not this service's work, such as a lock or a retry.
	defaultOverlap = 100 * time.Millisecond

	// linger is how long a group waits for the buyers of the last one at most, see batch.WithLinger. Of the 11 ms that a
	// group of 30 orders takes, 10 are the same for one.
	linger = 25 * time.Millisecond

	// A group may have as many lines and bytes as MaxGroup orders of these: more of an order count as several orders.
	linesPerOrder = 4
	bytesPerOrder = 1 << 10
)

// Config is what an [Intake] needs.
type Config struct {
	Store         *store.Store
	GroupLimit    func() int // how many orders a group may have
	Flows         *flow.Set
	Shortages     *shortage.Memory
	Remembered    prometheus.Counter // counts the orders that the memory of shortages refuses
	Timeout       time.Duration      // of a request
	PaymentWindow time.Duration      // from the insert of an order until it expires
	Overlap       time.Duration      // how long a group keeps the next one waiting; default 100 ms
}

// Intake takes requests for orders and has their flow decide them, those of one flow that arrive at the same time in
// groups.
type Intake struct {
	Config
	groups map[string]*batch.Batcher[*request, orderapi.Reply] // by flow
}

// New returns an intake. Close it.
func New(c Config) *Intake {
	i := &Intake{Config: c, groups: map[string]*batch.Batcher[*request, orderapi.Reply]{}}
	for name, f := range c.Flows.All() {
		i.groups[name] = i.newGroups(f)
	}
	return i
}

// Close returns when the last orders are decided. Place fails from then on.
func (i *Intake) Close() error {
	var err error
	for _, g := range i.groups {
		err = errors.Join(err, g.Close())
	}
	return err
}

// Place answers a request for an order. A repeat of it gets the stored answer, or 202 while the order is PENDING;
// order.ErrIdempotency when the key was used for another payload. A request whose key belonged to an order that was
// abandoned places a new order. order.ErrNotPending when the order was abandoned while it was being placed.
//
// An order of more than inventory has just said to be available is refused with inventoryapi.ErrOutOfStock and is not
// inserted: its key stays unused, and nothing is stored. So is an order that its flow does not admit, with
// admit.ErrOverloaded. order.ErrUnknownFlow when the request names a flow that there is not.
//
// Once the order's group has begun, the cancellation of ctx has no effect, only its deadline: the order is decided
// although the caller has hung up. Until then a caller that gives up leaves nothing behind.
func (i *Intake) Place(ctx context.Context, userID string, r orderapi.PlaceRequest) (orderapi.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, i.Timeout)
	defer cancel()
	name, f, err := i.Flows.Choose(r.Flow)
	if err != nil {
		return orderapi.Reply{}, err
	}
	o := newOrder(userID, r, name)
	o.RequestID = telemetry.RequestID(ctx)
	if refusal := i.shortage(o); refusal != nil {
		return i.refuse(ctx, o, refusal, i.Remembered.Inc)
	}
	settle, refusal := f.Admit()
	if refusal != nil {
		return i.refuse(ctx, o, refusal, func() {})
	}
	return i.inGroup(ctx, o, settle)
}

// shortage is the refusal of an order that exceeds what inventory has just said to be available; nil: inventory is
// called. An order that names a strategy always reaches inventory: its caller wants to see what the strategy does.
func (i *Intake) shortage(o order.Order) error {
	if o.Strategy != "" {
		return nil
	}
	return i.Shortages.Refuse(o.Items)
}

// refuse answers an order that is short or not admitted, without inserting it, and has it counted: a key that was used
// before gets its own answer.
func (i *Intake) refuse(ctx context.Context, o order.Order, refusal error, count func()) (orderapi.Reply, error) {
	known, err := i.Store.ByKey(ctx, o.UserID, o.IdempotencyKey)
	switch {
	case errors.Is(err, order.ErrNotFound) || err == nil && known.Status == order.Abandoned:
		count()
		return orderapi.Reply{}, refusal
	case err != nil:
		return orderapi.Reply{}, fmt.Errorf("look for an earlier order with the key: %w", err)
	}
	return repeat(known, o)
}

// repeat answers a request whose key belongs to a known order.
func repeat(known, o order.Order) (orderapi.Reply, error) {
	if !o.Repeats(known) {
		return orderapi.Reply{}, order.ErrIdempotency
	}
	return reply(known)
}

// reply is the answer about an order: the stored one, or that it is PENDING.
func reply(o order.Order) (orderapi.Reply, error) {
	switch {
	case o.ResponseStatus == http.StatusCreated && o.ResponseBody == nil:
		return orderapi.Placed(o.WhenPlaced())
	case o.ResponseStatus != 0:
		return orderapi.Reply{OrderNo: o.OrderNo, Status: o.ResponseStatus, Body: o.ResponseBody}, nil
	case o.Status == order.Pending:
		return orderapi.Pending(o)
	}
	// An order that has ended has a stored answer or has freed its key. A 2xx would promise an order that holds nothing.
	return orderapi.Reply{}, order.ErrNotPending.With("order_no", o.OrderNo)
}

func newOrder(userID string, r orderapi.PlaceRequest, flowName string) order.Order {
	o := order.Order{UserID: userID, IdempotencyKey: r.IdempotencyKey, Status: order.Pending, Flow: flowName, Strategy: r.Strategy}
	for _, it := range r.Items {
		o.Items = append(o.Items, order.Item{SKU: it.SKU, Quantity: it.Quantity})
	}
	slices.SortFunc(o.Items, func(a, b order.Item) int { return strings.Compare(a.SKU, b.SKU) })
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", o.Strategy)
	for _, it := range o.Items {
		fmt.Fprintf(h, "%s %d\n", it.SKU, it.Quantity)
	}
	// Only the flow that was asked for: a repeat is the same request also after ORDER_FLOW was changed, and a request that
	// names none has the hash that earlier versions stored. No SKU is lower case, so no line of an item is equal.
	if r.Flow != "" {
		fmt.Fprintf(h, "flow %s\n", r.Flow)
	}
	o.RequestHash = hex.EncodeToString(h.Sum(nil))
	return o
}

// request is an order with its caller.
type request struct {
	caller   flow.Caller
	order    order.Order
	settle   func(inserted bool)         // of its flow's Admit
	inserted atomic.Pointer[order.Order] // nil until it is inserted
}

// Queued returns how many orders wait for their group.
func (i *Intake) Queued() int {
	n := 0
	for _, g := range i.groups {
		n += g.Queued()
	}
	return n
}

// newGroups gathers the orders of one flow: the store inserts, and a flow places, orders that are all of that flow.
func (i *Intake) newGroups(f flow.Flow) *batch.Batcher[*request, orderapi.Reply] {
	place := func(ctx context.Context, b *batch.Batch[*request, orderapi.Reply]) { i.place(ctx, f, b) }
	return batch.New(place,
		batch.WithMaxWeight(flow.MaxGroup), batch.WithLimit(i.GroupLimit), batch.WithOverlap(cmp.Or(i.Overlap, defaultOverlap)), batch.WithLinger(linger),
		// A group decides its orders until a moment after its latest deadline.
		batch.WithTimeout(i.Timeout+2*flow.DecideTime), batch.WithPatience(2*flow.DecideTime))
}

// weight is what an order takes of its group.
func weight(o order.Order) int {
	size := len(o.UserID) + len(o.IdempotencyKey)
	for _, it := range o.Items {
		size += len(it.SKU)
	}
	return max(1, len(o.Items)/linesPerOrder, size/bytesPerOrder)
}

// inGroup has the order placed in a group. The caller leaves the queue when its deadline is so near that nothing could
// be reserved, and waits for the outcome of a group that has begun until a moment after its deadline.
func (i *Intake) inGroup(ctx context.Context, o order.Order, settle func(inserted bool)) (orderapi.Reply, error) {
	end, _ := ctx.Deadline() // Place has set one
	waiting, cancel := context.WithDeadline(ctx, end.Add(-flow.DecideTime))
	defer cancel()
	r := &request{caller: flow.CallerOf(ctx), order: o, settle: settle}
	answer, err := i.groups[o.Flow].Do(waiting, r, weight(o))
	if errors.Is(err, batch.ErrWithdrawn) || errors.Is(err, batch.ErrClosed) {
		settle(false) // it was in no group
	}
	switch {
	case errors.Is(err, batch.ErrUnanswered) && r.inserted.Load() != nil:
		return orderapi.Pending(*r.inserted.Load())
	case errors.Is(err, batch.ErrWithdrawn) && ctx.Err() == nil: // a timeout would not say that a retry may succeed
		return answer, inventoryapi.ErrContended.Wrap(err)
	case errors.Is(err, batch.ErrWithdrawn):
		return answer, fault.From(ctx.Err()).NotExecuted()
	case errors.Is(err, batch.ErrClosed):
		return answer, errStopping.Wrap(err)
	}
	return answer, err
}

// errStopping is an order that comes while the process ends.
var errStopping = fault.New(fault.Unavailable, "stopping", "the service is stopping; nothing was ordered").NotExecuted()

// place is the flush: it inserts the orders of a group and has the flow decide the new ones. Each caller gets its
// answer as soon as there is one.
func (i *Intake) place(ctx context.Context, f flow.Flow, b *batch.Batch[*request, orderapi.Reply]) {
	calls := b.Calls()
	orders := make([]order.Order, len(calls))
	end := time.Time{}
	for n, c := range calls {
		orders[n] = c.Item.order
		if t := c.Item.caller.Deadline; t.After(end) {
			end = t
		}
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	ctx = telemetry.WithRequestID(ctx, calls[0].Item.order.RequestID) // for what concerns the whole group
	inserted, err := i.insert(ctx, calls, orders)
	var group []*flow.Member
	for n, c := range calls {
		o := orders[n]
		switch {
		case err != nil:
			c.Answer(orderapi.Reply{}, fmt.Errorf("insert the order: %w", err))
		case inserted[n].New():
			o = inserted[n].Order
			m := flow.NewMember(o, c.Item.caller, func(r flow.Result) { deliver(f, b, c, r) })
			group = append(group, m)
			o = stored(f, o)
			c.Item.inserted.Store(&o)
			c.Answer(orderapi.Pending(o)) // unless the flow has answered when it returns
		case inserted[n].Err != nil:
			c.Answer(orderapi.Reply{}, fmt.Errorf("insert the order: %w", inserted[n].Err))
		default:
			known, err := repeat(inserted[n].Order, o)
			b.Deliver(c, known, err)
		}
	}
	if len(group) > 0 {
		crash.AtGroup(crash.OrderPending, len(group))
		f.Place(ctx, group)
	}
}

// stored is a PENDING order as it is stored, so that the first answer about it is the one that a repeat gets.
func stored(f flow.Flow, o order.Order) order.Order {
	if f.ItemsLater() {
		o.Items = nil
	}
	return o
}

func deliver(f flow.Flow, b *batch.Batch[*request, orderapi.Reply], c *batch.Call[*request, orderapi.Reply], r flow.Result) {
	if r.Err != nil {
		b.Deliver(c, orderapi.Reply{}, r.Err)
		return
	}
	o := r.Order
	if o.Status == order.Pending {
		o = stored(f, o)
	}
	answer, err := reply(o)
	b.Deliver(c, answer, err)
}

// insert inserts the orders, and settles what their flow has let in: an error does not say that an order was not
// inserted.
func (i *Intake) insert(ctx context.Context, calls []*batch.Call[*request, orderapi.Reply], orders []order.Order) (inserted []store.Inserted, err error) {
	defer func() { // also when the insert panics
		for n, c := range calls {
			known := err == nil && n < len(inserted) && inserted[n].Known
			c.Item.settle(!known)
		}
	}()
	return i.insertEach(ctx, orders)
}

// insertEach inserts the orders, each in a transaction of its own when the server refuses a value.
func (i *Intake) insertEach(ctx context.Context, orders []order.Order) ([]store.Inserted, error) {
	inserted, err := i.Store.Insert(ctx, orders, i.PaymentWindow)
	if !database.IsData(err) || len(orders) == 1 {
		return inserted, err
	}
	inserted = make([]store.Inserted, len(orders))
	for n := range orders {
		one, err := i.Store.Insert(ctx, orders[n:n+1], i.PaymentWindow)
		if err != nil {
			one = []store.Inserted{{Err: err}}
		}
		inserted[n] = one[0]
	}
	return inserted, nil
}

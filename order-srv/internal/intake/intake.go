// Package intake takes requests for orders: it writes each order once, answers repeats, and renders the answers.
package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/intake/shortage"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
)

// Config is what an [Intake] needs.
type Config struct {
	Store      *store.Store
	Flows      *flow.Set
	Shortages  *shortage.Memory
	Remembered prometheus.Counter // counts the orders that the memory of shortages refuses
	Timeout    time.Duration      // of a request
}

// Intake takes requests for orders and has the current flow decide them.
type Intake struct{ Config }

// New returns an intake.
func New(c Config) *Intake { return &Intake{c} }

// Place answers a request for an order. A repeat of it gets the stored answer, or 202 while the order is PENDING;
// order.ErrIdempotency when the key was used for another payload. A request whose key belonged to an order that was
// abandoned places a new order. order.ErrNotPending when the order was abandoned while it was being placed.
//
// An order of more than inventory has just said to be available is refused with inventoryapi.ErrOutOfStock and is not
// inserted: its key stays unused, and nothing is stored.
//
// Once the order's row is inserted, the cancellation of ctx has no effect, only its deadline: the order is decided
// although the caller has hung up, and Place returns when it is.
func (i *Intake) Place(ctx context.Context, userID string, r orderapi.PlaceRequest) (orderapi.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, i.Timeout)
	defer cancel()
	name, f := i.Flows.Current()
	o := newOrder(userID, r, name)
	if refusal := i.shortage(o); refusal != nil {
		return i.refuse(ctx, o, refusal)
	}
	known, inserted, err := i.Store.Insert(ctx, o)
	if err != nil {
		return orderapi.Reply{}, fmt.Errorf("insert the order: %w", err)
	}
	if !inserted {
		return repeat(known, o)
	}
	ctx, cancel = untilDecided(ctx)
	defer cancel()
	result := f.Place(ctx, []order.Order{o})[0]
	if result.Err != nil {
		return orderapi.Reply{}, result.Err
	}
	return reply(result.Order)
}

// shortage is the refusal of an order that exceeds what inventory has just said to be available; nil: inventory is
// called. An order that names a strategy always reaches inventory: its caller wants to see what the strategy does.
func (i *Intake) shortage(o order.Order) error {
	if o.Strategy != "" {
		return nil
	}
	return i.Shortages.Refuse(o.Items)
}

// refuse answers an order that is short, without inserting it: a key that was used before gets its own answer.
func (i *Intake) refuse(ctx context.Context, o order.Order, refusal error) (orderapi.Reply, error) {
	known, err := i.Store.ByKey(ctx, o.UserID, o.IdempotencyKey)
	switch {
	case errors.Is(err, order.ErrNotFound) || err == nil && known.Status == order.Abandoned:
		i.Remembered.Inc()
		return orderapi.Reply{}, refusal
	case err != nil:
		return orderapi.Reply{}, fmt.Errorf("look for an earlier order with the key: %w", err)
	}
	return repeat(known, o)
}

// repeat answers a request whose key belongs to a known order.
func repeat(known, o order.Order) (orderapi.Reply, error) {
	if known.RequestHash != o.RequestHash {
		return orderapi.Reply{}, order.ErrIdempotency
	}
	return reply(known)
}

// reply is the answer about an order: the stored one, or that it is PENDING.
func reply(o order.Order) (orderapi.Reply, error) {
	switch {
	case o.ResponseStatus != 0:
		return orderapi.Reply{OrderNo: o.OrderNo, Status: o.ResponseStatus, Body: o.ResponseBody}, nil
	case o.Status == order.Pending:
		return orderapi.Pending(o)
	}
	// An order that has ended has a stored answer or has freed its key. A 2xx would promise an order that holds nothing.
	return orderapi.Reply{}, order.ErrNotPending.With("order_no", o.OrderNo)
}

// untilDecided keeps ctx's deadline and drops its cancellation. The order's row exists: a caller that hangs up does not
// cancel the decision, which would leave the order PENDING with units that may be reserved.
func untilDecided(ctx context.Context) (context.Context, context.CancelFunc) {
	end, _ := ctx.Deadline() // Place has set one
	return context.WithDeadline(context.WithoutCancel(ctx), end)
}

func newOrder(userID string, r orderapi.PlaceRequest, flowName string) order.Order {
	no := ulid.Make().String()
	o := order.Order{
		OrderNo: no, GroupID: no, UserID: userID, IdempotencyKey: r.IdempotencyKey,
		Status: order.Pending, Flow: flowName, Strategy: r.Strategy, CreatedAt: time.Now().UTC(),
	}
	for _, it := range r.Items {
		o.Items = append(o.Items, order.Item{SKU: it.SKU, Quantity: it.Quantity})
	}
	slices.SortFunc(o.Items, func(a, b order.Item) int { return strings.Compare(a.SKU, b.SKU) })
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", o.Strategy)
	for _, it := range o.Items {
		fmt.Fprintf(h, "%s %d\n", it.SKU, it.Quantity)
	}
	o.RequestHash = hex.EncodeToString(h.Sum(nil))
	return o
}

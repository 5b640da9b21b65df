// Package flow holds the ways in which an order gets its stock. Each is one file and one line in the list below.
package flow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/shortage"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

// Flow gets an order its stock.
type Flow interface {
	// Place decides the order, which is written as PENDING, within ctx. It returns the answer to give. Errors are faults;
	// an order whose fate is open is no error but an answer of status 202.
	Place(ctx context.Context, o order.Order) (Reply, error)
}

// Reply is an answer as it is stored and repeated.
type Reply struct {
	OrderNo string
	Status  int
	Body    []byte
}

// Inventory is what flows need of inventory-srv.
type Inventory interface {
	Reserve(ctx context.Context, orders []inventoryapi.ReserveOrder) ([]inventoryapi.ReserveResult, error)
}

var _ Inventory = (*inventoryapi.Client)(nil)

// Deps is what flows are made of.
type Deps struct {
	Store     *store.Store
	Inventory Inventory
	Tx        mq.TxProducer
	Log       *slog.Logger
	Patience  time.Duration // from PLACED to EXPIRED
	Timeout   time.Duration // of a request whose caller set no deadline; default 4 s

	// Remembered counts the orders that are refused by what inventory said of an earlier one; nil: not counted.
	Remembered prometheus.Counter
}

type entry struct {
	name string
	make func(Deps) Flow
}

// list holds the flows in the order in which they are to be learned.
func list() []entry {
	return []entry{
		{"tx-message", func(d Deps) Flow { return &TxMessage{d} }},
	}
}

// Default is the flow when nothing else is configured.
const Default = "tx-message"

// Names returns the names of all flows.
func Names() []string {
	var names []string
	for _, e := range list() {
		names = append(names, e.name)
	}
	return names
}

// New returns the named flow. It is an error that lists the names when there is none.
func New(name string, d Deps) (Flow, error) {
	i := slices.IndexFunc(list(), func(e entry) bool { return e.name == name })
	if i < 0 {
		return nil, fmt.Errorf("flow %q is not one of %s", name, strings.Join(Names(), ", "))
	}
	return list()[i].make(d), nil
}

// Desk takes requests for orders: it writes each down once, whatever is repeated, and has the flow decide it.
type Desk struct {
	store *store.Store
	flow  Flow
	name  string
	short *shortage.Memory

	remembered prometheus.Counter
	timeout    time.Duration
}

const defaultTimeout = 4 * time.Second

// NewDesk returns a desk that uses the named flow.
func NewDesk(name string, d Deps) (*Desk, error) {
	if d.Timeout == 0 {
		d.Timeout = defaultTimeout
	}
	if d.Remembered == nil {
		d.Remembered = prometheus.NewCounter(prometheus.CounterOpts{Name: "unregistered"})
	}
	short := shortage.New()
	d.Inventory = observed{d.Inventory, short}
	f, err := New(name, d)
	if err != nil {
		return nil, err
	}
	return &Desk{store: d.Store, flow: f, name: name, short: short, remembered: d.Remembered, timeout: d.Timeout}, nil
}

// Place answers a request for an order. A repeat of it gets the stored answer, or 202 while the order is PENDING;
// order.ErrIdempotency when the key was used for another payload. A request whose key belonged to an order that was
// abandoned places a new order. order.ErrNotPending when the order was abandoned while it was being placed.
//
// An order of more than inventory has just said to be available is refused with inventoryapi.ErrOutOfStock and is not
// inserted: its key stays unused, and nothing is stored.
//
// Once the order's row is inserted, the cancellation of ctx has no effect, only its deadline: the order is decided although
// the caller has hung up, and Place returns when it is.
func (d *Desk) Place(ctx context.Context, userID string, r orderapi.PlaceRequest) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	o := newOrder(userID, r)
	o.Flow = d.name
	if refusal := d.shortage(o); refusal != nil {
		return d.refuse(ctx, o, refusal)
	}
	known, inserted, err := d.store.Insert(ctx, o)
	if err != nil {
		return Reply{}, fmt.Errorf("write down the order: %w", err)
	}
	if !inserted {
		return repeat(known, o)
	}
	ctx, cancel = untilDecided(ctx)
	defer cancel()
	return d.flow.Place(ctx, o)
}

// shortage is the refusal of an order that exceeds what inventory has just said to be available; nil: inventory is asked.
// An order that names a strategy always asks inventory: it wants to see what the strategy does.
func (d *Desk) shortage(o order.Order) error {
	if o.Strategy != "" {
		return nil
	}
	return d.short.Refuse(o.Items)
}

// refuse answers an order that is short, without inserting it: a key that was used before gets its own answer.
func (d *Desk) refuse(ctx context.Context, o order.Order, refusal error) (Reply, error) {
	known, err := d.store.ByKey(ctx, o.UserID, o.IdempotencyKey)
	switch {
	case errors.Is(err, order.ErrNotFound) || err == nil && known.Status == order.Abandoned:
		d.remembered.Inc()
		return Reply{}, refusal
	case err != nil:
		return Reply{}, fmt.Errorf("look for an earlier order with the key: %w", err)
	}
	return repeat(known, o)
}

// repeat answers a request whose key belongs to a known order.
func repeat(known, o order.Order) (Reply, error) {
	switch {
	case known.RequestHash != o.RequestHash:
		return Reply{}, order.ErrIdempotency
	case known.ResponseStatus != 0:
		return Reply{known.OrderNo, known.ResponseStatus, known.ResponseBody}, nil
	case known.Status == order.Pending:
		return pending(known)
	}
	// An order that has ended has a stored answer or has freed its key. A 2xx would promise an order that holds nothing.
	return Reply{}, order.ErrNotPending.With("order_no", known.OrderNo)
}

// untilDecided keeps ctx's deadline and drops its cancellation. The order's row exists: a caller that hangs up does not
// cancel the decision, which would leave the order PENDING with units that may be reserved.
func untilDecided(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	ctx = context.WithoutCancel(ctx)
	if !ok {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, end)
}

func newOrder(userID string, r orderapi.PlaceRequest) order.Order {
	no := ulid.Make().String()
	o := order.Order{
		OrderNo: no, GroupID: no, UserID: userID, IdempotencyKey: r.IdempotencyKey,
		Status: order.Pending, Strategy: r.Strategy, CreatedAt: time.Now().UTC(),
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

// pending is the answer while nobody knows yet.
func pending(o order.Order) (Reply, error) {
	body, err := json.Marshal(orderapi.From(o))
	return Reply{o.OrderNo, http.StatusAccepted, body}, err
}

func placed(o order.Order) (int, []byte, error) {
	body, err := json.Marshal(orderapi.From(o))
	return http.StatusCreated, body, err
}

func refused(ctx context.Context, refusal error) store.Answer {
	return func(o order.Order) (int, []byte, error) {
		f := fault.From(refusal)
		p := fault.ToProblem(f.With("order_no", o.OrderNo))
		p.Status, p.RequestID = web.Status(f.Kind), telemetry.RequestID(ctx)
		body, err := json.Marshal(p)
		return p.Status, body, err
	}
}

// definite reports whether a refusal is inventory's last word. Nothing else is: what may have been executed is asked
// again, and so is what was not.
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

// passing reports whether a retry may be answered otherwise. A refusal for overload is not retried: a retry adds to the load.
func passing(err error) bool {
	switch fault.KindOf(err) {
	case fault.Contended, fault.Unavailable, fault.Timeout, fault.Internal:
		return true
	}
	return fault.Ambiguous(err)
}

// notExecuted is what a client is told of an order of which nothing was executed. A deadline that passed in a queue becomes
// contended, which a timeout would not say: nothing was done, and a retry may succeed.
func notExecuted(err error) error {
	switch f := fault.From(err); f.Kind {
	case fault.Timeout, fault.Contended:
		return inventoryapi.ErrContended.Wrap(err)
	default:
		return f.NotExecuted()
	}
}

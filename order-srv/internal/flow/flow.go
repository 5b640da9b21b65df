// Package flow holds the flows: the ways in which an order gets its stock. Each is a file and a line in the list. A
// flow knows neither HTTP nor stored answers: it returns orders and faults.
package flow

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq"
)

// Flow gets orders their stock. Embed [Base] for the methods in which a flow has nothing to do.
type Flow interface {
	// Admit lets one order in, or returns an admit.ErrOverloaded while the flow takes no new orders. Nothing is written
	// then. After the insert of an order that was let in has ended, or will not be tried, settle must be called, once.
	// inserted is false if the order is certainly not in the database.
	Admit() (settle func(inserted bool), err error)
	// ItemsLater reports whether an order's items are written with its outcome, and not when it is inserted. Until then
	// the answers about the order have none, and one that is abandoned never has any.
	ItemsLater() bool
	// Begin writes what the flow needs, beside the items, in the transaction that inserts the orders as PENDING.
	Begin(tx *store.Tx, orders []order.Order) error
	// Place decides orders, which are PENDING, each before its deadline; that of ctx is the latest. It answers each as
	// soon as the order is decided. What has no answer when Place returns is PENDING for its caller.
	Place(ctx context.Context, group []*Member)
	// Decided writes what the flow needs in the transaction that makes PENDING orders PLACED, REJECTED or ABANDONED. The
	// transaction may be repeated.
	Decided(tx *store.Tx, orderNos []string) error
	// Ended writes what the flow needs in the transaction that makes an order PAID, CANCELLED, EXPIRED or REFUND_DUE.
	Ended(tx *store.Tx, o order.Order) error
	// Subscriptions are the flow's consumers.
	Subscriptions() []mq.Subscription
	// Workers run until their context is done.
	Workers() []func(context.Context)
	// StalePending is the age from which the sweeper passes a PENDING order to Recover.
	StalePending() time.Duration
	// Recover ends stale orders and returns how many it ended.
	Recover(ctx context.Context, orderNos []string) (n int, err error)
}

// Leaver is a Flow with rows of orders that have ended.
type Leaver interface {
	// Left deletes the flow's rows of orders, in the transaction in which the orders leave: they have ended long ago.
	Left(tx *store.Tx, orderNos []string) error
}

// Member is an order that is being placed in a group, with what its caller waits for.
type Member struct {
	order.Order // PENDING
	Caller

	deliver func(Result)
	bare    bool          // its items are not written
	queued  bool          // what a later attempt may decide is left PENDING, not rejected
	window  time.Duration // how long the order can be paid after it is PLACED; 0: since it was inserted
	decided atomic.Bool   // an answer was delivered

	participant Participant // takes part after inventory has reserved; nil: inventory alone
	held        bool        // inventory has reserved, and the participant has not taken its part

	open  bool // the order's row is PENDING, or its status is unknown
	maybe bool // an attempt to reserve may have been executed, or may still be waiting in a queue
	last  error
}

// NewMember returns the member of an order. deliver, which may be called from any goroutine, gets the answer once; nil:
// there is no caller.
func NewMember(o order.Order, c Caller, deliver func(Result)) *Member {
	return &Member{Order: o, Caller: c, deliver: deliver, open: true}
}

// Caller is what an order has of its caller.
type Caller struct {
	Deadline time.Time
}

// CallerOf returns the deadline of a request's context.
func CallerOf(ctx context.Context) Caller {
	deadline, _ := ctx.Deadline()
	return Caller{Deadline: deadline}
}

// requestIDs are the ids of the requests of a message's orders. A message of one order has the id in its header.
func requestIDs(orders []order.Order) map[string]string {
	if len(orders) < 2 {
		return nil
	}
	ids := make(map[string]string, len(orders))
	for _, o := range orders {
		if o.RequestID != "" {
			ids[o.OrderNo] = o.RequestID
		}
	}
	return ids
}

// Answer delivers a result to the caller, unless it has one.
func (m *Member) Answer(r Result) {
	if m.decided.CompareAndSwap(false, true) && m.deliver != nil {
		m.deliver(r)
	}
}

// end answers with the way in which the order ended.
func (m *Member) end(r Result) {
	m.open = false
	m.Answer(r)
}

// leave answers that the order is PENDING. Its flow recovers it later if nothing else ends it.
func (m *Member) leave() { m.Answer(Result{Order: m.Order}) }

// reserveEnd is when no attempt to reserve may run any more for the member.
func (m *Member) reserveEnd() time.Time { return m.Deadline.Add(-DecideTime) }

// latest returns the latest deadline of the members.
func latest(group []*Member) time.Time {
	var end time.Time
	for _, m := range group {
		if m.Deadline.After(end) {
			end = m.Deadline
		}
	}
	return end
}

// Result is what became of an order: PLACED or REJECTED with its answer, or PENDING while its outcome is open. Err, a
// fault, says why an order ended without an answer.
type Result struct {
	Order order.Order
	Err   error
}

// Base does nothing in each of its methods.
type Base struct{}

// Admit implements Flow.
func (Base) Admit() (settle func(inserted bool), err error) { return func(bool) {}, nil }

// ItemsLater implements Flow.
func (Base) ItemsLater() bool { return false }

// Begin implements Flow.
func (Base) Begin(*store.Tx, []order.Order) error { return nil }

// Decided implements Flow.
func (Base) Decided(*store.Tx, []string) error { return nil }

// Ended implements Flow.
func (Base) Ended(*store.Tx, order.Order) error { return nil }

// Subscriptions implements Flow.
func (Base) Subscriptions() []mq.Subscription { return nil }

// Workers implements Flow.
func (Base) Workers() []func(context.Context) { return nil }

// Deps is what flows are made of. Its stores call the flows in their transactions.
type Deps struct {
	*Resolver
	Upkeep     *store.Store // for work that is not a buyer's request
	Send       mq.Producer
	Tx         mq.TxProducer
	SweepAfter time.Duration // the age of a stale PENDING order unless the flow needs another one

	QueueTimeout time.Duration // the age up to which an order may wait for its decision after its caller has got a 202
	PaymentTime  time.Duration // how long an order that waited can be paid, from the moment in which it is PLACED
	QueueMax     int           // how many orders may wait in the queue

	Wallet       Wallet // for placing orders
	UpkeepWallet Wallet // for work that is not a buyer's request

	Branches       Branches // for placing orders
	UpkeepBranches Branches // for ending them

	Shortages Shortages              // learns what inventory answers by message; nil: nothing does
	Healed    *prometheus.CounterVec // counts the healed orders, by healer; nil: nothing is counted
	Registry  prometheus.Registerer
}

// Shortages remembers for which SKUs inventory has just refused an order; shortage.Memory is one. What inventory
// answers to a call it learns by itself.
type Shortages interface {
	Learn(answer inventoryapi.ReserveResult, looked time.Time)
}

// Kind is a line of the list.
type Kind struct {
	Name   string // in ORDER_FLOW and in orders.flow
	Topics []mq.Topic
	New    func(Deps) Flow

	Branches bool // the database user must be allowed to list prepared branches
}

// List holds the flows in the order in which they are to be learned.
func List() []Kind {
	return []Kind{
		{Name: "tx-message", New: func(d Deps) Flow { return &TxMessage{Deps: d} }},
		{
			Name: "outbox", Topics: []mq.Topic{{Name: orderapi.TopicStockReserve}, {Name: inventoryapi.TopicStockReserved}},
			New: func(d Deps) Flow { return &Outbox{Deps: d} },
		},
		{Name: "queue", Topics: []mq.Topic{{Name: orderapi.TopicOrderQueued}}, New: func(d Deps) Flow { return NewQueue(d) }},
		{Name: "tcc", New: func(d Deps) Flow { return NewTCC(d) }},
		{Name: "xa", New: func(d Deps) Flow { return NewXA(d) }, Branches: true},
	}
}

// Names returns the names of all flows.
func Names() []string {
	var names []string
	for _, k := range List() {
		names = append(names, k.Name)
	}
	return names
}

// Set is the flows of a process. One of them places the orders that name no flow. The others end the orders that they
// placed before ORDER_FLOW was changed, and place those that name them.
type Set struct {
	kinds   []Kind
	current string
	flows   map[string]Flow // none before Open
}

var _ store.Flows = (*Set)(nil)

// NewSet returns the flows of the list, which Open makes. An unknown name of the current flow is an error that lists
// the names.
func NewSet(list []Kind, current string) (*Set, error) {
	var names []string
	for _, k := range list {
		names = append(names, k.Name)
	}
	if !slices.Contains(names, current) {
		return nil, fmt.Errorf("flow %q is not one of %s", current, strings.Join(names, ", "))
	}
	return &Set{kinds: list, current: current, flows: map[string]Flow{}}, nil
}

// Open makes the flows. It is apart from NewSet because the stores in d call the flows in their transactions: they are
// stores with this set, see store.Store.WithFlows. Call it once, before the set is used.
func (s *Set) Open(d Deps) {
	for _, k := range s.kinds {
		s.flows[k.Name] = k.New(d)
	}
}

// Choose returns the flow that places an order which asks for the flow asked, "" being the current one.
// order.ErrUnknownFlow.
func (s *Set) Choose(asked string) (name string, f Flow, err error) {
	name = cmp.Or(asked, s.current)
	f, ok := s.flows[name]
	if !ok {
		return "", nil, order.ErrUnknownFlow
	}
	return name, f, nil
}

// All returns the flows by name.
func (s *Set) All() iter.Seq2[string, Flow] {
	return maps.All(s.flows)
}

// Begin implements store.Flows.
func (s *Set) Begin(tx *store.Tx, orders []order.Order) error {
	f := s.flows[orders[0].Flow]
	if !f.ItemsLater() {
		if err := tx.Items(orders); err != nil {
			return err
		}
	}
	return f.Begin(tx, orders)
}

// Decided implements store.Flows. An order of a flow that is not in the list is decided all the same.
func (s *Set) Decided(tx *store.Tx, name string, orderNos []string) error {
	if f, ok := s.flows[name]; ok {
		return f.Decided(tx, orderNos)
	}
	return nil
}

// Ended implements store.Flows. An order of a flow that is not in the list is paid, cancelled and expired all the same.
func (s *Set) Ended(tx *store.Tx, o order.Order) error {
	if f, ok := s.flows[o.Flow]; ok {
		return f.Ended(tx, o)
	}
	return nil
}

// Left implements store.Flows.
func (s *Set) Left(tx *store.Tx, name string, orderNos []string) error {
	if f, ok := s.flows[name].(Leaver); ok {
		return f.Left(tx, orderNos)
	}
	return nil
}

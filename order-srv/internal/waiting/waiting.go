// Package waiting lets requests wait until an order is decided. However many they are, they cost one statement every 25
// milliseconds, and none while no request waits: a client that waits replaces dozens of reads.
package waiting

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/wait"
)

const (
	// DefaultMax is how many requests of a process may wait at one time. Each of them holds a connection and a goroutine.
	DefaultMax = 1000

	pollInterval = 25 * time.Millisecond  // between two looks for orders that another replica has decided
	errorPause   = 500 * time.Millisecond // after a look that failed
	pollTime     = 2 * time.Second        // of one look
)

// Orders is what waiting needs of the store.
type Orders interface {
	Statuses(ctx context.Context, orderNos []string) (map[string]order.Status, error)
}

// Config is what a [Room] needs.
type Config struct {
	Orders Orders
	Max    int // default DefaultMax
	Log    *slog.Logger
}

// Room holds the requests that wait. It is safe for concurrent use.
type Room struct {
	Config
	arrived chan struct{} // holds one value when a request has begun to wait

	mu     sync.Mutex
	places int               // that are taken
	orders map[string]*entry // that are waited for
	closed bool
}

// entry is an order that is waited for.
type entry struct {
	decided chan struct{} // closed when it is decided, or when the process stops
	waiters int
}

// New returns a room. Run looks for what other replicas decide.
func New(c Config) *Room {
	if c.Max == 0 {
		c.Max = DefaultMax
	}
	return &Room{Config: c, arrived: make(chan struct{}, 1), orders: map[string]*entry{}}
}

// Enter takes a place for a request that may wait; the caller calls leave when the request ends. ok is false when all
// places are taken or the process stops: such a request does not wait.
func (r *Room) Enter() (leave func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.places >= r.Max {
		return nil, false
	}
	r.places++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.places--
	}, true
}

// Wait returns when the order is decided, which this process notices at once and another one's within a moment, when
// ctx ends, or when the process stops. An order that was decided before the call is noticed likewise.
func (r *Room) Wait(ctx context.Context, orderNo string) {
	e := r.join(orderNo)
	if e == nil {
		return
	}
	defer r.forget(orderNo, e)
	select {
	case <-e.decided:
	case <-ctx.Done():
	}
}

// join returns the order's entry with one more waiter; nil when the process stops.
func (r *Room) join(orderNo string) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	e := r.orders[orderNo]
	if e == nil {
		e = &entry{decided: make(chan struct{})}
		r.orders[orderNo] = e
	}
	e.waiters++
	select {
	case r.arrived <- struct{}{}:
	default:
	}
	return e
}

// forget removes a waiter, and with the last one the order.
func (r *Room) forget(orderNo string, e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.waiters--; e.waiters == 0 && r.orders[orderNo] == e {
		delete(r.orders, orderNo)
	}
}

// Decided wakes the requests that wait for these orders. Call it after the commit.
func (r *Room) Decided(orderNos []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, no := range orderNos {
		if e := r.orders[no]; e != nil {
			close(e.decided)
			delete(r.orders, no)
		}
	}
}

// WaitsFor reports whether a request waits for the order.
func (r *Room) WaitsFor(orderNo string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.orders[orderNo] != nil
}

// Close wakes all requests. Later ones do not wait. A stop would otherwise take as long as a request may wait.
func (r *Room) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for no, e := range r.orders {
		close(e.decided)
		delete(r.orders, no)
	}
}

// Run looks for orders that other replicas have decided until ctx is done.
func (r *Room) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.arrived:
		}
		r.poll(ctx)
	}
}

// poll looks again and again, until no request waits.
func (r *Room) poll(ctx context.Context) {
	pause := pollInterval
	for wait.Sleep(ctx, pause) == nil {
		orderNos := r.waitedFor()
		if len(orderNos) == 0 {
			return
		}
		pause = pollInterval
		if err := r.look(ctx, orderNos); err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "orders that requests wait for not read", "orders", len(orderNos), "err", err)
			pause = errorPause
		}
	}
}

func (r *Room) waitedFor() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.orders))
}

// look wakes the requests for those of the orders that are decided.
func (r *Room) look(ctx context.Context, orderNos []string) error {
	ctx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	statuses, err := r.Orders.Statuses(ctx, orderNos)
	if err != nil {
		return err
	}
	var decided []string
	for _, no := range orderNos {
		if statuses[no] != order.Pending {
			decided = append(decided, no)
		}
	}
	r.Decided(decided)
	return nil
}

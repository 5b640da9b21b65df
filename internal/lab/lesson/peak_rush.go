package lesson

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/wait"
)

// peak is what a rush of buyers came to.
type peak struct {
	buyers      int
	units       int64
	pending     int // answers without a decision
	decided     int // answers with one
	refused     int // the shop took no order; a buyer may be refused several times
	overloaded  int // of them with 429 and Retry-After
	failed      error
	answers     []time.Duration // sorted
	depth       int64           // most orders that waited in the queue
	connections int64           // most connections of order-srv to its database
	drained     time.Duration   // until all orders were decided
	placed      int64           // orders with a unit
	gone        int64           // units
}

// retryAfter is how long a buyer waits after a refusal, as the header Retry-After says.
const retryAfter = time.Second

// buy places one order for each buyer, all at the same time, and records the answers. Buyers who are refused order
// again, with the same Idempotency-Key, until they have an answer; if they are not patient, the refusal is the answer.
func (s *peakShop) buy(ctx context.Context, flow, product string, buyers int, patient bool) peak {
	ctx, cancel := context.WithTimeout(ctx, peakLimit)
	defer cancel()
	p := peak{buyers: buyers}
	var mu sync.Mutex
	var all sync.WaitGroup
	start := make(chan struct{})
	client := orderapi.NewClient(s.buyers)
	for i := range buyers {
		buyer := client.As(fmt.Sprintf("buyer-%d", i), orderapi.RoleBuyer)
		request := orderapi.PlaceRequest{
			IdempotencyKey: fresh("key"), Flow: flow, Items: []orderapi.PlaceItem{{SKU: product, Quantity: 1}},
		}
		all.Go(func() {
			<-start
			for began, again := time.Now(), true; again; {
				_, decided, err := buyer.Place(ctx, request)
				mu.Lock()
				again = p.count(decided, err) && patient
				if !again {
					p.answers = append(p.answers, time.Since(began))
				}
				mu.Unlock()
				again = again && wait.Sleep(ctx, retryAfter) == nil
			}
		})
	}
	close(start)
	all.Wait()
	slices.Sort(p.answers)
	return p
}

// count records one answer, and returns true if it is a refusal. A buyer who comes too late has an answer, too: sold
// out is a decision.
func (p *peak) count(decided bool, err error) (refused bool) {
	f, _ := errors.AsType[*fault.Error](err)
	switch {
	case err == nil && decided, f != nil && f.Code == inventoryapi.ErrOutOfStock.Code:
		p.decided++
	case err == nil:
		p.pending++
	case f != nil:
		p.refused++
		if f.Kind == fault.Limited {
			p.overloaded++
		}
		return true
	default:
		p.failed = err
	}
	return false
}

func (p *peak) quantile(q float64) int64 {
	if len(p.answers) == 0 {
		return 0
	}
	return p.answers[int(q*float64(len(p.answers)-1))].Milliseconds()
}

// rush lets the buyers come and waits until every order is decided. It watches the queue and the connections meanwhile.
func (s *peakShop) rush(ctx context.Context, flow string, buyers int) (peak, error) {
	units := int64(max(1, buyers/4))
	product, err := s.receive(ctx, units)
	if err != nil {
		return peak{}, err
	}
	began := time.Now()
	watched := make(chan peak, 1)
	watching, cancel := context.WithCancel(ctx)
	go func() { watched <- s.watch(watching) }()
	p := s.buy(ctx, flow, product, buyers, true)
	p.units = units
	err = s.drain(ctx)
	p.drained = time.Since(began)
	cancel()
	seen := <-watched
	p.depth, p.connections = seen.depth, seen.connections
	if err = errors.Join(err, p.failed); err != nil {
		return p, err
	}
	return p, s.settle(ctx, product, &p)
}

// settle counts until the units that orders hold are the units that are reserved. An order that was given up releases
// its unit by message, a moment later. If that does not happen in time, the counts say so.
func (s *peakShop) settle(ctx context.Context, product string, p *peak) error {
	limit, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	err := until(limit, "no unit is on its way", func(context.Context) (bool, error) {
		err := s.counts(ctx, product, p)
		return p.placed == p.gone, err
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}

// watch returns the largest numbers that it has seen until ctx ends.
func (s *peakShop) watch(ctx context.Context) (p peak) {
	for {
		var depth, connections int64
		_ = s.orders.QueryRowContext(ctx, "SELECT COUNT(*) FROM queued_orders").Scan(&depth)
		_ = s.orders.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()").Scan(&connections)
		p.depth, p.connections = max(p.depth, depth), max(p.connections, connections)
		if wait.Sleep(ctx, 20*time.Millisecond) != nil {
			return p
		}
	}
}

// drain waits until no order is PENDING.
func (s *peakShop) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, peakLimit)
	defer cancel()
	return until(ctx, "all orders are decided", func(ctx context.Context) (bool, error) {
		var n int
		err := s.orders.QueryRowContext(ctx, "SELECT COUNT(*) FROM orders WHERE status = 'PENDING'").Scan(&n)
		return n == 0, err
	})
}

func (s *peakShop) counts(ctx context.Context, product string, p *peak) error {
	err := s.orders.QueryRowContext(ctx, `SELECT COUNT(*) FROM orders o JOIN order_items i ON i.order_no = o.order_no
		WHERE i.sku = ? AND o.status = 'PLACED'`, product).Scan(&p.placed)
	if err != nil {
		return err
	}
	return s.stock.QueryRowContext(ctx, "SELECT reserved FROM stock WHERE sku = ?", product).Scan(&p.gone)
}

// exact reports whether each order that was placed has one unit, and no unit was sold twice or without an order.
func (p peak) exact() bool { return p.placed > 0 && p.placed == p.gone && p.placed <= p.units }

func peakHead() []any {
	names := []string{"answered", "refused", "p50", "p99", "depth", "connections", "drained", "placed"}
	head := []any{""}
	for _, name := range names {
		head = append(head, step.T("peak-shaving."+name))
	}
	return head
}

func (p peak) row(name string) []any {
	return []any{
		name, p.decided + p.pending, p.refused, p.quantile(0.5), p.quantile(0.99), p.depth, p.connections, p.drained.Milliseconds(), p.placed,
	}
}

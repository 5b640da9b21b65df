package compare

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
)

const (
	orderTimeout = 60 * time.Second // of one order of the open loop, including its retries
	plenty       = 500_000_000      // units of a product that must not sell out
	lastUnits    = 200              // units of the product that is sold out at the end of a cell
	maxFlight    = 4096             // open loop: concurrent orders; with more, the strategy cannot keep up
	histogram    = int64(2 * orderTimeout / time.Microsecond)
	maxErrors    = 3 // errors of failed orders that are reported; the others are only counted
)

// load runs one strategy under one shape. It is used for a single cell.
type load struct {
	labs  []*inventorylab.Lab
	shape Shape
	skus  []string

	next      atomic.Int64 // order numbers
	contended atomic.Int64
	mu        sync.Mutex // guards the fields below
	failures  []string
	failed    int
}

// sample holds the measurements of all callers. A histogram for each of a thousand callers would take 150 MB,
// allocated and read during the measurement.
type sample struct {
	mu      sync.Mutex
	latency *hdrhistogram.Histogram // microseconds
}

func newSample() *sample { return &sample{latency: hdrhistogram.New(1, histogram, 3)} }

func (s *sample) add(d time.Duration, orders int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.latency.RecordValues(min(max(d.Microseconds(), 1), histogram), int64(orders)) // bounded, so it is in range
}

// order reserves units and retries while the strategy answers ErrContended. ctx bounds the order: a deadline of its
// own would become part of the measurement.
func (l *load) order(ctx context.Context, sku string, units int64) error {
	n := l.next.Add(1)
	no := orderNo(n)
	lab := l.labs[int(n)%len(l.labs)]
	for {
		_, err := lab.Reserve(ctx, no, []inventoryapi.Line{{SKU: sku, Quantity: units}})
		if !errors.Is(err, inventoryapi.ErrContended) || ctx.Err() != nil {
			return err
		}
		l.contended.Add(1)
	}
}

func orderNo(n int64) string { return fmt.Sprintf("C-%020d", n) }

// note records an order's failure, or its latency since begin. An order that ctx cut off at the end of the cell counts
// as neither: the strategy reserved all of it or nothing.
func (l *load) note(ctx context.Context, begin time.Time, err error, s *sample) {
	switch {
	case err == nil:
		s.add(time.Since(begin), 1)
	case ctx.Err() == nil:
		l.fail(err)
	}
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed++
	if len(l.failures) < maxErrors {
		l.failures = append(l.failures, err.Error())
	}
}

func (l *load) sku() string { return l.skus[rand.IntN(len(l.skus))] }

// drain bounds the last orders of a closed loop after the period. A strategy that discards most of its work would need
// half a minute.
const drain = 3 * time.Second

// closed lets each caller send its next order as soon as it gets an answer, until the period ends. Orders that began
// in the period count, and so does the time until the last answer.
func (l *load) closed(ctx context.Context, period time.Duration) (*sample, time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, period+drain)
	defer cancel()
	total := newSample()
	var callers sync.WaitGroup
	begin := time.Now()
	for range l.shape.Callers {
		callers.Go(func() {
			for time.Since(begin) < period && ctx.Err() == nil {
				began := time.Now()
				l.note(ctx, began, l.order(ctx, l.sku(), l.shape.units()), total)
			}
		})
	}
	callers.Wait()
	return total, time.Since(begin)
}

// limit reserves full batches, one after another on one connection. No caller waits, so nothing is left but the
// strategy's statements: no number of callers can sell more over one connection. An order's latency is its batch's.
func (l *load) limit(ctx context.Context, period time.Duration) (*sample, time.Duration) {
	total := newSample()
	orders := make([]inventoryapi.ReserveOrder, l.labs[0].FullBatch())
	begin := time.Now()
	for time.Since(begin) < period && ctx.Err() == nil {
		for i := range orders {
			orders[i] = inventoryapi.ReserveOrder{
				OrderNo: orderNo(l.next.Add(1)), Lines: []inventoryapi.Line{{SKU: l.sku(), Quantity: l.shape.units()}},
			}
		}
		began := time.Now()
		err := l.labs[0].ReserveBatch(ctx, orders)
		if err != nil {
			l.fail(err)
			break
		}
		total.add(time.Since(began), len(orders))
	}
	return total, time.Since(begin)
}

// open lets orders arrive at random with the shape's average rate (a Poisson process: the pauses between arrivals are
// exponentially distributed). Latency counts from the scheduled arrival, even if this process was late.
func (l *load) open(ctx context.Context, period time.Duration) (*sample, time.Duration) {
	begin := time.Now()
	total := newSample()
	var orders sync.WaitGroup
	var flight atomic.Int64
	for due := begin; due.Sub(begin) < period && ctx.Err() == nil; {
		due = due.Add(time.Duration(rand.ExpFloat64() / l.shape.Rate * float64(time.Second)))
		time.Sleep(time.Until(due)) // part of the measurement
		if flight.Add(1) > maxFlight {
			flight.Add(-1)
			l.fail(fmt.Errorf("more than %d concurrent orders: the strategy cannot keep up with the rate", maxFlight))
			continue
		}
		orders.Go(func() {
			defer flight.Add(-1)
			ctx, cancel := context.WithTimeout(ctx, orderTimeout)
			defer cancel()
			l.note(ctx, due, l.order(ctx, l.sku(), l.shape.units()), total)
		})
	}
	orders.Wait()
	return total, time.Since(begin)
}

// sellOut sells the last units of a product until every caller has received ErrOutOfStock. It shows whether a unit was
// sold twice, or refused although it was available.
func (l *load) sellOut(ctx context.Context, sku string) {
	ctx, cancel := context.WithTimeout(ctx, 2*orderTimeout)
	defer cancel()
	var callers sync.WaitGroup
	var sold atomic.Int64
	for range min(max(l.shape.Callers, 16), 64) { // enough for races, without a thousand refusals
		callers.Go(func() {
			for sold.Load() < 2*lastUnits { // a strategy that oversells may never get ErrOutOfStock
				err := l.order(ctx, sku, 1)
				if errors.Is(err, inventoryapi.ErrOutOfStock) {
					return
				}
				if err != nil {
					l.fail(err)
					return
				}
				sold.Add(1)
			}
		})
	}
	callers.Wait()
}

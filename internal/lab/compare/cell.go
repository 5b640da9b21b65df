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
	patience   = 60 * time.Second // of one order of the open loop, repeats included
	plenty     = 500_000_000      // units of a product that is not meant to sell out
	lastUnits  = 200              // units of the product that is sold out at the end of a cell
	maxFlight  = 4096             // open loop: orders under way at once; beyond it the strategy cannot keep up
	histogram  = int64(2 * patience / time.Microsecond)
	tellErrors = 3 // findings about failed orders; the rest are counted
)

// load puts one strategy under one shape. It is used once.
type load struct {
	labs  []*inventorylab.Lab
	shape Shape
	skus  []string

	next      atomic.Int64 // order numbers
	contended atomic.Int64
	mu        sync.Mutex // guards what follows
	failures  []string
	failed    int
}

// sample is what all callers measured. One histogram each would be 150 MB for a thousand callers, made and read while the
// strategy is measured.
type sample struct {
	mu      sync.Mutex
	latency *hdrhistogram.Histogram // microseconds
}

func newSample() *sample { return &sample{latency: hdrhistogram.New(1, histogram, 3)} }

func (s *sample) add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.latency.RecordValue(min(max(d.Microseconds(), 1), histogram)) // bounded, so it is in range
}

// order reserves units and asks again for as long as the answer is that there was too much contention. ctx bounds it: a
// deadline of each order's own would be a part of what is measured.
func (l *load) order(ctx context.Context, sku string, units int64) error {
	n := l.next.Add(1)
	no := fmt.Sprintf("C-%020d", n)
	lab := l.labs[int(n)%len(l.labs)]
	for {
		_, err := lab.Reserve(ctx, no, []inventoryapi.Line{{SKU: sku, Quantity: units}})
		if !errors.Is(err, inventoryapi.ErrContended) || ctx.Err() != nil {
			return err
		}
		l.contended.Add(1)
	}
}

// note notes an order's failure, or its time from begin. An order that was cut at the end of the cell, with ctx, is
// neither: the strategy left nothing of it, or all.
func (l *load) note(ctx context.Context, begin time.Time, err error, s *sample) {
	switch {
	case err == nil:
		s.add(time.Since(begin))
	case ctx.Err() == nil:
		l.fail(err)
	}
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed++
	if len(l.failures) < tellErrors {
		l.failures = append(l.failures, err.Error())
	}
}

func (l *load) sku() string { return l.skus[rand.IntN(len(l.skus))] }

// drain is how long the last orders of a closed loop may take after the period; a strategy that throws most of its work
// away would need half a minute.
const drain = 3 * time.Second

// closed has every caller ask again as soon as it was answered, until the period is over. The time runs until the last
// answer: what was begun in the period counts, and so does the time that it took.
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

// open lets orders arrive at random, at the shape's rate on average (a Poisson process: the pauses between arrivals are
// exponentially distributed). Latency counts from the arrival that was due, also when this process was late.
func (l *load) open(ctx context.Context, period time.Duration) (*sample, time.Duration) {
	begin := time.Now()
	total := newSample()
	var orders sync.WaitGroup
	var flight atomic.Int64
	for due := begin; due.Sub(begin) < period && ctx.Err() == nil; {
		due = due.Add(time.Duration(rand.ExpFloat64() / l.shape.Rate * float64(time.Second)))
		time.Sleep(time.Until(due)) // the pause is the measurement
		if flight.Add(1) > maxFlight {
			flight.Add(-1)
			l.fail(fmt.Errorf("more than %d orders under way: it cannot keep up with the rate", maxFlight))
			continue
		}
		orders.Go(func() {
			defer flight.Add(-1)
			patient, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			l.note(ctx, due, l.order(patient, l.sku(), l.shape.units()), total)
		})
	}
	orders.Wait()
	return total, time.Since(begin)
}

// sellOut has callers buy the last units of a product, each until it is told that there are none: with that the cell knows
// whether a unit was sold twice, or refused although it was there.
func (l *load) sellOut(ctx context.Context, sku string) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	var callers sync.WaitGroup
	var sold atomic.Int64
	for range min(max(l.shape.Callers, 16), 64) { // enough to race, and no thousand refusals to wait for
		callers.Go(func() {
			for sold.Load() < 2*lastUnits { // a strategy that sells what is not there may never find the end
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

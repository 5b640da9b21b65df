package compareflows

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"holdfast/internal/lab/bench"
	"holdfast/internal/lab/stats"
	"holdfast/pkg/wait"
)

// tally collects the outcomes of one load.
type tally struct {
	mu  sync.Mutex
	all []outcome
}

func (t *tally) add(o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, o)
}

// closed lets each buyer place its next order as soon as the last one is decided. It returns the outcomes of the orders
// that began within the period, and the time until the last of them was decided.
func (s *site) closed(ctx context.Context, flow string, period time.Duration) (*tally, time.Duration) {
	t := &tally{}
	var running sync.WaitGroup
	begin := time.Now()
	for _, b := range s.buyers {
		running.Go(func() {
			for time.Since(begin) < period && ctx.Err() == nil {
				o := b.order(ctx, flow)
				t.add(o)
				if !o.placed() {
					_ = wait.Sleep(ctx, retryPause)
				}
			}
		})
	}
	running.Wait()
	return t, time.Since(begin)
}

// idle measures what the shop does without orders, in statements and messages a second.
func (s *site) idle(ctx context.Context, period time.Duration) (Idle, error) {
	before, err := s.meter.Read(ctx)
	if err != nil {
		return Idle{}, err
	}
	begin := time.Now()
	if err := wait.Sleep(ctx, period); err != nil {
		return Idle{}, err
	}
	after, err := s.meter.Read(ctx)
	if err != nil {
		return Idle{}, err
	}
	used, took := after.Since(before), time.Since(begin).Seconds()
	return Idle{
		Statements: float64(used.Statements) / took, Commits: float64(used.Commits) / took, Messages: max(0, float64(used.Messages)) / took,
	}, nil
}

// cell measures one repetition of the load.
func (s *site) cell(ctx context.Context, p Preset, flow string, repetition int, idle Idle) (Cell, error) {
	c := Cell{Flow: flow, Repetition: repetition}
	s.closed(ctx, flow, p.Warm)
	before, err := s.rest(ctx, flow)
	if err != nil {
		return c, err
	}
	begin := time.Now()
	t, took := s.closed(ctx, flow, p.Time)
	after, err := s.rest(ctx, flow)
	if err != nil {
		return c, err
	}
	c.fill(t.all, took)
	c.costs(after.Since(before), time.Since(begin), idle)
	if c.Orders == 0 {
		return c, fmt.Errorf("no order was placed: %v", c.Refusals)
	}
	return c, ends(ctx, t.all)
}

// ends pays an order and cancels another one, so that the audit sees both ends of the flow.
func ends(ctx context.Context, all []outcome) error {
	kinds := []string{"payment", "cancellation"}
	for _, o := range all {
		if len(kinds) == 0 {
			return nil
		}
		if !o.placed() {
			continue
		}
		if err := o.by.end(ctx, o.orderNo, kinds[0]); err != nil {
			return err
		}
		kinds = kinds[1:]
	}
	return nil
}

// fill computes what the clients have seen.
func (c *Cell) fill(all []outcome, took time.Duration) {
	var first, known []time.Duration
	for _, o := range all {
		switch {
		case o.placed():
			c.Orders++
			first, known = append(first, o.first), append(known, o.known)
		case o.refusal != "":
			c.Refusals = count(c.Refusals, o.refusal)
		default:
			c.Failed++
		}
	}
	c.Throughput = float64(c.Orders) / took.Seconds()
	c.FirstP50, c.FirstP99 = quantile(first, 0.5), quantile(first, 0.99)
	c.KnownP50, c.KnownP99 = quantile(known, 0.5), quantile(known, 0.99)
}

// costs computes what one order has cost the servers. An order that was refused or that failed has cost something, too,
// and is paid for by those that were placed.
func (c *Cell) costs(used bench.Counters, took time.Duration, idle Idle) {
	each := func(used int64, idlePerSecond float64) float64 {
		return max(0, float64(used)-idlePerSecond*took.Seconds()) / float64(max(1, c.Orders))
	}
	c.Statements, c.Commits = each(used.Statements, idle.Statements), each(used.Commits, idle.Commits)
	c.Messages = unknown
	if used.Messages >= 0 {
		c.Messages = each(used.Messages, idle.Messages)
	}
}

func count(counts map[string]int, what string) map[string]int {
	if counts == nil {
		counts = map[string]int{}
	}
	counts[what]++
	return counts
}

// quantile returns a quantile in milliseconds, or 0 of nothing.
func quantile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Microseconds()) / 1000
}

// median returns the median of a figure over cells.
func median(cells []Cell, figure func(Cell) float64) float64 {
	values := make([]float64, len(cells))
	for i, c := range cells {
		values[i] = figure(c)
	}
	return stats.Median(values)
}

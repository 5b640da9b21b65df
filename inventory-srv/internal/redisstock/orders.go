package redisstock

import (
	"context"
	"fmt"
	"strconv"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// Reservation is a reserve, as the script takes it.
type Reservation struct {
	OrderNo string
	Hash    string
	Lines   []store.PricedLine // in SKU order
	Checked bool               // MySQL does not have the order
}

// Answer is the answer to an operation.
type Answer struct {
	Verdict string             // of the script
	Lines   []store.PricedLine // verdictOK: what a reserve holds
	Short   []stock.ShortLine
	// Of a confirm or release whose units become unallocated stock: they are there when MySQL has applied the entry.
	EntryID string
	Epoch   int64 // in which Redis answered
}

// reserveCall runs in the callers' goroutines, not in the flush for which all callers wait.
func (c *Counters) reserveCall(r Reservation) call {
	args := make([]any, 0, 5+2*len(r.Lines))
	args = append(args, r.OrderNo, r.Hash, flag(r.Checked), FormatLines(r.Lines), len(r.Lines))
	for _, l := range r.Lines {
		args = append(args, l.SKU, l.Quantity)
	}
	return call{script: c.scripts.reserve, args: args, batched: true, operation: EntryReserve, orderNo: r.OrderNo}
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// tryReserve takes all lines or none.
func (c *Counters) tryReserve(ctx context.Context, r Reservation) (Answer, error) {
	answer, err := c.do(ctx, c.reserveCall(r))
	if err != nil {
		return Answer{}, err
	}
	return reserved(r, answer.fields)
}

// reserved reads the answer to a reserve.
func reserved(r Reservation, answer []string) (a Answer, err error) {
	switch a.Verdict = answer[0]; a.Verdict {
	case verdictOK:
		a.Lines, err = ParseLines(answer[3])
		return a, err
	case verdictClosed, verdictMismatch, verdictAway, verdictUnknown, verdictBusy:
		return a, nil
	case verdictShort:
		for i := 1; i+1 < len(answer); i += 2 {
			available, err := strconv.ParseInt(answer[i+1], 10, 64)
			if err != nil {
				return Answer{}, fmt.Errorf("the counter of %s: %w", answer[i], err)
			}
			a.Short = append(a.Short, stock.ShortLine{SKU: answer[i], Requested: r.requested(answer[i]), Available: max(0, available)})
		}
		return a, nil
	}
	return Answer{}, fmt.Errorf("reserve %s: Redis answered %q", r.OrderNo, answer)
}

func (r Reservation) requested(sku string) int64 {
	for _, l := range r.Lines {
		if l.SKU == sku {
			return l.Quantity
		}
	}
	return 0
}

// tryConfirm makes a reservation a sale. tryRelease gives it back. checked says that MySQL does not have the order: a
// release then writes a tombstone.
func (c *Counters) tryConfirm(ctx context.Context, orderNo string) (Answer, error) {
	return c.end(ctx, EntryConfirm, orderNo, false)
}

// tryRelease is described at tryConfirm.
func (c *Counters) tryRelease(ctx context.Context, orderNo string, checked bool) (Answer, error) {
	return c.end(ctx, EntryRelease, orderNo, checked)
}

func (c *Counters) end(ctx context.Context, operation Operation, orderNo string, checked bool) (Answer, error) {
	r, err := c.do(ctx, call{
		script: c.scripts.end, args: []any{string(operation), orderNo, flag(checked), c.life()}, operation: operation, orderNo: orderNo,
	})
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Epoch: r.epoch, Verdict: r.fields[0]}
	switch a.Verdict {
	case verdictOK:
		if r.fields[4] == "1" {
			a.EntryID = r.fields[2]
		}
	case verdictClosed, verdictConfirmed, verdictUnknown, verdictTombstone, verdictBusy:
	default:
		return Answer{}, fmt.Errorf("%s %s: Redis answered %q", operation, orderNo, r.fields)
	}
	return a, nil
}

func (c *Counters) life() int64 { return int64(c.cfg.OrderLife.Seconds()) }

// load writes an order to Redis that only MySQL has, in the epoch in which MySQL was read.
func (c *Counters) load(ctx context.Context, epoch int64, orderNo string, k store.Known) error {
	_, err := c.do(ctx, call{
		script: c.scripts.remember, epoch: epoch,
		args: []any{orderNo, string(k.Status), k.Hash, FormatLines(k.Lines), c.life()},
	})
	return err
}

// currentEpoch returns the epoch, for load.
func (c *Counters) currentEpoch() int64 {
	epoch, _ := c.state()
	return epoch
}

// reserveLocked first allocates in Redis all units that MySQL has allocated, and then reserves. The caller holds the
// stock row locks of all SKUs, so that a shortage is final. The answers come in the order of the reservations.
func (c *Counters) reserveLocked(ctx context.Context, rows map[string]RedisRow, reservations []Reservation) ([]Answer, []error) {
	var allocations, calls []call
	for _, row := range rows {
		allocations = append(allocations, c.allocateCall(row, true))
	}
	for _, r := range reservations {
		calls = append(calls, c.reserveCall(r))
	}
	answers, errs := make([]Answer, len(reservations)), make([]error, len(reservations))
	if c.full() {
		for i := range answers {
			answers[i].Verdict = verdictBusy
		}
		return answers, errs
	}
	for _, r := range c.pipeline(ctx, allocations) {
		if err := allocated(r); err != nil { // without the allocation a shortage is not final
			for i := range errs {
				errs[i] = err
			}
			return answers, errs
		}
	}
	results := c.pipeline(ctx, calls)
	for i, r := range results {
		switch {
		case r.err != nil:
			errs[i] = errRedis.Wrap(r.err)
		case shut(r.fields) != nil && r.resent:
			errs[i] = errRedis.Wrap(shut(r.fields))
		case shut(r.fields) != nil:
			errs[i] = shut(r.fields)
		default:
			answers[i], errs[i] = reserved(reservations[i], r.fields)
		}
	}
	return answers, errs
}

// allocated reads the answer to an allocation.
func allocated(r result) error {
	switch {
	case r.err != nil:
		return errRedis.NotExecuted().Wrap(r.err)
	case shut(r.fields) != nil:
		return shut(r.fields)
	case r.fields[0] == verdictOld:
		return stock.ErrContended.WithText("the stock is being moved, retry")
	}
	return nil
}

func (c *Counters) allocateCall(row RedisRow, open bool) call {
	return call{script: c.scripts.allocate, args: []any{row.SKU, row.Allocated, row.Opening, flag(open), flag(row.Fresh())}}
}

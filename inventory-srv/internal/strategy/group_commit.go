package strategy

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"holdfast/inventory-srv/internal/batchfault"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/batch"
)

const groupCommit = "group-commit"

// GroupCommit gathers the orders that come while one transaction runs into the next one.
//
// Idea:        callers queue in this process; one of them locks the union of their rows once, the memory decides, first
// come, first served, three statements write it all, one COMMIT makes it durable, and only then all are answered.
// Statements:  SELECT … FOR UPDATE, in SKU order; one INSERT of all headers and one of all lines; UPDATE … CASE sku …; COMMIT.
// Where rows are looked up, the primary key is forced.
// Goes wrong:  an answer before COMMIT, refusals too: they follow from sales that may yet be undone. Without the forced
// index the server may scan, and scans deadlock. One order's bad data fails its whole batch: halves find it. A row that
// somebody else sits on holds up this process's orders for all other rows.
// Cost:        code. An order that is alone takes as many statements as with Conditional.
// Choose it:   one SKU must sell faster than a database can commit one by one: the more contend for it, the better it gets.
type GroupCommit struct {
	ledger   *store.Ledger
	log      *slog.Logger
	reserves *batch.Batcher[reserveCall, stock.Receipt]
	confirms *batch.Batcher[string, struct{}]
	releases *batch.Batcher[string, struct{}]
	wary     int // the reserves' flusher's alone, see tryReserves
}

var _ stock.Reserver = (*GroupCommit)(nil)

const (
	// maxBatch is how many lines one transaction holds. More would sell no faster, and a repetition costs all of it.
	maxBatch = 1024
	// flushTimeout is more than one lock wait (2 s), so that a flush behind a stuck row ends by the server's word.
	flushTimeout = 4 * time.Second
	// answerGrace is how long a caller waits past its own deadline for an outcome that is on its way, as database.InTx
	// does for a COMMIT.
	answerGrace = time.Second
)

func newGroupCommit(d Deps) stock.Reserver {
	s := &GroupCommit{ledger: d.Ledger, log: d.Log}
	metrics := newBatchMetrics(d.Registry)
	options := func(operation string) []batch.Option {
		return []batch.Option{
			batch.WithMaxWeight(maxBatch), batch.WithTimeout(flushTimeout), batch.WithPatience(answerGrace),
			batch.WithObserver(metrics.of(operation)),
		}
	}
	s.reserves = batch.New(flush(s.ledger, s.tryReserves), options("reserve")...)
	s.confirms = batch.New(flush(s.ledger, tryEnds(stock.Confirmed)), options("confirm")...)
	s.releases = batch.New(flush(s.ledger, tryEnds(stock.Released)), options("release")...)
	metrics.waiting("reserve", s.reserves.Queued)
	metrics.waiting("confirm", s.confirms.Queued)
	metrics.waiting("release", s.releases.Queued)
	return s
}

// Reserve implements stock.Reserver.
func (s *GroupCommit) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	if err := s.ledger.Check(r); err != nil {
		return stock.Receipt{}, err
	}
	// What needs no other order is done here, by the callers side by side, and not in the flush.
	r = r.Sorted()
	receipt, err := s.reserves.Do(ctx, reserveCall{Request: r, hash: r.Hash()}, len(r.Lines))
	return receipt, s.explain(ctx, r.OrderNo, err)
}

// Confirm implements stock.Reserver.
func (s *GroupCommit) Confirm(ctx context.Context, orderNo string) error {
	return s.end(ctx, s.confirms, orderNo)
}

// Release implements stock.Reserver.
func (s *GroupCommit) Release(ctx context.Context, orderNo string) error {
	return s.end(ctx, s.releases, orderNo)
}

func (s *GroupCommit) end(ctx context.Context, b *batch.Batcher[string, struct{}], orderNo string) error {
	if err := store.CheckOrderNo(orderNo); err != nil {
		return err
	}
	_, err := b.Do(ctx, orderNo, 1)
	return s.explain(ctx, orderNo, err)
}

// Close waits for the flushes that are running.
func (s *GroupCommit) Close() error {
	return errors.Join(s.reserves.Close(), s.confirms.Close(), s.releases.Close())
}

// explain turns what the batcher says into faults, and puts a panic of the flush into the log.
func (s *GroupCommit) explain(ctx context.Context, orderNo string, err error) error {
	if p, ok := errors.AsType[*batch.PanicError](err); ok {
		s.log.ErrorContext(ctx, "flush panicked", "order_no", orderNo, "panic", p.Value, "stack", string(p.Stack))
	}
	if own := batchfault.Of(err); own != nil {
		return own
	}
	return err
}

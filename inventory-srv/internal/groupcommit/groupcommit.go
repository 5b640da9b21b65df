// Package groupcommit is the strategy that makes one transaction of all orders that arrive while another one runs.
//
// A call passes the files in this order: [Reserver] queues it (groupcommit.go) in the batcher of an operation
// (aside.go). A flush runs the transaction and repeats it (flush.go). An attempt locks what its calls need (attempt.go,
// rows.go), decides and writes (reserve.go, end.go). An order that is alone takes a shorter way (lone.go).
package groupcommit

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/internal/batchfault"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/batch"
)

// Name is the strategy's name in the configuration and on its reservations.
const Name = "group-commit"

// Reserver makes one transaction of all orders that arrive while another one runs.
//
// Idea:        callers queue in this process. One transaction locks all their rows once, decides in memory, first come,
// first served, writes with three statements, and commits once. Only then every caller is answered.
// Statements:  SELECT … FOR UPDATE, in SKU order; one INSERT of all headers and one of all lines; UPDATE … CASE sku …;
// COMMIT. Where rows are looked up, the primary key is forced.
// Goes wrong:  an answer before COMMIT, even a refusal, depends on sales that may be rolled back. Without the forced
// index the server may scan, and scans deadlock. One order's bad data fails its whole batch; the batch is halved to
// find it. A row that another session keeps locked delays one flush for one lock wait (1 s); then its orders wait in a
// batcher of their own.
// Cost:        code. A lone order of one line takes one statement less than with Conditional, as it reads nothing: it
// is written by what an earlier flush has read, and both of its statements check that (lone.go).
// Choose it:   one SKU must sell faster than a database can commit orders one by one. Throughput grows with contention.
//
// Transcript of group-commit, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	START TRANSACTION
//	SELECT s.sku, s.layout, s.lab, s.available, (SELECT title FROM products AS p WHERE p.sku = s.sku) AS title,
//	      COALESCE((SELECT price_cents FROM products AS p WHERE p.sku = s.sku), 0) AS price_cents
//	    FROM stock AS s FORCE INDEX (PRIMARY)
//	    WHERE s.sku IN ('CAP','MUG') ORDER BY s.sku FOR UPDATE
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2','reserved','<hash>','group-commit')
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2','CAP',1,250),('ORDER-2','MUG',2,250)
//	UPDATE stock FORCE INDEX (PRIMARY)
//	    SET available = available - CASE sku WHEN 'CAP' THEN 1 WHEN 'MUG' THEN 2 END, reserved = reserved + CASE sku
//	      WHEN 'CAP' THEN 1 WHEN 'MUG' THEN 2 END, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku IN ('CAP','MUG') AND available >= CASE sku WHEN 'CAP' THEN 1 WHEN 'MUG' THEN 2 END
//	COMMIT
type Reserver struct {
	ledger   *store.Ledger
	log      *slog.Logger
	reserves operation[reserveCall, stock.Receipt]
	confirms operation[string, struct{}]
	releases operation[string, struct{}]
	recheck  atomic.Int64 // flushes that still look for known orders first, see recheckFlushes
	guesses  guesses
}

var _ stock.Reserver = (*Reserver)(nil)

const (
	// maxBatch is the largest number of lines in one transaction. More sell no faster, and a retry repeats all of them.
	maxBatch = 1024
	// flushTimeout is longer than one lock wait (2 s at most), so that a flush with a locked row has time to execute the
	// calls that do not need that row.
	flushTimeout = 4 * time.Second
	// answerGrace is how long a caller waits past its own deadline for the outcome of a flush that has begun, as
	// database.InTx does for a COMMIT.
	answerGrace = time.Second
)

// New makes the strategy. Its flushes use the ledger's connections. With a nil registry no metrics are registered. The
// caller closes the Reserver.
func New(ledger *store.Ledger, log *slog.Logger, registry prometheus.Registerer) *Reserver {
	s := &Reserver{ledger: ledger, log: log, guesses: guesses{bySKU: map[string]guess{}}}
	metrics, blocked := newMetrics(registry), newBlockedRows(log)
	s.reserves = operation[reserveCall, stock.Receipt]{
		ledger: s.ledger, try: s.tryReserves, orderNo: func(r reserveCall) string { return r.OrderNo },
		weight: func(r reserveCall) int { return len(r.Lines) }, blocked: blocked,
	}
	s.reserves.init("reserve", metrics)
	end := func(to stock.Status) operation[string, struct{}] {
		return operation[string, struct{}]{
			ledger: s.ledger, try: tryEnds(to), orderNo: func(no string) string { return no }, weight: func(string) int { return 1 }, blocked: blocked,
		}
	}
	s.confirms, s.releases = end(stock.Confirmed), end(stock.Released)
	s.confirms.init("confirm", metrics)
	s.releases.init("release", metrics)
	return s
}

// Reserve implements stock.Reserver.
func (s *Reserver) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	one := s.ReserveAll(ctx, []stock.Request{r})[0]
	return one.Receipt, one.Err
}

// ReserveAll implements strategy.Gatherer. The requests join the queue together.
func (s *Reserver) ReserveAll(ctx context.Context, requests []stock.Request) []stock.Outcome {
	outcomes := make([]stock.Outcome, len(requests))
	calls, of := make([]reserveCall, 0, len(requests)), make([]int, 0, len(requests)) // of: their requests
	for i, r := range requests {
		if outcomes[i].Err = s.ledger.Check(r); outcomes[i].Err == nil {
			// Sorting and hashing run here, in parallel for all callers, and not in the flush.
			calls, of = append(calls, newReserveCall(r)), append(of, i)
		}
	}
	for n, r := range s.reserves.do(ctx, calls...) {
		i := of[n]
		outcomes[i] = stock.Outcome{Receipt: r.Value, Err: s.explain(ctx, requests[i].OrderNo, r.Err)}
	}
	return outcomes
}

// FullBatch implements strategy.BatchReserver.
func (s *Reserver) FullBatch() int { return maxBatch }

// ReserveBatch implements strategy.BatchReserver.
func (s *Reserver) ReserveBatch(ctx context.Context, requests []stock.Request) error {
	calls := make([]reserveCall, len(requests))
	for i, r := range requests {
		if err := s.ledger.Check(r); err != nil {
			return err
		}
		calls[i] = newReserveCall(r)
	}
	for _, result := range s.reserves.main.Run(ctx, calls) {
		if result.Err != nil {
			return result.Err
		}
	}
	return nil
}

// Confirm implements stock.Reserver.
func (s *Reserver) Confirm(ctx context.Context, orderNo string) error {
	return s.end(ctx, &s.confirms, orderNo)
}

// Release implements stock.Reserver.
func (s *Reserver) Release(ctx context.Context, orderNo string) error {
	return s.end(ctx, &s.releases, orderNo)
}

func (s *Reserver) end(ctx context.Context, o *operation[string, struct{}], orderNo string) error {
	if err := stock.CheckOrderNo(orderNo); err != nil {
		return err
	}
	return s.explain(ctx, orderNo, o.do(ctx, orderNo)[0].Err)
}

// ReadsHeaders implements strategy.HeaderReader. A flush reads the headers of all its orders.
func (s *Reserver) ReadsHeaders() {}

// Close waits for the flushes that are running.
func (s *Reserver) Close() error {
	return errors.Join(s.reserves.close(), s.confirms.close(), s.releases.close())
}

// explain turns the batcher's errors into faults, and logs a panic of the flush.
func (s *Reserver) explain(ctx context.Context, orderNo string, err error) error {
	if p, ok := errors.AsType[*batch.PanicError](err); ok {
		s.log.ErrorContext(ctx, "flush panicked", "order_no", orderNo, "panic", p.Value, "stack", string(p.Stack))
	}
	if own := batchfault.Of(err); own != nil {
		return own
	}
	return err
}

// Package groupcommit is the strategy that makes one transaction of all orders that arrive while another one runs.
//
// A call goes through the files in this order: [Reserver] queues it (groupcommit.go) in an operation's batcher (aside.go), a
// flush runs a transaction and repeats it (flush.go), an attempt locks what its calls need (attempt.go, rows.go) and decides
// and writes (reserve.go, end.go).
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

// Reserver gathers the orders that come while one transaction runs into the next one.
//
// Idea:        callers queue in this process; one of them locks the union of their rows once, the memory decides, first
// come, first served, three statements write it all, one COMMIT makes it durable, and only then all are answered.
// Statements:  SELECT … FOR UPDATE, in SKU order; one INSERT of all headers and one of all lines; UPDATE … CASE sku …; COMMIT.
// Where rows are looked up, the primary key is forced.
// Goes wrong:  an answer before COMMIT, refusals too: they follow from sales that may yet be undone. Without the forced
// index the server may scan, and scans deadlock. One order's bad data fails its whole batch: halves find it. A row that
// another session keeps locked holds up one flush for one lock wait (1 s); then its orders wait apart from the others.
// Cost:        code. An order that is alone takes as many statements as with Conditional.
// Choose it:   one SKU must sell faster than a database can commit one by one: the more contend for it, the better it gets.
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
	wary     atomic.Int64 // see tryReserves
}

var _ stock.Reserver = (*Reserver)(nil)

const (
	// maxBatch is how many lines one transaction holds. More would sell no faster, and a repetition costs all of it.
	maxBatch = 1024
	// flushTimeout is more than one lock wait (2 s at most), so that a flush that meets a locked row has time to
	// execute the calls that do not need it.
	flushTimeout = 4 * time.Second
	// answerGrace is how long a caller waits past its own deadline for an outcome that is on its way, as database.InTx
	// does for a COMMIT.
	answerGrace = time.Second
)

// New makes the strategy, whose flushes run on the ledger's connections. A nil registry registers no metrics. The caller
// closes the Reserver.
func New(ledger *store.Ledger, log *slog.Logger, registry prometheus.Registerer) *Reserver {
	s := &Reserver{ledger: ledger, log: log}
	metrics, blocked := newMetrics(registry), newBlockedRows(log)
	s.reserves = operation[reserveCall, stock.Receipt]{
		ledger: s.ledger, try: s.tryReserves, orderNo: func(r reserveCall) string { return r.OrderNo }, blocked: blocked,
	}
	s.reserves.init("reserve", metrics)
	end := func(to stock.Status) operation[string, struct{}] {
		return operation[string, struct{}]{
			ledger: s.ledger, try: tryEnds(to), orderNo: func(no string) string { return no }, blocked: blocked,
		}
	}
	s.confirms, s.releases = end(stock.Confirmed), end(stock.Released)
	s.confirms.init("confirm", metrics)
	s.releases.init("release", metrics)
	return s
}

// Reserve implements stock.Reserver.
func (s *Reserver) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	if err := s.ledger.Check(r); err != nil {
		return stock.Receipt{}, err
	}
	// What needs no other order is done here, by the callers side by side, and not in the flush.
	r = r.Sorted()
	receipt, err := s.reserves.do(ctx, reserveCall{Request: r, hash: r.Hash()}, len(r.Lines))
	return receipt, s.explain(ctx, r.OrderNo, err)
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
	if err := store.CheckOrderNo(orderNo); err != nil {
		return err
	}
	_, err := o.do(ctx, orderNo, 1)
	return s.explain(ctx, orderNo, err)
}

// Batches implements strategy.Batcher.
func (s *Reserver) Batches() {}

// ReadsHeaders implements strategy.HeaderReader. A flush reads the headers of all its orders.
func (s *Reserver) ReadsHeaders() {}

// Close waits for the flushes that are running.
func (s *Reserver) Close() error {
	return errors.Join(s.reserves.close(), s.confirms.close(), s.releases.close())
}

// explain turns what the batcher says into faults, and puts a panic of the flush into the log.
func (s *Reserver) explain(ctx context.Context, orderNo string, err error) error {
	if p, ok := errors.AsType[*batch.PanicError](err); ok {
		s.log.ErrorContext(ctx, "flush panicked", "order_no", orderNo, "panic", p.Value, "stack", string(p.Stack))
	}
	if own := batchfault.Of(err); own != nil {
		return own
	}
	return err
}

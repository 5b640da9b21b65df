package strategy

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/pkg/fault"
	"holdfast/pkg/lock"
)

// Redlock takes its lease from a majority of independent Redis nodes, so that the loss of one of them is no loss of the
// lock.
//
// Idea:        the queue of RedisLock without its single point of failure.
// Statements:  the lease, on every node; the guarded UPDATEs of Conditional; COMMIT; only then the end of the lease.
// Goes wrong:  a majority has no common counter, so there is no fencing token, and the row cannot refuse a holder that
// overslept. A node that restarts without its data votes twice; a clock that jumps ends a lease early. Hence the
// database decides.
// Cost:        a round trip to every node, the slowest of the majority counting, and a majority must be up.
// Choose it:   the queue must survive the loss of a node. It makes nothing safe that Conditional has not made safe
// already.
//
// Transcript of redlock, one CAP and two MUGs, as the servers log it (TestTranscripts):
//
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	Redis: EVALSHA acquire.lua 2 {lock:}key:stock:CAP {lock:}key:stock:MUG <owner>:1 <owner> 8000 2 -1 500
//	Redis:   GET {lock:}key:stock:CAP
//	Redis:   GET {lock:}key:stock:MUG
//	Redis:   SET {lock:}key:stock:CAP <owner>:1 PX 8000
//	Redis:   SET {lock:}key:stock:MUG <owner>:1 PX 8000
//	START TRANSACTION
//	SELECT sku, title, price_cents AS unit_price_cents FROM products WHERE sku IN ('CAP','MUG')
//	INSERT INTO reservations (order_no, status, request_hash, strategy)
//	    VALUES ('ORDER-2', 'reserved', '<hash>', 'redlock')
//	    ON DUPLICATE KEY UPDATE order_no = order_no
//	UPDATE stock
//	    SET available = available - 1, reserved = reserved + 1, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'CAP' AND layout = 'row' AND available >= 1
//	UPDATE stock
//	    SET available = available - 2, reserved = reserved + 2, version = version + 1, updated_at = UTC_TIMESTAMP(6)
//	    WHERE sku = 'MUG' AND layout = 'row' AND available >= 2
//	INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
//	    VALUES ('ORDER-2', 'CAP', 1, 250), ('ORDER-2', 'MUG', 2, 250)
//	COMMIT
//	Redis: EVALSHA release.lua 2 {lock:}key:stock:CAP {lock:}key:stock:MUG <owner>:1 {lock:}freed
//	Redis:   GET {lock:}key:stock:CAP
//	Redis:   DEL {lock:}key:stock:CAP
//	Redis:   PUBLISH {lock:}freed {lock:}key:stock:CAP
//	Redis:   GET {lock:}key:stock:MUG
//	Redis:   DEL {lock:}key:stock:MUG
//	Redis:   PUBLISH {lock:}freed {lock:}key:stock:MUG
type Redlock struct {
	rowStock // Confirm and Release, common to the row layout
	servers  *Nodes
	nodes    Acquirer // nil without servers
	leased   leased
}

var (
	_ stock.Reserver = (*Redlock)(nil)
	_ Prober         = (*Redlock)(nil)
)

// Acquirer is what a strategy needs of a lock service that gives no fencing tokens.
type Acquirer interface {
	Acquire(ctx context.Context, keys ...string) (*lock.Lease, error)
}

// errNoNodes is the answer of a service without REDLOCK_ADDRS.
var errNoNodes = fault.New(fault.Unavailable, "redlock_unavailable", "this service has no Redlock nodes (REDLOCK_ADDRS)").NotExecuted()

func newRedlock(d Deps) stock.Reserver {
	return &Redlock{
		rowStock: rowStock{ledger: d.Ledger}, servers: d.Redlock, nodes: d.Redlock.Acquirer(),
		leased: leased{log: d.Log, lost: promauto.With(d.Registry).NewCounter(prometheus.CounterOpts{
			Name: "stock_redlock_lost_total", Help: "Reserves that were cut because their lease on the Redlock nodes was lost or too old.",
		})},
	}
}

// Probe implements Prober.
func (s *Redlock) Probe(ctx context.Context) error { return s.servers.Probe(ctx) }

// Reserve implements stock.Reserver. A holder whose lease has ended acquires a new one, until ctx ends.
func (s *Redlock) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	if s.nodes == nil {
		return stock.Receipt{}, errNoNodes
	}
	if err := s.ledger.Refuse(ctx, r); err != nil {
		return stock.Receipt{}, err
	}
	return s.leased.reserve(ctx, s.nodes, r, func(work context.Context, _ *lock.Lease) (stock.Receipt, error) {
		return s.ledger.Reserve(work, r, deductConditionally)
	})
}

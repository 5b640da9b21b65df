package flow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/crash"
	"holdfast/pkg/fault"
	"holdfast/pkg/wait"
)

// NameXA is the flow's name, by which an audit finds the orders that have branches.
const NameXA = "xa"

const (
	// xaParallel is how many orders a replica prepares at the same time. Each holds a connection and its rows' locks
	// until it is committed. More would only wait for the rows of a hot product.
	xaParallel = 16

	// xaPrepare is the time of one call that prepares inventory's branch: more than inventory waits for a row lock
	// (2 s). A call that is cut leaves a branch that may be prepared later.
	xaPrepare = 2500 * time.Millisecond

	xaEnd   = 2 * time.Second  // of one call that ends a branch, and of one step of the recovery
	xaPass  = time.Second      // between two passes of the recovery
	xaGrace = 3 * time.Second  // a younger decision is being executed by the request that made it
	xaRest  = 15 * time.Second // after so long without an order of the flow, the branches are listed this seldom
	xaBatch = 200              // rows of the log that a pass reads
	xaStart = 10 * time.Second

	xaSettling = 8 // orders that the recovery ends at the same time
)

// Branches is what the flow needs of inventory-srv.
type Branches interface {
	PrepareBranch(ctx context.Context, r inventoryapi.PrepareRequest) (*inventoryapi.Receipt, error)
	CommitBranch(ctx context.Context, orderNo string) error
	RollbackBranch(ctx context.Context, orderNo string) error
	Branches(ctx context.Context) ([]inventoryapi.Branch, error)
}

var _ Branches = (*inventoryapi.Client)(nil)

// xaLog is the coordinator's log. *store.Store has it; the tests of the guards have one with a mistake.
type xaLog interface {
	DecideXA(ctx context.Context, orderNo string, decision store.XAState, age time.Duration) (won bool, err error)
	EndXA(ctx context.Context, orderNo string, by store.Healer) (won bool, err error)
	OpenXA(ctx context.Context, limit int) ([]store.XA, error)
	XAOf(ctx context.Context, orderNos []string) ([]store.XA, error)
}

// xaBranches are the branches in the database of orders.
type xaBranches interface {
	PrepareXA(ctx context.Context, d store.Decision) (order.Order, error)
	CommitXA(ctx context.Context, orderNo string) error
	RollbackXA(ctx context.Context, orderNo string) error
	PreparedXA(ctx context.Context) ([]string, error)
}

// xaDatabase is what the flow has in the database of orders.
type xaDatabase interface {
	xaLog
	xaBranches
}

var _ xaDatabase = (*store.Store)(nil)

// Recoverer is a flow whose recovery the migration of the schema may have to wait for.
type Recoverer interface {
	// RecoverMeanwhile recovers once, and then periodically until stop is called or ctx is done.
	RecoverMeanwhile(ctx context.Context) (stop func())
}

// XA places orders by two-phase commit: inventory and orders each do their part in a branch of one global transaction
// and prepare it, and both are committed only after both are prepared. order-srv coordinates. Its decision is one
// guarded UPDATE of its log, which is committed before any branch is.
//
// Idea:        prepare everywhere, decide in one place, then commit everywhere.
// Steps:       PENDING and the log → prepare inventory → prepare orders → decide → commit inventory → commit orders.
// Goes wrong:  a coordinator that dies between PREPARE and COMMIT leaves both prepared. Their rows are locked, also for
// orders that have nothing to do with it, until a recovery ends them: every participant works, and nothing moves.
// Cost:        the stock row is locked over four calls instead of one statement.
// Choose it:   all participants are databases of one operator, and the load on each row is low.
type XA struct {
	Base
	Deps
	placing, ending xaDatabase // for placing orders, and for work that is not a buyer's request
	slots           chan struct{}
	metrics         xaMetrics
	reminders       *reminders // of the recovery: by order, and "" for a pass

	used, listed time.Time // when the recovery, which alone has them, last found something, and last listed the branches
}

var (
	_ Flow      = (*XA)(nil)
	_ Leaver    = (*XA)(nil)
	_ Recoverer = (*XA)(nil)
)

// xaMetrics are the coordinator's. All replicas report the same branches: they ask the same databases.
type xaMetrics struct {
	inDoubt *prometheus.GaugeVec // by side
	oldest  prometheus.Gauge
	ended   *prometheus.CounterVec // by decision and by whom
	alarms  prometheus.Counter
}

// NewXA returns the flow.
func NewXA(d Deps) *XA {
	with := promauto.With(d.Registry)
	f := &XA{Deps: d, ending: d.Upkeep, slots: make(chan struct{}, xaParallel), reminders: newReminders(time.Now), metrics: xaMetrics{
		inDoubt: with.NewGaugeVec(prometheus.GaugeOpts{Name: "order_xa_in_doubt", Help: "Prepared branches of the flow xa, by side."}, []string{"side"}),
		oldest:  with.NewGauge(prometheus.GaugeOpts{Name: "order_xa_oldest_seconds", Help: "How long the oldest order of the flow xa has been in its state without being done."}),
		ended:   with.NewCounterVec(prometheus.CounterOpts{Name: "order_xa_ended_total", Help: "Orders of the flow xa whose branches this process has ended, by decision and by whom."}, []string{"decision", "by"}),
		alarms:  with.NewCounter(prometheus.CounterOpts{Name: "order_xa_alarms_total", Help: "Alarms about branches that were found ended against the decision. One is repeated after growing pauses, up to 10 minutes. An operator has to look."}),
	}}
	if d.Resolver != nil {
		f.placing = d.Store
	}
	return f
}

// Begin implements Flow.
func (f *XA) Begin(tx *store.Tx, orders []order.Order) error { return tx.BeginXA(orders) }

// Place implements Flow. Each order is a global transaction of its own.
func (f *XA) Place(ctx context.Context, group []*Member) {
	var running sync.WaitGroup
	for _, m := range group {
		running.Go(func() {
			select {
			case f.slots <- struct{}{}:
				defer func() { <-f.slots }()
				f.placeOne(ctx, m)
			case <-time.After(time.Until(m.reserveEnd()) - leastAttempt):
				f.fail(ctx, m, fault.ErrTimeout.NotExecuted(), false)
			}
		})
	}
	running.Wait()
}

// placeOne runs the global transaction of an order.
func (f *XA) placeOne(ctx context.Context, m *Member) {
	receipt, maybe, err := f.prepareInventory(ctx, m)
	if err != nil {
		f.fail(ctx, m, err, maybe)
		return
	}
	crash.At(crash.OrderXAPreparedInventory)
	// From here on the units are taken: the time for writing the outcome is used.
	ctx, cancel := resolving(ctx, []decision{{m: m}})
	defer cancel()
	placed, err := f.placing.PrepareXA(ctx, store.Decision{OrderNo: m.OrderNo, RequestID: m.RequestID, Placement: placement(receipt, m.window)})
	if err != nil {
		f.fail(ctx, m, err, true)
		return
	}
	crash.At(crash.OrderXAPreparedBoth)
	won, err := f.placing.DecideXA(ctx, m.OrderNo, store.XACommit, 0)
	if err != nil || !won {
		// The outcome is unknown, or the recovery has decided otherwise. Either way it ends the order.
		f.Log.WarnContext(ctx, "order stays pending, its decision is left to the recovery", "order_no", m.OrderNo, "err", err)
		m.leave()
		return
	}
	crash.At(crash.OrderXADecided)
	if err := f.commit(ctx, m.OrderNo, store.NoHealer); err != nil {
		f.Log.WarnContext(ctx, "order is decided, its branches are left to the recovery", "order_no", m.OrderNo, "err", err)
		m.leave()
		return
	}
	m.end(Result{Order: placed})
}

// prepareInventory prepares inventory's branch, with retries until the member's time is up. maybe: the branch may be
// prepared, or may be later, although there is no receipt.
func (f *XA) prepareInventory(ctx context.Context, m *Member) (receipt *inventoryapi.Receipt, maybe bool, err error) {
	request := inventoryapi.PrepareRequest(reserveOrder(m.Order))
	backoff := wait.Backoff{First: firstPause, Max: lastPause, Attempt: leastAttempt}
	ctx, cancel := context.WithDeadline(ctx, m.reserveEnd())
	defer cancel()
	err = fault.ErrTimeout.NotExecuted() // when no time is left for the first attempt
	for try := 1; time.Until(m.reserveEnd()) >= leastAttempt; try++ {
		call, stop := context.WithTimeout(ctx, xaPrepare)
		receipt, err = f.Branches.PrepareBranch(call, request)
		stop()
		if err == nil {
			return receipt, true, nil
		}
		maybe = maybe || fault.Ambiguous(err)
		if definite(err) || !passing(err) || backoff.Sleep(ctx, try) != nil {
			break
		}
	}
	return nil, maybe, err
}

// fail aborts the global transaction of a member and rejects the order. The decision comes first: a call to prepare
// that is still on its way finds the tombstone of the order, or its branch is rolled back by the recovery.
func (f *XA) fail(ctx context.Context, m *Member, cause error, maybe bool) {
	ctx, cancel := resolving(ctx, []decision{{m: m}})
	defer cancel()
	won, err := f.placing.DecideXA(ctx, m.OrderNo, store.XAAbort, 0)
	if err != nil || !won {
		f.Log.WarnContext(ctx, "order stays pending, its decision is left to the recovery", "order_no", m.OrderNo, "cause", cause, "err", err)
		m.leave()
		return
	}
	failed := f.rollBack(ctx, m.OrderNo, maybe)
	d := decision{m: m, rejection: &store.Rejection{Refusal: cause, GiveBack: maybe, Shortage: errors.Is(cause, inventoryapi.ErrOutOfStock)}}
	if !definite(cause) {
		refusal := notExecuted(cause)
		d = decision{m: m, rejection: &store.Rejection{Refusal: refusal, FreeKey: true, GiveBack: maybe}, failure: refusal, unwritten: Result{}}
	}
	f.write(ctx, []decision{d})
	if failed == nil && !m.open {
		failed = f.end(ctx, m.OrderNo, store.XAAbort, store.NoHealer)
	}
	if failed != nil {
		f.Log.WarnContext(ctx, "order is aborted, its branches are left to the recovery", "order_no", m.OrderNo, "err", failed)
	}
}

// rollBack rolls back the branches. The own one comes first: it locks the order's row.
func (f *XA) rollBack(ctx context.Context, orderNo string, inventory bool) error {
	err := f.ending.RollbackXA(ctx, orderNo)
	if !inventory {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, xaEnd)
	defer cancel()
	return errors.Join(err, f.UpkeepBranches.RollbackBranch(ctx, orderNo))
}

// commit commits both branches of an order for which that was decided. Inventory comes first: the other way round a
// PLACED order would be seen that has no reservation.
func (f *XA) commit(ctx context.Context, orderNo string, by store.Healer) error {
	call, cancel := context.WithTimeout(ctx, xaEnd)
	defer cancel()
	if err := f.UpkeepBranches.CommitBranch(call, orderNo); err != nil {
		return fmt.Errorf("commit inventory's branch: %w", err)
	}
	crash.At(crash.OrderXACommittedInventory)
	if err := f.ending.CommitXA(ctx, orderNo); err != nil {
		return err
	}
	return f.end(ctx, orderNo, store.XACommit, by)
}

// end records in the log that both branches have ended, and counts it once for all replicas.
func (f *XA) end(ctx context.Context, orderNo string, decision store.XAState, by store.Healer) error {
	won, err := f.ending.EndXA(ctx, orderNo, by)
	if err != nil || !won {
		return err
	}
	whose := "request"
	if by != store.NoHealer {
		whose = "recovery"
		if f.Healed != nil {
			f.Healed.WithLabelValues(string(by)).Inc()
		}
	}
	f.metrics.ended.WithLabelValues(string(decision), whose).Inc()
	return nil
}

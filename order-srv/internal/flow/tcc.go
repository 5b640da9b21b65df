package flow

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/crash"
	"holdfast/pkg/fault"
	"holdfast/pkg/wait"
)

// NameTCC is the flow's name, by which an audit finds the orders that have money in the wallet.
const NameTCC = "tcc"

const (
	phaseBatch    = 32              // orders that a replica claims at a time
	phaseParallel = 16              // calls to the wallet at the same time
	phaseTime     = 2 * time.Second // of one call

	// phaseLease is how long a claim lasts. It is longer than a batch takes, or two replicas would work on one order. That
	// would be slower and not wrong: the wallet does nothing twice.
	phaseLease = 10 * time.Second

	phasePoll  = 50 * time.Millisecond // between two looks at the log while orders change
	phaseLooks = 4                     // after a change: the first ones may come before its COMMIT
	phaseIdle  = time.Second           // between two looks while no order changes
	phaseGauge = 5 * time.Second       // between two readings of what is in doubt

	// The pause after a failed attempt doubles from the first to the last. An attempt that the wallet has refused for good
	// is repeated after the last: an operator may mend the wallet.
	firstPhasePause = 200 * time.Millisecond
	lastPhasePause  = time.Minute
	phaseAlarm      = 8 // attempts after which an alarm is logged, and again after as many
)

// Wallet is what the flow needs of the wallet.
type Wallet interface {
	Freeze(ctx context.Context, r walletapi.FreezeRequest) error
	Confirm(ctx context.Context, orderNo string) error
	Cancel(ctx context.Context, orderNo string, r walletapi.CancelRequest) error
	Refund(ctx context.Context, orderNo string) error
}

var _ Wallet = (*walletapi.Client)(nil)

// TCC places orders with two participants, inventory and the wallet, by three phases that each of them has. Trying
// takes the units and the money aside: stock first, as the price comes with its receipt, then the freeze. Both can
// still be given back. The transaction that pays, cancels or expires an order also writes what the wallet is to do to
// the coordinator's log, and the coordinator repeats it until the wallet has done it. Stock is confirmed and released
// by the events that all flows send.
//
// A try that was refused, lost or cut is cancelled. The network may bring the cancellation first, twice, or before a
// try that it has delayed. Both participants write a tombstone then.
//
// Idea:        take everything aside, and decide only when nothing can refuse any more.
// Steps:       PENDING and the log → reserve → freeze → PLACED; payment → confirm; any other end → cancel.
// Goes wrong:  a cancel before its try (empty cancel), a try after its cancel (hanging), a phase executed twice.
// Cost:        a call to each participant for each phase, a log, and three idempotent operations in each participant.
// Choose it:   an order needs more than stock, and each participant can take its part aside.
type TCC struct {
	Base
	Deps
	looks   atomic.Int32 // at the log that are to come soon, because an order has changed
	metrics tccMetrics
}

var (
	_ Flow        = (*TCC)(nil)
	_ Participant = (*TCC)(nil)
	_ Leaver      = (*TCC)(nil)
)

// tccMetrics are the coordinator's. All replicas report the same orders in doubt: they share the log.
type tccMetrics struct {
	inDoubt, oldest *prometheus.GaugeVec   // by state
	phases          *prometheus.CounterVec // by phase and result
	alarms          prometheus.Counter
}

// NewTCC returns the flow.
func NewTCC(d Deps) *TCC {
	with := promauto.With(d.Registry)
	return &TCC{Deps: d, metrics: tccMetrics{
		inDoubt: with.NewGaugeVec(prometheus.GaugeOpts{Name: "order_tcc_in_doubt", Help: "Orders of the flow tcc whose last phase is not done, by the state of the coordinator's log."}, []string{"state"}),
		oldest:  with.NewGaugeVec(prometheus.GaugeOpts{Name: "order_tcc_oldest_seconds", Help: "How long the oldest of these orders has been in its state."}, []string{"state"}),
		phases:  with.NewCounterVec(prometheus.CounterOpts{Name: "order_tcc_phases_total", Help: "Attempts of this process to execute a phase, by phase and result."}, []string{"phase", "result"}),
		alarms:  with.NewCounter(prometheus.CounterOpts{Name: "order_tcc_alarms_total", Help: "Phases that the wallet refuses, or that have failed several times. The coordinator goes on; an operator has to look."}),
	}}
}

// Begin implements Flow.
func (f *TCC) Begin(tx *store.Tx, orders []order.Order) error { return tx.BeginLog(orders) }

// Decided implements Flow. A rejected or abandoned order is to be cancelled if anything may have been taken for it.
func (f *TCC) Decided(tx *store.Tx, orderNos []string) error {
	f.looks.Store(phaseLooks)
	return tx.FollowLog(orderNos)
}

// Ended implements Flow.
func (f *TCC) Ended(tx *store.Tx, o order.Order) error {
	f.looks.Store(phaseLooks)
	return tx.FollowLog([]string{o.OrderNo})
}

// Left implements Leaver. An order whose phase is not done does not leave, and keeps all orders after it: its money
// would be forgotten with its row of the log.
func (f *TCC) Left(tx *store.Tx, orderNos []string) error { return tx.LeaveLog(orderNos) }

// Place implements Flow. It is the try phase.
func (f *TCC) Place(ctx context.Context, group []*Member) {
	for _, m := range group {
		m.participant = f
	}
	f.Resolve(ctx, group)
}

// Try implements Participant. It freezes the money of an order that has its units.
func (f *TCC) Try(ctx context.Context, o order.Order, amountCents int64) error {
	return f.Wallet.Freeze(ctx, walletapi.FreezeRequest{OrderNo: o.OrderNo, UserID: o.UserID, AmountCents: amountCents})
}

// Refused implements Participant.
func (f *TCC) Refused(err error) bool {
	if fault.Ambiguous(err) {
		return false
	}
	return errors.Is(err, walletapi.ErrInsufficientFunds) || errors.Is(err, walletapi.ErrFreezeClosed) || errors.Is(err, walletapi.ErrFreezeMismatch)
}

// StalePending implements Flow.
func (f *TCC) StalePending() time.Duration { return f.SweepAfter }

// Recover implements Flow. It abandons the orders and asks inventory by message to release what they hold. The log says
// in the same transaction that the wallet is to cancel.
func (f *TCC) Recover(ctx context.Context, orderNos []string) (int, error) {
	return f.Upkeep.Abandon(ctx, orderNos, f.SweepAfter, true, store.Sweeper)
}

// Workers implements Flow.
func (f *TCC) Workers() []func(context.Context) {
	return []func(context.Context){f.coordinate, f.measure}
}

// coordinate executes phases that are due until ctx is done. Each replica does; the claims keep them apart.
func (f *TCC) coordinate(ctx context.Context) {
	tick := time.NewTicker(phasePoll)
	defer tick.Stop()
	looked := time.Time{}
	for {
		if f.looks.Add(-1) >= 0 || time.Since(looked) >= phaseIdle {
			looked = time.Now()
			f.drain(ctx)
		}
		f.looks.CompareAndSwap(-1, 0)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// drain executes what is due, batch by batch. After a failure the rest waits for the next look.
func (f *TCC) drain(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := f.round(ctx)
		if err != nil && ctx.Err() == nil {
			f.Log.WarnContext(ctx, "coordinator round failed", "err", err)
		}
		if n < phaseBatch || err != nil {
			return
		}
	}
}

// round claims and executes a batch, and returns how many rows were due. An error leaves claims to the next lease.
func (f *TCC) round(ctx context.Context) (n int, err error) {
	phases, n, err := f.Upkeep.ClaimPhases(ctx, phaseBatch, phaseLease)
	if len(phases) == 0 {
		return n, err
	}
	failures := make([]error, len(phases))
	slots := make(chan struct{}, phaseParallel)
	var running sync.WaitGroup
	for i, p := range phases {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			failures[i] = f.execute(ctx, p)
		})
	}
	running.Wait()
	var done []store.Phase
	errs := []error{err}
	for i, p := range phases {
		if failures[i] == nil {
			done = append(done, p)
			continue
		}
		errs = append(errs, f.failed(ctx, p, failures[i]))
	}
	if len(done) > 0 {
		crash.At(crash.OrderPhaseDone)
		errs = append(errs, f.end(ctx, done))
	}
	return n, errors.Join(errs...)
}

// execute has the wallet do what the log says. It may have done so before.
func (f *TCC) execute(ctx context.Context, p store.Phase) error {
	ctx, cancel := context.WithTimeout(ctx, phaseTime)
	defer cancel()
	switch p.State {
	case store.LogConfirming:
		crash.At(crash.OrderConfirming)
		return f.UpkeepWallet.Confirm(ctx, p.OrderNo)
	case store.LogCancelling:
		crash.At(crash.OrderCancelling)
		return f.UpkeepWallet.Cancel(ctx, p.OrderNo, walletapi.CancelRequest{UserID: p.UserID, AmountCents: p.AmountCents})
	case store.LogRefunding:
		// The order was PAID, so it is paid before it is refunded, and both have their entries. The refund may have come
		// before the confirmation was executed.
		if err := f.UpkeepWallet.Confirm(ctx, p.OrderNo); err != nil {
			return err
		}
		return f.UpkeepWallet.Refund(ctx, p.OrderNo)
	default:
		return fmt.Errorf("the log has no phase %q", p.State)
	}
}

// end records what was executed. The rows are also recorded when ctx is done: the wallet has acted.
func (f *TCC) end(ctx context.Context, done []store.Phase) error {
	for _, p := range done {
		f.metrics.phases.WithLabelValues(string(p.State), "done").Inc()
		if p.Attempts > 1 && f.Healed != nil {
			f.Healed.WithLabelValues(string(store.Coordinator)).Inc()
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), phaseTime)
	defer cancel()
	return f.Upkeep.EndPhases(ctx, done)
}

// failed puts a phase off. A phase is never given up: the order has been decided, and the wallet has to follow.
func (f *TCC) failed(ctx context.Context, p store.Phase, failure error) error {
	if ctx.Err() != nil {
		return nil // the process stops; another one claims the row when the lease has ended
	}
	f.metrics.phases.WithLabelValues(string(p.State), "failed").Inc()
	refused, pause := contradicts(failure), phasePause(p.Attempts)
	if refused {
		pause = lastPhasePause
	}
	if refused || p.Attempts%phaseAlarm == 0 {
		f.metrics.alarms.Inc()
		f.Log.ErrorContext(ctx, "coordinator cannot end an order with the wallet", "order_no", p.OrderNo, "phase", p.State, "attempts", p.Attempts, "refused", refused, "err", failure)
	} else {
		f.Log.WarnContext(ctx, "coordinator retries a phase", "order_no", p.OrderNo, "phase", p.State, "attempts", p.Attempts, "err", failure)
	}
	return f.Upkeep.RetryPhase(ctx, p, pause, failure.Error())
}

// contradicts reports an answer by which the wallet has done the opposite of what the log says, or nothing at all.
func contradicts(err error) bool {
	return errors.Is(err, walletapi.ErrFreezeClosed) || errors.Is(err, walletapi.ErrFreezeConfirmed) ||
		errors.Is(err, walletapi.ErrUnknownFreeze) || errors.Is(err, walletapi.ErrFreezeUnpaid)
}

// phasePause is the time until the next attempt after so many.
func phasePause(attempts int) time.Duration {
	pause := firstPhasePause
	for range attempts - 1 {
		if pause *= 2; pause >= lastPhasePause {
			return lastPhasePause
		}
	}
	return pause
}

// measure reports what is in doubt until ctx is done.
func (f *TCC) measure(ctx context.Context) {
	for ctx.Err() == nil {
		if err := f.readInDoubt(ctx); err != nil && ctx.Err() == nil {
			f.Log.WarnContext(ctx, "orders in doubt not counted", "err", err)
		}
		_ = wait.Sleep(ctx, phaseGauge)
	}
}

func (f *TCC) readInDoubt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, phaseTime)
	defer cancel()
	found, err := f.Upkeep.InDoubt(ctx)
	if err != nil {
		return err
	}
	for _, state := range []store.LogState{store.LogTrying, store.LogTried, store.LogConfirming, store.LogCancelling, store.LogRefunding} {
		f.metrics.inDoubt.WithLabelValues(string(state)).Set(0)
		f.metrics.oldest.WithLabelValues(string(state)).Set(0)
	}
	for _, s := range found {
		f.metrics.inDoubt.WithLabelValues(string(s.State)).Set(float64(s.Orders))
		f.metrics.oldest.WithLabelValues(string(s.State)).Set(s.Oldest.Seconds())
	}
	return nil
}

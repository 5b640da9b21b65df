// Package retention has old orders leave the databases of both services. What was paid is archived, and the rest is
// deleted.
//
// There is one cut-off for both databases: an order number that is older than the retention, and up to which an audit
// has proven that every order has ended, is settled and agrees with its reservation. order-srv moves its orders first,
// a step of some hundred at a time, and inventory-srv follows up to the stored cut-off. So a reservation in inventory's
// tables may have its order in the archive, and never the other way round. A reader that needs the order of a
// reservation therefore reads the archive too.
package retention

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/wait"
)

const (
	// startDelay is the time after the start of the process before the first pass. In a rolling upgrade the replicas of
	// the version before end meanwhile: they do not know the archive.
	startDelay = 10 * time.Minute
	// passEvery is the pause after a pass that has left nothing to do.
	passEvery = time.Minute
	// stepPause is the pause after a turn that has left something: other transactions get most of the server's time.
	stepPause = 100 * time.Millisecond

	// turnTime bounds the work under one lease, so that an audit that is asked for begins soon. callTime bounds a call of
	// inventory-srv. A lease outlives both: when a call had no answer, the lease is not ended but runs out, because
	// inventory-srv may still be executing the step and no audit may run meanwhile.
	turnTime = 2 * time.Second
	callTime = 3 * time.Second
	lease    = 10 * time.Second

	// provenPage is how many orders an audit proves together, and auditPause the least time between two audits that are
	// asked for because history is not proven.
	provenPage = 1000
	auditPause = time.Hour
)

// Inventory archives reservations.
type Inventory interface {
	Archive(ctx context.Context, to string) (inventoryapi.Archived, error)
}

// Audits runs audits.
type Audits interface {
	Request(ctx context.Context, everything bool) (orderapi.AuditJob, error)
}

// Config is what a [Worker] needs.
type Config struct {
	Store     *store.Store
	Inventory Inventory
	Audits    Audits
	Age       time.Duration // from which on an order may leave, by the time in its number
	Log       *slog.Logger

	Registerer prometheus.Registerer // default none
}

// Worker has orders leave. Every replica runs one; the lease of the history lets one of them work at a time.
type Worker struct {
	Config
	archived, deleted prometheus.Counter

	followed string    // up to this order number inventory-srv and the other tables have followed
	asked    time.Time // when this worker last asked for an audit
}

// New returns a worker. Run runs it.
func New(c Config) *Worker {
	with := promauto.With(c.Registerer)
	return &Worker{
		Config: c,
		archived: with.NewCounter(prometheus.CounterOpts{
			Name: "order_archived_total", Help: "Paid orders that this process has moved to the archive.",
		}),
		deleted: with.NewCounter(prometheus.CounterOpts{
			Name: "order_deleted_total", Help: "Ended orders, sent messages and healings that this process has deleted after the retention.",
		}),
	}
}

// Run repeats Pass until ctx is done.
func (w *Worker) Run(ctx context.Context) {
	pause := startDelay
	for wait.Sleep(ctx, pause) == nil {
		more, err := w.Pass(ctx)
		if err != nil && ctx.Err() == nil {
			w.Log.WarnContext(ctx, "old orders cannot leave", "err", err)
		}
		if pause = passEvery; more && err == nil {
			pause = stepPause
		}
	}
}

// Pass works for one turn, unless there is nothing to do or an audit or another replica has the history. more reports
// that there is something left. Pass must not run twice at the same time on one worker.
func (w *Worker) Pass(ctx context.Context) (more bool, err error) {
	state, err := w.Store.Retention(ctx, w.Age)
	if err != nil || !state.Ready {
		return false, err
	}
	if err := w.askForProof(ctx, state); err != nil {
		return false, err
	}
	if state.ArchivedTo >= state.Limit && state.ArchivedTo == w.followed {
		return false, nil
	}
	owner := ulid.Make().String()
	begun := time.Now()
	ok, err := w.Store.ClaimHistory(ctx, owner, lease)
	if err != nil || !ok {
		return false, err
	}
	more = true
	for more && time.Since(begun) < turnTime && err == nil {
		more, err = w.step(ctx, owner, &state)
		if waits, waitErr := w.Store.AuditWaits(ctx); waits || waitErr != nil {
			break
		}
	}
	if err != nil {
		return more, err // the lease runs out
	}
	return more, w.Store.LeaveAudit(ctx, owner)
}

// askForProof asks for an audit when enough orders are old enough and not proven.
func (w *Worker) askForProof(ctx context.Context, state store.Retention) error {
	if state.Cutoff >= state.Target || time.Since(w.asked) < auditPause {
		return nil
	}
	unproven, err := w.Store.Unproven(ctx, state.Cutoff, state.Target, provenPage)
	if err != nil || !unproven {
		return err
	}
	if _, err := w.Audits.Request(ctx, false); err != nil {
		return fmt.Errorf("ask for an audit of old orders: %w", err)
	}
	w.asked = time.Now()
	return nil
}

// step lets inventory-srv and the other tables follow, and once they have, takes the next orders. Orders are therefore
// at most one step ahead of their reservations.
func (w *Worker) step(ctx context.Context, owner string, state *store.Retention) (more bool, err error) {
	if state.ArchivedTo != w.followed {
		if more, err = w.follow(ctx, state.ArchivedTo); err != nil || more {
			return more, err
		}
		w.followed = state.ArchivedTo
	}
	if state.ArchivedTo >= state.Limit {
		return false, nil
	}
	done, err := w.Store.Archive(ctx, owner, state.Limit)
	if err != nil {
		return false, err
	}
	state.ArchivedTo = done.ArchivedTo
	w.archived.Add(float64(done.Archived))
	w.deleted.Add(float64(done.Deleted))
	if n := done.Archived + done.Deleted; n > 0 {
		w.Log.DebugContext(ctx, "old orders left", "archived", done.Archived, "deleted", done.Deleted, "up_to", done.ArchivedTo)
	}
	return true, nil
}

// follow takes the next steps behind the cut-off; more reports that there are others.
func (w *Worker) follow(ctx context.Context, to string) (more bool, err error) {
	if to == "" {
		return false, nil
	}
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	theirs, err := w.Inventory.Archive(call, to)
	if err != nil {
		return false, fmt.Errorf("archive reservations up to %s: %w", to, err)
	}
	if theirs.Blocked {
		return false, fmt.Errorf("archive reservations up to %s: one after %s has not ended", to, theirs.ArchivedTo)
	}
	n, ours, err := w.Store.DeleteOld(ctx, to)
	w.deleted.Add(float64(n))
	return ours || !theirs.Done, err
}

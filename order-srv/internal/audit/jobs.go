package audit

import (
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/wait"
)

const (
	// jobTime bounds an audit. What it has proven by then is rolled up, and the next audit begins after it.
	jobTime = 30 * time.Minute
	// lease is how long a replica that died keeps the others from running its audit.
	lease = 5 * time.Second
	// lookInterval is how often a replica looks for audits that others have queued or left.
	lookInterval = time.Second
	// endTime bounds writing how an audit has ended, which a stop of the replica must not prevent.
	endTime = 5 * time.Second

	firstLook, lastLook = 10 * time.Millisecond, 200 * time.Millisecond // of Wait
)

// Jobs runs audits, one at a time among all replicas. What an audit was asked for and what it has found is in the
// database: another replica answers for it, and goes on with the audit of one that died.
type Jobs struct {
	Config
	log  *slog.Logger
	wake chan struct{}
}

// NewJobs returns the jobs. Run runs them.
func NewJobs(c Config, log *slog.Logger) *Jobs {
	return &Jobs{Config: c, log: log, wake: make(chan struct{}, 1)}
}

// Request queues an audit and returns it. It reads what is there after the request.
func (j *Jobs) Request(ctx context.Context, everything bool) (orderapi.AuditJob, error) {
	id, err := j.Store.RequestAudit(ctx, everything)
	if err != nil {
		return orderapi.AuditJob{}, err
	}
	select {
	case j.wake <- struct{}{}:
	default: // Run has not looked yet, and will
	}
	return j.Get(ctx, id)
}

// Get returns an audit, or order.ErrUnknownAudit.
func (j *Jobs) Get(ctx context.Context, id string) (orderapi.AuditJob, error) {
	a, err := j.Store.Audit(ctx, id)
	if err != nil {
		return orderapi.AuditJob{}, err
	}
	out := orderapi.AuditJob{
		ID: a.ID, State: a.State, Full: a.Everything, OrdersChecked: a.Checked, ReachedOrder: a.Reached, RequestedAt: a.RequestedAt,
		StartedAt: optional(a.StartedAt), EndedAt: optional(a.EndedAt), Failure: a.Failure,
	}
	if a.Report.Valid {
		out.Report = &orderapi.Audit{}
		if err := json.Unmarshal([]byte(a.Report.String), out.Report); err != nil {
			return out, fmt.Errorf("decode the report of audit %s: %w", id, err)
		}
	}
	return out, nil
}

func optional(t stdsql.NullTime) *time.Time {
	if !t.Valid {
		return nil
	}
	return &t.Time
}

// Wait returns the report of an audit once it has ended. order.ErrAuditRunning when the time of ctx ends before,
// order.ErrAuditFailed, order.ErrUnknownAudit.
func (j *Jobs) Wait(ctx context.Context, id string) (orderapi.Audit, error) {
	backoff := wait.Backoff{First: firstLook, Max: lastLook}
	for try := 1; ; try++ {
		a, err := j.Get(ctx, id)
		switch {
		case ctx.Err() != nil:
			return orderapi.Audit{}, order.ErrAuditRunning.With("audit", id)
		case err != nil:
			return orderapi.Audit{}, err
		case a.State == store.AuditDone:
			return *a.Report, nil
		case a.State == store.AuditFailed:
			return orderapi.Audit{}, order.ErrAuditFailed.With("audit", id).With("failure", a.Failure)
		}
		if backoff.Sleep(ctx, try) != nil {
			return orderapi.Audit{}, order.ErrAuditRunning.With("audit", id)
		}
	}
}

// Run runs audits until ctx ends.
func (j *Jobs) Run(ctx context.Context) {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.wake:
		case <-look.C:
		}
		for j.next(ctx) {
		}
	}
}

// next runs an audit that waits, and reports whether there was one.
func (j *Jobs) next(ctx context.Context) bool {
	owner := ulid.Make().String()
	a, ok, err := j.Store.ClaimAudit(ctx, owner, lease)
	if err != nil {
		if ctx.Err() == nil {
			j.log.WarnContext(ctx, "audit could not be claimed", "err", err)
		}
		return false
	}
	if !ok {
		return false
	}
	begun := time.Now()
	a, err = j.run(ctx, owner, a)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if errors.Is(err, store.ErrAuditLost) || ctx.Err() != nil {
		// Another replica goes on with it, or this one when it was restarted.
		j.log.WarnContext(ctx, "audit was interrupted", "audit", a.ID, "err", errors.Join(err, j.Store.LeaveAudit(end, owner)))
		return false
	}
	a.State = store.AuditDone
	if err != nil {
		a.State, a.Failure = store.AuditFailed, err.Error()
	}
	endErr := j.Store.EndAudit(end, owner, a)
	j.log.InfoContext(ctx, "audit ended", "audit", a.ID, "state", a.State, "orders", a.Checked, "took", time.Since(begun), "err", errors.Join(err, endErr))
	return endErr == nil
}

// run runs one audit under its lease.
func (j *Jobs) run(ctx context.Context, owner string, a store.Audit) (store.Audit, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, jobTime, errors.New("the audit took too long; what it has proven is kept"))
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var progress atomic.Pointer[store.Audit]
	progress.Store(&a)
	r := &run{
		Config: j.Config, owner: owner, everything: a.Everything,
		reached: func(orders int, orderNo string) {
			at := a
			at.Checked, at.Reached = int64(orders), orderNo
			progress.Store(&at)
		},
	}
	renewing := make(chan struct{})
	go func() {
		defer close(renewing)
		j.renew(ctx, stop, owner, &progress)
	}()
	report, err := r.run(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	stop(nil)
	<-renewing
	a = *progress.Load()
	if err != nil {
		return a, err
	}
	encoded, err := json.Marshal(report)
	if err != nil {
		return a, fmt.Errorf("encode the report: %w", err)
	}
	a.Report = stdsql.NullString{String: string(encoded), Valid: true}
	return a, nil
}

// renew keeps the lease until ctx ends, and ends the audit when the lease is lost.
func (j *Jobs) renew(ctx context.Context, stop context.CancelCauseFunc, owner string, progress *atomic.Pointer[store.Audit]) {
	tick := time.NewTicker(lease / 10)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch err := j.Store.RenewAudit(ctx, owner, lease, *progress.Load()); {
		case err == nil:
			renewed = time.Now()
		case errors.Is(err, store.ErrAuditLost) || time.Since(renewed) > lease:
			stop(store.ErrAuditLost)
			return
		}
	}
}

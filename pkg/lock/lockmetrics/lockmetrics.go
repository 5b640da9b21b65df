// Package lockmetrics keeps Prometheus metrics of pkg/lock. It is an Observer and goes where pkg/lock goes:
//
//	locker, err := lock.NewRedis(client, lock.WithObserver(lockmetrics.New(registry)))
//
// # Metrics
//
//	lock_wait_seconds{result}     histogram: from the call of Try or Acquire to its answer
//	lock_held_seconds             histogram: from the grant to the release
//	lock_renewals_total{result}   attempts to extend a lease
//	lock_lost_total{cause}        leases that ended before they were released
//	lock_releases_total{result}   releases; "lost" says that a key was not ours to the end
//
// Every series is there from the start with the value 0, as a rate over a series that appears with its first loss
// misses that loss.
//
// # What to alert on
//
// One lost lease is no accident: the resource's fence refuses what comes too late, and the work is done again. These
// mean that an operator should look:
//
//   - lock_lost_total{cause="key_gone"} grows: Redis loses data. It was flushed, restarted without persistence, failed
//     over to a replica that was behind, or evicts keys (maxmemory-policy must be noeviction). Its token counters may
//     be gone too; then the resource refuses every token until they are raised. Page.
//   - lock_lost_total{cause="not_renewed"} grows: holders cannot reach Redis for most of a TTL, or their processes
//     stand still (throttled CPU, long garbage collections, suspended machines). Compare with
//     lock_renewals_total{result="unavailable"}: that grows with it when it is the network or Redis, and not when the
//     process stood still.
//   - lock_lost_total{cause="max_hold"} grows: work under the lock hangs or takes longer than it was meant to.
//   - the 99th percentile of lock_held_seconds comes near the TTL less its margin: leases live on their renewals, and
//     the next slow one costs a lease. Hold for less, or raise the TTL.
//   - lock_wait_seconds_count{result="gave_up"} is more than a small part of all waits: the key is too hot for the
//     time that it is held.
//   - lock_wait_seconds_count{result="unavailable"} grows: no caller gets a lock. Page.
package lockmetrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/pkg/lock"
)

// Metrics counts what happens to leases.
type Metrics struct {
	waited   *prometheus.HistogramVec
	held     prometheus.Histogram
	renewed  *prometheus.CounterVec
	lost     *prometheus.CounterVec
	released *prometheus.CounterVec
}

var _ lock.Observer = (*Metrics)(nil)

// New registers the metrics with registry, unless it is nil. A second call with the same registry panics, as each
// metric has one owner.
func New(registry prometheus.Registerer) *Metrics {
	metrics := promauto.With(registry)
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	m := &Metrics{
		waited: metrics.NewHistogramVec(prometheus.HistogramOpts{
			Name: "lock_wait_seconds", Help: "Time spent waiting for a lease, by result.", Buckets: buckets,
		}, []string{"result"}),
		held: metrics.NewHistogram(prometheus.HistogramOpts{
			Name: "lock_held_seconds", Help: "Time from grant to release.", Buckets: buckets,
		}),
		renewed: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: "lock_renewals_total", Help: "Attempts to extend a lease, by result.",
		}, []string{"result"}),
		lost: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: "lock_lost_total", Help: "Leases that ended before they were released, by cause.",
		}, []string{"cause"}),
		released: metrics.NewCounterVec(prometheus.CounterOpts{
			Name: "lock_releases_total", Help: "Releases, by result.",
		}, []string{"result"}),
	}
	for _, r := range []string{"ok", "held", "unavailable", "gave_up", "other"} {
		m.waited.WithLabelValues(r)
	}
	for _, r := range []string{"ok", "lost", "unavailable"} {
		m.renewed.WithLabelValues(r)
		m.released.WithLabelValues(r)
	}
	for _, c := range []string{"not_renewed", "key_gone", "max_hold"} {
		m.lost.WithLabelValues(c)
	}
	return m
}

// Waited implements lock.Observer.
func (m *Metrics) Waited(_ []string, d time.Duration, err error) {
	m.waited.WithLabelValues(result(err)).Observe(d.Seconds())
}

// Renewed implements lock.Observer.
func (m *Metrics) Renewed(_ []string, err error) { m.renewed.WithLabelValues(result(err)).Inc() }

// Lost implements lock.Observer.
func (m *Metrics) Lost(_ []string, cause error) { m.lost.WithLabelValues(Cause(cause)).Inc() }

// Released implements lock.Observer.
func (m *Metrics) Released(_ []string, held time.Duration, err error) {
	m.held.Observe(held.Seconds())
	m.released.WithLabelValues(result(err)).Inc()
}

// Cause names why a lease ended before its release, as in the label of lock_lost_total: "max_hold"; "not_renewed", when
// its time ran out without an answered renewal; else "key_gone", when Redis said that the key is gone or another
// owner's.
func Cause(err error) string {
	switch {
	case errors.Is(err, lock.ErrMaxHold):
		return "max_hold"
	case errors.Is(err, lock.ErrNotRenewed):
		return "not_renewed"
	default:
		return "key_gone"
	}
}

func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, lock.ErrHeld):
		return "held"
	case errors.Is(err, lock.ErrLost):
		return "lost"
	case errors.Is(err, lock.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "gave_up"
	}
	return "other"
}

package strategy

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/pkg/lock"
)

// LockMetrics counts what happens to leases.
type LockMetrics struct {
	waited  *prometheus.HistogramVec
	held    prometheus.Histogram
	renewed *prometheus.CounterVec
	lost    *prometheus.CounterVec
}

var _ lock.Observer = (*LockMetrics)(nil)

// NewLockMetrics registers the metrics with registry, unless it is nil.
func NewLockMetrics(registry prometheus.Registerer) *LockMetrics {
	metrics := promauto.With(registry)
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	return &LockMetrics{
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
			Name: "lock_lost_total", Help: "Leases that ended before they were released, by reason.",
		}, []string{"reason"}),
	}
}

// Waited implements lock.Observer.
func (m *LockMetrics) Waited(_ []string, d time.Duration, err error) {
	m.waited.WithLabelValues(result(err)).Observe(d.Seconds())
}

// Renewed implements lock.Observer.
func (m *LockMetrics) Renewed(_ []string, err error) { m.renewed.WithLabelValues(result(err)).Inc() }

// Lost implements lock.Observer.
func (m *LockMetrics) Lost(_ []string, cause error) { m.lost.WithLabelValues(result(cause)).Inc() }

// Released implements lock.Observer.
func (m *LockMetrics) Released(_ []string, held time.Duration, _ error) {
	m.held.Observe(held.Seconds())
}

func result(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, lock.ErrMaxHold):
		return "max_hold"
	case errors.Is(err, lock.ErrLost):
		return "lost"
	case errors.Is(err, lock.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "gave_up"
	}
	return "other"
}

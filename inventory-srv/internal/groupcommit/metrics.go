package groupcommit

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/pkg/batch"
)

// metrics counts what flushes do, by operation.
type metrics struct {
	factory             promauto.Factory
	calls, queued, took *prometheus.HistogramVec
}

// newMetrics registers the metrics with registry, unless it is nil.
func newMetrics(registry prometheus.Registerer) metrics {
	factory := promauto.With(registry)
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return factory.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, []string{"operation"})
	}
	seconds := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	return metrics{
		factory: factory,

		calls:  histogram("stock_batch_calls", "Calls in one flush of group-commit.", prometheus.ExponentialBuckets(1, 2, 11)),
		queued: histogram("stock_batch_queued_seconds", "Time that a flush's first call had waited for its turn.", seconds),
		took:   histogram("stock_batch_flush_seconds", "Time of one flush, repetitions included.", seconds),
	}
}

func (m metrics) of(operation string) batch.Observer {
	return operationMetrics{m.calls.WithLabelValues(operation), m.queued.WithLabelValues(operation), m.took.WithLabelValues(operation)}
}

// waiting registers a gauge of what queued returns.
func (m metrics) waiting(operation string, queued func() int) {
	m.factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "stock_batch_waiting", Help: "Calls that wait for their flush.", ConstLabels: prometheus.Labels{"operation": operation},
	}, func() float64 { return float64(queued()) })
}

type operationMetrics struct{ calls, queued, took prometheus.Observer }

// Flushed implements batch.Observer.
func (m operationMetrics) Flushed(f batch.Flush) {
	m.calls.Observe(float64(f.Calls))
	m.queued.Observe(f.Queued.Seconds())
	m.took.Observe(f.Took.Seconds())
}

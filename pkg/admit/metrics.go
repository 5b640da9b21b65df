package admit

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Why a request was refused.
const (
	reasonQueue    = "queue"    // its expected wait was too long
	reasonDeadline = "deadline" // its deadline could not be met
	reasonWaited   = "waited"   // no slot became free in time, or the caller gave up
)

// Metrics are those of all limiters of a process, labelled with their kind of request.
type Metrics struct {
	inFlight, waiting, limit *prometheus.GaugeVec
	refused                  *prometheus.CounterVec
	wait                     *prometheus.HistogramVec
}

// NewMetrics registers the metrics with r, unless it is nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	f, kind := promauto.With(r), []string{"kind"}
	return &Metrics{
		inFlight: f.NewGaugeVec(prometheus.GaugeOpts{Name: "admit_in_flight", Help: "Requests that hold a slot."}, kind),
		waiting:  f.NewGaugeVec(prometheus.GaugeOpts{Name: "admit_waiting", Help: "Requests that wait for a slot."}, kind),
		limit:    f.NewGaugeVec(prometheus.GaugeOpts{Name: "admit_limit", Help: "Slots there are now."}, kind),
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "admit_refused_total", Help: "Requests refused as overloaded, by reason: queue, deadline, waited.",
		}, []string{"kind", "reason"}),
		wait: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "admit_wait_seconds", Help: "Wait of the requests that got a slot.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .2, .5},
		}, kind),
	}
}

// kindMetrics are the metrics of one limiter.
type kindMetrics struct {
	inFlight, waiting, limit prometheus.Gauge
	wait                     prometheus.Observer
	reasons                  map[string]prometheus.Counter
}

func (m *Metrics) of(kind string) kindMetrics {
	if m == nil {
		m = NewMetrics(nil)
	}
	k := kindMetrics{
		inFlight: m.inFlight.WithLabelValues(kind), waiting: m.waiting.WithLabelValues(kind), limit: m.limit.WithLabelValues(kind),
		wait: m.wait.WithLabelValues(kind), reasons: map[string]prometheus.Counter{},
	}
	for _, reason := range []string{reasonQueue, reasonDeadline, reasonWaited} {
		k.reasons[reason] = m.refused.WithLabelValues(kind, reason)
	}
	return k
}

func (k kindMetrics) refused(reason string) { k.reasons[reason].Inc() }

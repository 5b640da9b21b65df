package outbox

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const (
	sampleEvery = 5 * time.Second
	sampleTime  = 2 * time.Second // of one sample
)

// Metrics measures the outbox, which all replicas share: each of them reports the same figures.
type Metrics struct {
	table  *Table
	log    *slog.Logger
	unsent prometheus.Gauge
	oldest prometheus.Gauge
}

// NewMetrics registers the gauges, whose names begin with the prefix, with registry. Run measures.
func NewMetrics(t *Table, prefix string, registry prometheus.Registerer, log *slog.Logger) *Metrics {
	with := promauto.With(registry)
	return &Metrics{
		table: t, log: log,
		unsent: with.NewGauge(prometheus.GaugeOpts{Name: prefix + "_outbox_unsent", Help: "Messages that the outbox has to send."}),
		oldest: with.NewGauge(prometheus.GaugeOpts{Name: prefix + "_outbox_oldest_seconds", Help: "Age of the oldest unsent message; 0 without any."}),
	}
}

// Run measures every five seconds until ctx is done. A measurement that fails leaves the gauges as they are.
func (m *Metrics) Run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		if err := m.measure(ctx); err != nil && ctx.Err() == nil {
			m.log.WarnContext(ctx, "outbox not measured", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *Metrics) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	unsent, oldest, err := m.table.State(ctx)
	if err != nil {
		return err
	}
	m.unsent.Set(float64(unsent))
	m.oldest.Set(oldest.Seconds())
	return nil
}

package events

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/order-srv/internal/store"
)

const (
	sampleEvery = 5 * time.Second
	sampleTime  = 2 * time.Second // of one sample
)

// OutboxMetrics measures the outbox, which all replicas share: each of them reports the same figures.
type OutboxMetrics struct {
	store  *store.Store
	log    *slog.Logger
	unsent prometheus.Gauge
	oldest prometheus.Gauge
}

// NewOutboxMetrics registers the gauges with registry. Run measures.
func NewOutboxMetrics(s *store.Store, registry prometheus.Registerer, log *slog.Logger) *OutboxMetrics {
	with := promauto.With(registry)
	return &OutboxMetrics{
		store: s, log: log,
		unsent: with.NewGauge(prometheus.GaugeOpts{Name: "order_outbox_unsent", Help: "Messages that the outbox has to send."}),
		oldest: with.NewGauge(prometheus.GaugeOpts{Name: "order_outbox_oldest_seconds", Help: "Age of the oldest unsent message; 0 without any."}),
	}
}

// Run measures every five seconds until ctx is done. A measurement that fails leaves the gauges as they are.
func (m *OutboxMetrics) Run(ctx context.Context) {
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

func (m *OutboxMetrics) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sampleTime)
	defer cancel()
	unsent, oldest, err := m.store.OutboxState(ctx)
	if err != nil {
		return err
	}
	m.unsent.Set(float64(unsent))
	m.oldest.Set(oldest.Seconds())
	return nil
}

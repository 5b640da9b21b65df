package notify

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/wait"
)

// metrics are the notifier's. All replicas report the same age: they share the table.
type metrics struct {
	attempts *prometheus.CounterVec // by result
	oldest   prometheus.Gauge
}

// The results of attempts.
const (
	resultDelivered = "delivered"
	resultFailed    = "failed"
	resultGivenUp   = "given_up"
)

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		attempts: promauto.With(r).NewCounterVec(prometheus.CounterOpts{
			Name: "order_notification_attempts_total",
			Help: "Attempts of this process to notify a buyer, by result: delivered, failed (there is another attempt), given_up (it was the last).",
		}, []string{"result"}),
		oldest: promauto.With(r).NewGauge(prometheus.GaugeOpts{
			Name: "order_notification_oldest_seconds", Help: "For how long the oldest due notification has waited for its attempt; 0 without any.",
		}),
	}
	for _, result := range []string{resultDelivered, resultFailed, resultGivenUp} {
		m.attempts.WithLabelValues(result)
	}
	return m
}

// count counts an attempt that is recorded.
func (n *Notifier) count(c store.Claim, a store.Attempted) {
	result := resultFailed
	switch a.State {
	case order.NotificationDelivered:
		result = resultDelivered
	case order.NotificationGivenUp:
		result = resultGivenUp
	}
	n.metrics.attempts.WithLabelValues(result).Inc()
	if c.Interrupted && n.Healed != nil {
		n.Healed.WithLabelValues(string(store.Notifier)).Inc()
	}
}

// measure reports what is due until ctx is done.
func (n *Notifier) measure(ctx context.Context) {
	for ctx.Err() == nil {
		if err := n.readOldest(ctx); err != nil && ctx.Err() == nil {
			n.Log.WarnContext(ctx, "due notifications not measured", "err", err)
		}
		_ = wait.Sleep(ctx, gaugeInterval)
	}
}

func (n *Notifier) readOldest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, databaseTime)
	defer cancel()
	age, err := n.Store.OldestNotification(ctx)
	if err == nil {
		n.metrics.oldest.Set(max(0, age).Seconds())
	}
	return err
}

package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the service's own.
type Metrics struct {
	Registry *prometheus.Registry
	Healed   *prometheus.CounterVec // by healer
	Alarms   prometheus.Counter

	total              *prometheus.CounterVec // by status
	parked, remembered prometheus.Counter
}

func newMetrics(registry *prometheus.Registry) Metrics {
	with := promauto.With(registry)
	return Metrics{
		Registry: registry,
		Healed: with.NewCounterVec(prometheus.CounterOpts{
			Name: "orders_healed_total", Help: "Orders that a healer ended or settled, by healer.",
		}, []string{"by"}),
		Alarms: with.NewCounter(prometheus.CounterOpts{
			Name: "order_alarms_total", Help: "Releases that inventory refused because the order's units count as sold. An operator has to correct them.",
		}),
		total: with.NewCounterVec(prometheus.CounterOpts{
			Name: "orders_total", Help: "Orders that reached a status through this process.",
		}, []string{"status"}),
		parked: with.NewCounter(prometheus.CounterOpts{
			Name: "outbox_parked_total", Help: "Messages of the outbox that this process has parked. holdfast dlq lists them.",
		}),
		remembered: with.NewCounter(prometheus.CounterOpts{
			Name: "orders_refused_by_memory_total",
			Help: "Orders refused from memory, without a row and a call: inventory reported the shortage at most 200 ms before.",
		}),
	}
}

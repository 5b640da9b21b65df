package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/pkg/batch"
)

// ordersPerCall shows how many orders share a call to order-srv.
type ordersPerCall struct{ sizes prometheus.Histogram }

var _ batch.Observer = ordersPerCall{}

func newOrdersPerCall(r prometheus.Registerer) ordersPerCall {
	return ordersPerCall{promauto.With(r).NewHistogram(prometheus.HistogramOpts{
		Name: "gathered_orders", Help: "Orders in one call to order-srv.", Buckets: prometheus.ExponentialBuckets(1, 2, 9),
	})}
}

// Flushed implements batch.Observer.
func (o ordersPerCall) Flushed(f batch.Flush) { o.sizes.Observe(float64(f.Calls)) }

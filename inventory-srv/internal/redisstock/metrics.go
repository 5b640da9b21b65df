package redisstock

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are those of the writer.
type metrics struct {
	followed prometheus.Counter
	refused  prometheus.Counter
	rebuilds *prometheus.CounterVec
	batch    prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer) *metrics {
	f := promauto.With(registry)
	return &metrics{
		followed: f.NewCounter(prometheus.CounterOpts{
			Name: "stock_redis_followed_total", Help: "Entries of the Redis stream that this replica applied to MySQL.",
		}),
		refused: f.NewCounter(prometheus.CounterOpts{
			Name: "stock_redis_undone_total", Help: "Entries of the Redis stream that MySQL refused and that were undone in Redis.",
		}),
		rebuilds: f.NewCounterVec(prometheus.CounterOpts{
			Name: "stock_redis_rebuilds_total", Help: "How often this replica filled Redis from MySQL, and whether Redis had lost something.",
		}, []string{"loss"}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name: "stock_redis_batch_entries", Help: "Entries that one transaction applied.", Buckets: prometheus.ExponentialBuckets(1, 4, 6),
		}),
	}
}

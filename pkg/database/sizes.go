package database

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"gorm.io/gorm"
)

const (
	sizesEvery = time.Minute
	sizesTime  = 10 * time.Second // of one measurement
)

// TableSize is the size of a table.
type TableSize struct {
	Name  string
	Rows  int64 // as the server estimates them: within some ten per cent
	Bytes int64 // with the indexes; what deleted rows have left is included
}

// TableSizes returns the sizes of the tables of the database, by name.
func TableSizes(ctx context.Context, db *gorm.DB) (sizes []TableSize, err error) {
	err = db.WithContext(ctx).Connection(func(db *gorm.DB) error {
		// MySQL answers from figures that are up to a day old unless the session says otherwise. MariaDB, which has no such
		// variable, does not execute comments of this kind.
		if err := db.Exec("SET @sizes = 1 /*!80000 , SESSION information_schema_stats_expiry = 0 */").Error; err != nil {
			return err
		}
		return db.Raw("SELECT table_name AS name, COALESCE(table_rows, 0) AS `rows`, COALESCE(data_length + index_length, 0) AS bytes" +
			" FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' ORDER BY table_name").Scan(&sizes).Error
	})
	if err != nil {
		return nil, fmt.Errorf("read the sizes of the tables: %w", Fault(err))
	}
	return sizes, nil
}

// TableMetrics measures the tables of a database, which all replicas share: each of them reports the same figures.
type TableMetrics struct {
	db          *gorm.DB
	log         *slog.Logger
	rows, bytes *prometheus.GaugeVec
}

// NewTableMetrics registers the gauges, whose names begin with the prefix, with registry. Run measures.
func NewTableMetrics(db *gorm.DB, prefix string, registry prometheus.Registerer, log *slog.Logger) *TableMetrics {
	with := promauto.With(registry)
	return &TableMetrics{
		db: db, log: log,
		rows: with.NewGaugeVec(prometheus.GaugeOpts{
			Name: prefix + "_table_rows", Help: "Rows of a table, as the database server estimates them.",
		}, []string{"table"}),
		bytes: with.NewGaugeVec(prometheus.GaugeOpts{
			Name: prefix + "_table_bytes", Help: "Bytes of a table and its indexes.",
		}, []string{"table"}),
	}
}

// Run measures every minute until ctx is done. A measurement that fails leaves the gauges as they are.
func (m *TableMetrics) Run(ctx context.Context) {
	tick := time.NewTicker(sizesEvery)
	defer tick.Stop()
	for {
		if err := m.measure(ctx); err != nil && ctx.Err() == nil {
			m.log.WarnContext(ctx, "tables not measured", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *TableMetrics) measure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sizesTime)
	defer cancel()
	sizes, err := TableSizes(ctx, m.db)
	if err != nil {
		return err
	}
	for _, s := range sizes {
		m.rows.WithLabelValues(s.Name).Set(float64(s.Rows))
		m.bytes.WithLabelValues(s.Name).Set(float64(s.Bytes))
	}
	return nil
}

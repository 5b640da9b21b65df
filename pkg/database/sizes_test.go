package database_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/pkg/database"
)

// TestTableMetrics: each table has its rows, as the server estimates them, and its bytes.
func TestTableMetrics(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t, schema())
	for i := range 200 {
		exec(t, db, "INSERT INTO things (id, n) VALUES (?, 1)", fmt.Sprint(i))
	}
	exec(t, db, "ANALYZE TABLE things")
	registry := prometheus.NewRegistry()
	m := database.NewTableMetrics(db, "test", registry, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	defer running.Wait()
	defer stop()
	testkit.Eventually(t, patience, "the tables are measured", func() error {
		found, err := registry.Gather()
		if err != nil {
			return err
		}
		values := map[string]float64{}
		for _, family := range found {
			for _, one := range family.GetMetric() {
				values[family.GetName()+" "+one.GetLabel()[0].GetValue()] = one.GetGauge().GetValue()
			}
		}
		if rows, bytes := values["test_table_rows things"], values["test_table_bytes things"]; rows < 100 || rows > 400 || bytes < 1000 {
			return fmt.Errorf("things has %v rows and %v bytes: %v", rows, bytes, values)
		}
		return nil
	})
}

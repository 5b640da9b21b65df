package ordertest

import (
	"log/slog"
	"testing"
	"time"

	"holdfast/order-srv/internal/app"
	"holdfast/pkg/config"
	"holdfast/pkg/mq"
)

// Open opens order-srv's parts on a migrated database, with this inventory and broker and an hour to pay. edit may
// change the settings.
func Open(tb testing.TB, dsn string, i *Inventory, b *Broker, edit ...func(*app.Config)) *app.App {
	tb.Helper()
	cfg := app.Config{
		Log:        slog.New(slog.DiscardHandler),
		Producer:   b,
		TxProducer: func(string, mq.Checker) mq.TxProducer { return b },
	}
	env := map[string]string{"LAB_MODE": "true", "MYSQL_DSN": dsn, "INVENTORY_URLS": i.URL, "PAYMENT_TIMEOUT": "1h"}
	if err := config.Load(func(name string) string { return env[name] }, &cfg.Settings); err != nil {
		tb.Fatal(err)
	}
	for _, change := range edit {
		change(&cfg)
	}
	a, err := app.Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := a.Close(); err != nil {
			tb.Errorf("close the app: %v", err)
		}
	})
	return a
}

// Timeout sets REQUEST_TIMEOUT.
func Timeout(d time.Duration) func(*app.Config) {
	return func(cfg *app.Config) { cfg.RequestTimeout = d }
}

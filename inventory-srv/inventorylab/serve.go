package inventorylab

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"time"

	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/httpapi"
	"holdfast/pkg/config"
	"holdfast/pkg/lock"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

// ServiceConfig says on which servers the whole service works and how.
type ServiceConfig struct {
	// Settings are the service's environment variables (docs/running.md). MYSQL_DSN, NAMESRV_ADDRS and STOCK_STRATEGY are
	// needed. LAB_MODE is true, and the ports are free ones of 127.0.0.1, unless Settings says otherwise.
	Settings   map[string]string
	LockPrefix string       // keeps the locks of several services on one Redis apart; default that of pkg/lock
	Log        *slog.Logger // default: none

	// Started is called once, with the addresses of the service and of its operations port.
	Started func(addr, opsAddr net.Addr)
}

// Serve brings the schema up to date and runs the service as its program does, with one strategy only, until ctx is
// done. Errors: settings that do not fit, servers that cannot be reached, and requests that were still running at the
// end.
func Serve(ctx context.Context, cfg ServiceConfig) (err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	values := map[string]string{"LAB_MODE": "true", "HTTP_ADDR": "127.0.0.1:0", "OPS_ADDR": "127.0.0.1:0", "DRAIN_DELAY": "0s"}
	maps.Copy(values, cfg.Settings)
	var settings app.Settings
	if err := config.Load(func(name string) string { return values[name] }, &settings); err != nil {
		return err
	}
	registry := telemetry.NewRegistry()
	parts := settings.Config(cfg.Log, registry)
	// The strategies of Redis use the names of the shop on a shared server, so only the wanted one is made.
	parts.Only, parts.Started = true, cfg.Started
	if cfg.LockPrefix != "" {
		parts.LockOptions = append(parts.LockOptions, lock.WithPrefix(cfg.LockPrefix))
		parts.Redis.Prefix = "{" + cfg.LockPrefix + "stock}:"
	}
	a, err := app.Open(ctx, parts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return a.Serve(ctx, &settings, registry)
}

// Handler returns the service's HTTP API on this lab's servers, without limits, credentials and messages.
func (l *Lab) Handler(log *slog.Logger) http.Handler {
	return l.app.Handler(httpapi.Config{Engine: web.EngineConfig{Log: log, Timeout: time.Minute}})
}

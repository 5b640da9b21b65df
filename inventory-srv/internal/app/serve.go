package app

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"holdfast/inventory-srv/internal/httpapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/database"
	"holdfast/pkg/mq"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

// Service is the name of the service in logs and in the answers of its operations port.
const Service = "inventory-srv"

// Serve consumes messages and serves HTTP until ctx ends. The App was built from the configuration of s, with registry,
// which /metrics shows.
func (a *App) Serve(ctx context.Context, s *Settings, registry *prometheus.Registry) (err error) {
	redis.SetLogger(telemetry.RedisLogger(a.cfg.Log))
	defer a.Stock.RunInBackground(ctx)()
	defer a.upkeepInBackground(ctx, database.NewTableMetrics(a.DB, "inventory", registry, a.cfg.Log))()
	messages, err := a.openMessages(ctx, mq.Config{Namesrv: s.NamesrvAddrs, Namespace: s.MQNamespace, Instance: s.InstanceID})
	if err != nil {
		return err
	}
	stopMessages := messages.runInBackground(ctx)
	defer func() { err = errors.Join(err, stopMessages()) }()
	checks := []server.Check{
		{Name: "mysql", Probe: database.Probe(a.DB)},
		{Name: "redis", Probe: func(ctx context.Context) error { return a.LockClient.Ping(ctx).Err() }},
	}
	for name, prober := range a.Stock.Probers() {
		checks = append(checks, server.Check{Name: name, Probe: prober.Probe, Optional: name != a.cfg.Strategy})
	}
	checks = append(checks, server.Check{Name: "broker", Probe: messages.bus.Probe})
	limits := admit.NewMetrics(registry)
	return server.Run(ctx, server.Config{
		Service: Service, Addr: s.HTTPAddr, OpsAddr: s.OpsAddr, Registry: registry, Log: a.cfg.Log,
		RequestTimeout: s.RequestTimeout, DrainDelay: s.DrainDelay, Started: a.cfg.Started,
		Handler: a.Handler(httpapi.Config{
			// Fixed: order-srv has written the order already, and its attempts are shorter than a wait for a hot product's lock.
			Reserving: admit.New(admit.Config{Kind: "reserving", Max: s.MaxReserving, Fixed: true, Timeout: s.RequestTimeout, Metrics: limits}),
			Reading:   admit.New(admit.Config{Kind: "reading", Max: s.MaxReading, Timeout: s.RequestTimeout, Metrics: limits}),
			Engine: web.EngineConfig{
				Log: a.cfg.Log, Sampled: !a.cfg.Lab, Registry: registry, Timeout: s.RequestTimeout, Credentials: s.AcceptedCredentials,
			},
		}),
		Checks: checks,
	})
}

// Handler returns the service's HTTP API with the settings of cfg.
func (a *App) Handler(cfg httpapi.Config) http.Handler {
	cfg.Stock, cfg.Store, cfg.Branches = a.Stock, a.Store, a.Branches
	return httpapi.New(cfg)
}

// upkeepInBackground converts reservations that earlier versions have written, counts free units, and measures the
// tables. The returned function stops it.
func (a *App) upkeepInBackground(ctx context.Context, sizes *database.TableMetrics) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { a.Store.ConvertReservations(ctx, a.cfg.Log) })
	running.Go(func() { a.Store.KeepCounts(ctx, a.cfg.Log) })
	running.Go(func() { sizes.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

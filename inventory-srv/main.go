// inventory-srv owns products and stock: it reserves, confirms and releases through one of several strategies.
//
//	inventory-srv              serve, after bringing the schema up to date
//	inventory-srv migrate      bring the schema up to date
//	inventory-srv seed         the same, then fill the catalogue; again changes nothing
//	inventory-srv healthcheck  ask the running service whether it is ready
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/events"
	"holdfast/inventory-srv/internal/httpapi"
	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/admit"
	"holdfast/pkg/config"
	"holdfast/pkg/database"
	"holdfast/pkg/lock"
	"holdfast/pkg/lock/lockmetrics"
	"holdfast/pkg/mq"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
	"holdfast/sql"
)

const service = "inventory-srv"

func main() { server.Main(run) }

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) (err error) {
	var cfg settings
	if err := config.Load(getenv, &cfg); err != nil {
		return err
	}
	command, err := server.Command(args, "migrate", "seed", "healthcheck")
	if err != nil {
		return err
	}
	if command == "healthcheck" {
		return server.Healthcheck(ctx, cfg.OpsAddr)
	}
	log := telemetry.NewLogger(stdout, service)
	db, err := openDatabase(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close(db)) }()
	switch command {
	case "migrate":
		return nil // it is done whenever the database is opened
	case "seed":
		return store.New(db).Seed(ctx)
	}
	return serve(ctx, cfg, db, log)
}

// openDatabase brings the schema up to date as well: two replicas may do so at once.
func openDatabase(ctx context.Context, cfg settings, log *slog.Logger) (*gorm.DB, error) {
	db, err := database.Open(ctx, cfg.MySQLDSN.Reveal(), database.Options{Log: log})
	if err != nil {
		return nil, err
	}
	if err := database.Migrate(ctx, db, sql.Inventory(), log); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate: %w", err), database.Close(db))
	}
	return db, nil
}

func serve(ctx context.Context, cfg settings, db *gorm.DB, log *slog.Logger) (err error) {
	log.InfoContext(ctx, "starting", "settings", &cfg)
	registry := telemetry.NewRegistry()

	redis.SetLogger(telemetry.RedisLogger(log))
	client := lock.NewClient(cfg.RedisAddrs)
	defer func() { err = errors.Join(err, client.Close()) }()
	locker, err := lock.NewRedis(client, lock.WithTTL(cfg.LockTTL), lock.WithObserver(lockmetrics.New(registry)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, locker.Close()) }()
	nodes, err := strategy.OpenNodes(cfg.RedlockAddrs, lock.WithTTL(cfg.LockTTL))
	if err != nil {
		return fmt.Errorf("REDLOCK_ADDRS: %w", err)
	}
	defer func() { err = errors.Join(err, nodes.Close()) }()

	inventory := store.New(db)
	counters, stopCounters := startCounters(ctx, cfg, inventory, locker, log, registry)
	defer func() { err = errors.Join(err, stopCounters()) }()
	flushes, err := openFlushPool(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close(flushes)) }()
	lockPool, err := strategy.OpenLockPool(ctx, cfg.MySQLDSN.Reveal(), cfg.MySQLLockPool, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lockPool.Close()) }()
	set, err := strategy.NewSet(cfg.StockStrategy, cfg.LabMode, strategy.Deps{
		Ledger: inventory.Ledger(), Flushes: store.New(flushes).Ledger(), Locker: locker, Redlock: nodes.Acquirer(), LockPool: lockPool, Redis: counters, Log: log, Registry: registry,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	bus, err := mq.Open(mq.Config{
		Namesrv: cfg.NamesrvAddrs, Namespace: cfg.MQNamespace, Instance: cfg.InstanceID,
		Topics: events.Topics(), Log: log, Registerer: registry,
	})
	if err != nil {
		return err
	}
	for _, s := range events.New(set, log, registry).Subscriptions() {
		bus.Subscribe(s)
	}
	stopBus := bus.StartInBackground(ctx)
	defer func() { err = errors.Join(err, stopBus()) }()

	limits := admit.NewMetrics(registry)
	return server.Run(ctx, server.Config{
		Service: service, Addr: cfg.HTTPAddr, OpsAddr: cfg.OpsAddr, Registry: registry, Log: log,
		RequestTimeout: cfg.RequestTimeout, DrainDelay: cfg.DrainDelay,
		Handler: httpapi.New(httpapi.Config{ //nolint:contextcheck // its requests bring their own contexts
			Stock: set, Store: inventory, Redis: counters,
			// Fixed: order-srv has written the order already, and its attempts are shorter than a wait for a hot product's lock.
			Reserving: admit.New(admit.Config{Kind: "reserving", Max: cfg.MaxReserving, Fixed: true, Timeout: cfg.RequestTimeout, Metrics: limits}),
			Reading:   admit.New(admit.Config{Kind: "reading", Max: cfg.MaxReading, Timeout: cfg.RequestTimeout, Metrics: limits}),
			Engine:    web.EngineConfig{Log: log, Registry: registry, Timeout: cfg.RequestTimeout, Credentials: cfg.AcceptedCredentials},
		}),
		Checks: []server.Check{
			{Name: "mysql", Probe: database.Probe(db)},
			{Name: "redis", Probe: func(ctx context.Context) error { return client.Ping(ctx).Err() }},
			{Name: "redlock", Probe: nodes.Probe, Optional: cfg.StockStrategy != "redlock"},
			{Name: "redis-lua", Probe: counters.Probe, Optional: cfg.StockStrategy != redisstock.Strategy},
			{Name: "broker", Probe: bus.Probe},
		},
	})
}

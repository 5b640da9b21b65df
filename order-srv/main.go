// order-srv owns orders and their status machine: it places them through one of several flows, sends and receives events.
//
//	order-srv              serve, after bringing the schema up to date
//	order-srv migrate      bring the schema up to date
//	order-srv healthcheck  ask the running service whether it is ready
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"gorm.io/gorm"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/audit"
	"holdfast/order-srv/internal/deadletter"
	"holdfast/order-srv/internal/events"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/heal"
	"holdfast/order-srv/internal/httpapi"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/config"
	"holdfast/pkg/database"
	"holdfast/pkg/mq"
	"holdfast/pkg/rest"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
	"holdfast/sql"
)

const service = "order-srv"

func main() { server.Main(run) }

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) (err error) {
	var cfg settings
	if err := config.Load(getenv, &cfg); err != nil {
		return err
	}
	command, err := server.Command(args, "migrate", "healthcheck")
	if err != nil {
		return err
	}
	if command == "healthcheck" {
		return server.Healthcheck(ctx, cfg.OpsAddr, "broker", "inventory")
	}
	log := telemetry.NewLogger(stdout, service)
	db, err := database.Open(ctx, cfg.MySQLDSN.Reveal(), database.Options{Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close(db)) }()
	if err := database.Migrate(ctx, db, sql.Orders(), log); err != nil { // two replicas may do so at once
		return fmt.Errorf("migrate: %w", err)
	}
	if command == "migrate" {
		return nil
	}
	return serve(ctx, cfg, db, log)
}

func serve(ctx context.Context, cfg settings, db *gorm.DB, log *slog.Logger) (err error) {
	log.InfoContext(ctx, "starting", "settings", &cfg)
	registry := telemetry.NewRegistry()
	healed := promauto.With(registry).NewCounterVec(prometheus.CounterOpts{
		Name: "orders_healed_total", Help: "Orders that a backstop ended or settled, by which.",
	}, []string{"by"})
	total := promauto.With(registry).NewCounterVec(prometheus.CounterOpts{
		Name: "orders_total", Help: "Orders that reached a status through this process.",
	}, []string{"status"})
	alarms := promauto.With(registry).NewCounter(prometheus.CounterOpts{
		Name: "order_alarms_total", Help: "Releases that inventory refused because the order's units count as sold; somebody must look.",
	})
	parked := promauto.With(registry).NewCounter(prometheus.CounterOpts{
		Name: "outbox_parked_total", Help: "Messages of the outbox that this process has given up sending; holdfast dlq lists them.",
	})

	remembered := promauto.With(registry).NewCounter(prometheus.CounterOpts{
		Name: "orders_refused_by_memory_total", Help: "Orders refused without a row and a call, by the availability that inventory named in a refusal at most 200 ms ago.",
	})

	calls := rest.Config{URLs: cfg.InventoryURLs, Timeout: cfg.RequestTimeout, Name: "inventory", Log: log, MaxConns: cfg.MaxPlacing, Credential: cfg.SentCredential()}
	client, err := rest.New(calls)
	if err != nil {
		return err
	}
	defer client.Close()
	inventory := inventoryapi.NewClient(client)
	orders := store.New(db, total)

	// What ends orders, and reads them all, has connections of its own: a rush of new orders cannot keep it from them.
	upkeep, err := openUpkeep(ctx, cfg, orders, calls, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, upkeep.close()) }()

	bus, err := mq.Open(mq.Config{
		Namesrv: cfg.NamesrvAddrs, Namespace: cfg.MQNamespace, Instance: cfg.InstanceID, Log: log, Registerer: registry,
		Topics: events.Topics(),
	})
	if err != nil {
		return err
	}
	checkBack := flow.NewCheckBack(flow.CheckBackConfig{
		Store: upkeep.orders, Grace: cfg.PendingGrace, Interval: cfg.BrokerCheckInterval, Log: log,
		Healed: healed.WithLabelValues(string(store.CheckBack)), Registerer: registry,
	})
	tx := bus.TxProducer("order-tx", checkBack.Check)
	bus.Subscribe(mq.Subscription{Group: events.GroupTimeout, Topic: orderapi.TopicOrderTimeout, Handler: events.Timeout(upkeep.orders, bus.Producer(), log)})

	desk, err := flow.NewDesk(cfg.OrderFlow, flow.Deps{
		Store: orders, Inventory: inventory, Tx: tx, Log: log, Patience: cfg.PaymentTimeout, Timeout: cfg.RequestTimeout,
		Remembered: remembered,
	})
	if err != nil {
		return err
	}
	outbox := events.NewOutboxMetrics(upkeep.orders, registry, log)
	relay := events.NewRelay(events.RelayConfig{Store: upkeep.orders, Send: bus.Producer(), Log: log, Parked: parked})
	healer := heal.New(upkeep.orders, upkeep.inventory, heal.Timers{
		SweepAfter: cfg.SweepAfter, SettleAfter: cfg.SettleAfter, ReconcileAfter: cfg.ReconcileAfter,
		UnknownAfter: cfg.PaymentTimeout + cfg.ReconcileAfter, // the longest that a reservation may wait for its payment, and some
	}, log, healed, alarms)
	stopBus := bus.StartInBackground(ctx)
	defer func() { err = errors.Join(err, stopBus()) }()
	stopWork := background(ctx, relay.Run, healer.Run, checkBack.Run, outbox.Run) // stopped before the bus, which they use
	defer stopWork()

	letters := deadletter.New(upkeep.orders, bus, events.GroupTimeout, inventoryapi.GroupRelease, inventoryapi.GroupEvents)
	limits := admit.NewMetrics(registry)
	return server.Run(ctx, server.Config{
		Service: service, Addr: cfg.HTTPAddr, OpsAddr: cfg.OpsAddr, Registry: registry, Log: log, RequestTimeout: cfg.RequestTimeout, DrainDelay: cfg.DrainDelay,
		Handler: httpapi.New(httpapi.Config{ //nolint:contextcheck // its requests bring their own contexts
			Engine: web.EngineConfig{Log: log, Registry: registry, Timeout: cfg.RequestTimeout, Credentials: cfg.AcceptedCredentials},
			Desk:   desk, Orders: orders, Lab: cfg.LabMode, DeadLetters: letters,
			Placing:  admit.New(admit.Config{Kind: "placing", Max: cfg.MaxPlacing, Timeout: cfg.RequestTimeout, Metrics: limits}),
			Changing: admit.New(admit.Config{Kind: "changing", Max: cfg.MaxChanging, Timeout: cfg.RequestTimeout, Metrics: limits}),
			Reading:  admit.New(admit.Config{Kind: "reading", Max: cfg.MaxReading, Timeout: cfg.RequestTimeout, Metrics: limits}),
			Audit: func(ctx context.Context) (orderapi.Audit, error) {
				return audit.Run(ctx, upkeep.orders, upkeep.inventory, audit.HalfMessages{
					Undecided: checkBack.Undecided, LateAfter: cfg.BrokerTransactionTimeout + 2*cfg.BrokerCheckInterval,
				}, letters)
			},
		}),
		Checks: []server.Check{
			{Name: "mysql", Probe: database.Probe(db)},
			{Name: "broker", Probe: bus.Probe, Optional: true}, // without it orders are refused, and read, paid and cancelled
			{Name: "inventory", Optional: true, Probe: func(ctx context.Context) error {
				return upkeep.client.Do(ctx, http.MethodGet, "/v1/strategies", nil, nil)
			}},
		},
	})
}

// background runs the workers. They outlive ctx, which only ends the taking of requests: the last answers' messages are
// still to be sent. The returned function stops them and waits.
func background(ctx context.Context, workers ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	for _, w := range workers {
		running.Go(func() { w(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

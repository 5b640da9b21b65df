// Package app builds order-srv's parts and connects them, for main and for tests.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"gorm.io/gorm"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/audit"
	"holdfast/order-srv/internal/deadletter"
	"holdfast/order-srv/internal/events"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/httpapi"
	"holdfast/order-srv/internal/intake"
	"holdfast/order-srv/internal/intake/shortage"
	"holdfast/order-srv/internal/notify"
	"holdfast/order-srv/internal/recovery"
	"holdfast/order-srv/internal/retention"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/internal/waiting"
	"holdfast/order-srv/orderapi"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/crash"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/pkg/outbox"
	"holdfast/pkg/rest"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
	"holdfast/sql"
)

// Service is the service's name in logs and metrics.
const Service = "order-srv"

// Config is what an [App] is made of.
type Config struct {
	Settings
	Log *slog.Logger

	// The rest is for tests and the laboratory.

	Producer    mq.Producer                                        // of the flows; default the bus's
	TxProducer  func(group string, check mq.Checker) mq.TxProducer // default the bus's
	CheckMemory int                                                // default recovery.DefaultCheckMemory
	Flows       []flow.Kind                                        // default flow.List
	MaxWaiting  int                                                // default waiting.DefaultMax
	Overlap     time.Duration                                      // of groups of orders; default intake's
	GroupLimit  func() int                                         // default what inventory reserves in time
	NoCheckBack bool                                               // the broker's questions are answered with unknown
	NotifyTime  time.Duration                                      // of one notification; default notify.DefaultTimeout
	NotifyLease time.Duration                                      // of its claim; default notify's
	Published   func()                                             // between the relay's send and its mark; nil: nothing
	Started     func(addr, opsAddr net.Addr)                       // called once when the service listens; nil: nothing
}

// App is the service's parts. Nothing runs before Run is called.
type App struct {
	Config
	Orders    *store.Store // on the connections of buyers' requests
	Intake    *intake.Intake
	CheckBack *recovery.CheckBack
	Healer    *recovery.Healer
	Waiting   *waiting.Room
	Notifier  *notify.Notifier
	HTTP      httpapi.Config
	Metrics   Metrics

	db      *gorm.DB
	client  *rest.Client // of inventory-srv
	wallet  *rest.Client
	upkeep  *upkeep
	bus     *mq.Bus
	groups  []string // the consumer groups of the flows
	workers []func(context.Context)
	flows   *flow.Set
}

// Open connects to the database and builds the parts. It waits neither for the broker nor for inventory-srv, and does
// not change the schema. Close the app also when Run is not called.
func Open(ctx context.Context, cfg Config) (app *App, err error) {
	if cfg.Flows == nil {
		cfg.Flows = flow.List()
	}
	a := &App{Config: cfg, Metrics: newMetrics(telemetry.NewRegistry())}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if a.db, err = database.Open(ctx, cfg.MySQLDSN.Reveal(), database.Options{Log: cfg.Log}); err != nil {
		return nil, err
	}
	calls := rest.Config{
		URLs: cfg.InventoryURLs, Timeout: cfg.RequestTimeout, Name: "inventory", Log: cfg.Log, MaxConns: cfg.MaxPlacing, Credential: cfg.SentCredential(),
	}
	if a.client, err = rest.New(calls); err != nil {
		return nil, err
	}
	walletCalls := rest.Config{
		URLs: cfg.WalletURLs, Timeout: cfg.RequestTimeout, Name: "wallet", Log: cfg.Log, MaxConns: cfg.MaxPlacing, Credential: cfg.SentCredential(),
	}
	if a.wallet, err = rest.New(walletCalls); err != nil {
		return nil, err
	}
	a.Orders = store.New(a.db, a.Metrics.total)
	// The background work has connections of its own: a rush of new orders cannot take them.
	if a.upkeep, err = openUpkeep(ctx, cfg.Settings, a.Orders, calls, walletCalls, cfg.Log); err != nil {
		return nil, err
	}
	if err := a.chooseFlows(ctx); err != nil {
		return nil, err
	}
	if err := a.openBus(); err != nil {
		return nil, err
	}
	a.HTTP = a.http()
	return a, nil
}

// chooseFlows leaves out the flows that need a privilege which the database user does not have. The flow that places
// orders is not left out: the service does not start then.
func (a *App) chooseFlows(ctx context.Context) error {
	needs := func(k flow.Kind) bool { return k.Branches }
	if !slices.ContainsFunc(a.Flows, needs) {
		return nil
	}
	_, err := a.Orders.PreparedXA(ctx)
	if !errors.Is(err, database.ErrNoBranches) {
		return err
	}
	if slices.ContainsFunc(a.Flows, func(k flow.Kind) bool { return k.Branches && k.Name == a.OrderFlow }) {
		return fmt.Errorf("ORDER_FLOW is %s: %w", a.OrderFlow, err)
	}
	a.Log.WarnContext(ctx, "flows left out that need prepared branches", "err", err)
	a.Flows = slices.DeleteFunc(slices.Clone(a.Flows), needs)
	return nil
}

// openBus builds what places, ends and announces orders.
func (a *App) openBus() (err error) {
	topics := events.Topics()
	for _, k := range a.Flows {
		topics = append(topics, k.Topics...)
	}
	a.bus, err = mq.Open(mq.Config{
		Namesrv: a.NamesrvAddrs, Namespace: a.MQNamespace, Instance: a.InstanceID, Log: a.Log, Registerer: a.Metrics.Registry, Topics: topics,
	})
	if err != nil {
		return err
	}
	flows, err := flow.NewSet(a.Flows, a.OrderFlow)
	if err != nil {
		return err
	}
	a.flows = flows
	// Before anything gets a store: each transaction that decides an order calls its flow, and wakes the requests that
	// wait for it.
	a.Waiting = waiting.New(waiting.Config{Orders: a.upkeep.orders, Max: a.MaxWaiting, Log: a.Log})
	with := func(s *store.Store) *store.Store {
		return s.WithFlows(flows).WithWake(a.Waiting.Decided).WithNotify(func() { a.Notifier.Kick() })
	}
	a.Orders, a.upkeep.orders = with(a.Orders), with(a.upkeep.orders)
	if a.Producer == nil {
		a.Producer = a.bus.Producer()
	}
	if err := a.openNotifier(); err != nil {
		return err
	}
	if a.TxProducer == nil {
		a.TxProducer = a.bus.TxProducer
	}
	a.CheckBack = recovery.NewCheckBack(recovery.CheckBackConfig{
		Store: a.upkeep.orders, Grace: a.PendingGrace, Interval: a.BrokerCheckInterval, Log: a.Log, Memory: a.CheckMemory,
		Healed: a.Metrics.Healed.WithLabelValues(string(store.CheckBack)), Registerer: a.Metrics.Registry,
	})
	a.openFlows(flows)
	orders := a.upkeep.orders
	a.bus.Subscribe(mq.Subscription{
		Group: events.GroupTimeout, Topic: orderapi.TopicOrderTimeout, Handler: events.Timeout(orders, a.bus.Producer(), a.Log),
	})
	relay := outbox.NewRelay(outbox.RelayConfig{
		Table: orders.Outbox(), Send: a.bus.Producer(), Log: a.Log, Parked: a.Metrics.parked, Published: a.published,
	})
	depth := outbox.NewMetrics(orders.Outbox(), "order", a.Metrics.Registry, a.Log)
	convert := func(ctx context.Context) { orders.Convert(ctx, a.Log) }
	a.workers = append(a.workers, relay.Run, a.Healer.Run, depth.Run, a.Waiting.Run, convert)
	if !a.NoCheckBack {
		a.workers = append(a.workers, a.CheckBack.Run)
	}
	return nil
}

// openNotifier builds what notifies buyers.
func (a *App) openNotifier() error {
	guard, err := notify.NewGuard(a.WebhookAllow)
	if err != nil {
		return fmt.Errorf("read WEBHOOK_ALLOW: %w", err)
	}
	a.Notifier = notify.New(notify.Config{
		Store: a.upkeep.orders, Guard: guard, Delays: a.NotifyDelays, Timeout: a.NotifyTime, Lease: a.NotifyLease, Send: a.Producer, Log: a.Log,
		Registerer: a.Metrics.Registry, Healed: a.Metrics.Healed,
	})
	a.HTTP.Webhooks = notify.Webhooks{Store: a.Orders, Guard: guard, HTTP: a.LabMode}
	a.bus.Subscribe(a.Notifier.Subscription())
	a.workers = append(a.workers, a.Notifier.Run)
	return nil
}

// published is called when the relay has sent a message and has not marked it.
func (a *App) published() {
	crash.At(crash.OrderPublished)
	if a.Published != nil {
		a.Published()
	}
}

// openFlows builds the flows, and what uses them.
func (a *App) openFlows(flows *flow.Set) {
	shortages := shortage.New()
	resolver := &flow.Resolver{
		Store: a.Orders, Inventory: shortages.Observe(inventoryapi.NewClient(a.client)), Pace: flow.NewPace(), Log: a.Log,
	}
	flows.Open(flow.Deps{
		Resolver: resolver, Upkeep: a.upkeep.orders, Send: a.Producer, Tx: a.TxProducer("order-tx", a.CheckBack.Check),
		SweepAfter: a.SweepAfter, QueueTimeout: a.QueueTimeout, QueueMax: a.QueueMax, PaymentTime: a.PaymentTimeout, Registry: a.Metrics.Registry,
		Wallet: walletapi.NewClient(a.wallet), UpkeepWallet: walletapi.NewClient(a.upkeep.wallet), Healed: a.Metrics.Healed,
		Shortages: shortages,
		Branches:  inventoryapi.NewClient(a.client), UpkeepBranches: a.upkeep.inventory,
	})
	for _, f := range flows.All() {
		for _, s := range f.Subscriptions() {
			a.bus.Subscribe(s)
			a.groups = append(a.groups, s.Group)
		}
		a.workers = append(a.workers, f.Workers()...)
	}
	if a.GroupLimit == nil {
		a.GroupLimit = resolver.Pace.Limit
	}
	a.Intake = intake.New(intake.Config{
		Store: a.Orders, GroupLimit: a.GroupLimit, Flows: flows, Shortages: shortages, Remembered: a.Metrics.remembered,
		Timeout: a.RequestTimeout, PaymentWindow: a.PaymentTimeout, Overlap: a.Overlap,
	})
	a.Healer = recovery.New(recovery.Config{
		Store: a.upkeep.orders, Flows: flows, Inventory: a.upkeep.inventory, Log: a.Log, Healed: a.Metrics.Healed, Alarms: a.Metrics.Alarms,
		Timers: recovery.Timers{
			SweepAfter: a.SweepAfter, SettleAfter: a.SettleAfter, ReconcileAfter: a.ReconcileAfter,
			UnknownAfter: a.PaymentTimeout + a.ReconcileAfter, // longer than any reservation waits for its payment
		},
	})
}

func (a *App) http() httpapi.Config {
	groups := append([]string{events.GroupTimeout, notify.GroupNotify, inventoryapi.GroupRelease, inventoryapi.GroupEvents, inventoryapi.GroupReserve}, a.groups...)
	letters := deadletter.New(a.upkeep.orders, a.upkeep.inventory, a.bus, groups...)
	audits := audit.NewJobs(audit.Config{
		Store: a.upkeep.orders, Inventory: a.upkeep.inventory, Wallet: walletapi.NewClient(a.upkeep.wallet), Letters: letters,
		HalfMessages: audit.HalfMessages{Undecided: a.CheckBack.Undecided, LateAfter: a.BrokerTransactionTimeout + 2*a.BrokerCheckInterval},
		LateBranch:   a.SweepAfter + branchGrace,
	}, a.Log)
	a.workers = append(a.workers, audits.Run, database.NewTableMetrics(a.upkeep.db, "order", a.Metrics.Registry, a.Log).Run)
	if age := a.retention(); age > 0 {
		leaving := retention.New(retention.Config{
			Store: a.upkeep.orders, Inventory: a.upkeep.inventory, Audits: audits, Age: age, Log: a.Log, Registerer: a.Metrics.Registry,
		})
		a.workers = append(a.workers, leaving.Run)
	}
	metrics := admit.NewMetrics(a.Metrics.Registry)
	limit := func(kind string, most int) *admit.Limiter {
		return admit.New(admit.Config{Kind: kind, Max: most, Timeout: a.RequestTimeout, Metrics: metrics})
	}
	return httpapi.Config{
		Engine: web.EngineConfig{
			Log: a.Log, Sampled: !a.LabMode, Registry: a.Metrics.Registry, Timeout: a.RequestTimeout, Waiting: httpapi.Waiting(), Credentials: a.AcceptedCredentials,
		},
		Intake: a.Intake, Orders: a.Orders, Waiting: a.Waiting, Lab: a.LabMode, DeadLetters: letters,
		Placing: limit("placing", a.MaxPlacing), Changing: limit("changing", a.MaxChanging), Reading: limit("reading", a.MaxReading),
		Audits: audits, Webhooks: a.HTTP.Webhooks,
	}
}

// Migrate brings the schema up to date. Two replicas may call it at the same time. Meanwhile the flows end the branches
// that a crash has left: ALTER TABLE waits for a prepared branch, by default for a day or a year.
func (a *App) Migrate(ctx context.Context) error {
	for _, f := range a.flows.All() {
		if r, ok := f.(flow.Recoverer); ok {
			defer r.RecoverMeanwhile(ctx)()
		}
	}
	if err := database.Migrate(ctx, a.db, sql.Orders(), a.Log); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if a.LeanOrders {
		return a.Orders.WriteLean(ctx)
	}
	return nil
}

// Close lets the last orders be decided and ends the connections.
func (a *App) Close() error {
	var err error
	if a.Intake != nil {
		err = a.Intake.Close()
	}
	if a.upkeep != nil {
		err = errors.Join(err, a.upkeep.close())
	}
	for _, c := range []*rest.Client{a.client, a.wallet} {
		if c != nil {
			c.Close()
		}
	}
	if a.db != nil {
		err = errors.Join(err, database.Close(a.db))
	}
	return err
}

// probeWallet requests a page that the wallet does not have. Its "not found" shows that the wallet answers.
func (a *App) probeWallet(ctx context.Context) error {
	err := a.upkeep.wallet.Do(ctx, http.MethodGet, "/", nil, nil)
	if fault.KindOf(err) == fault.NotFound {
		return nil
	}
	return err
}

func (a *App) probeInventory(ctx context.Context) error {
	return a.upkeep.client.Do(ctx, http.MethodGet, "/v1/strategies", nil, nil)
}

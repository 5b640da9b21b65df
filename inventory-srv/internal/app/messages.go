package app

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/inventory-srv/internal/events"
	"holdfast/pkg/crash"
	"holdfast/pkg/database"
	"holdfast/pkg/mq"
	"holdfast/pkg/outbox"
)

// outboxConnections are those of the outbox: four workers of the relay, and what else reads and writes it. A rush of
// orders cannot take them.
const outboxConnections = 8

// messages is what sends and receives messages.
type messages struct {
	bus   *mq.Bus
	relay *outbox.Relay
	depth *outbox.Metrics
}

// openMessages connects to nothing yet. registry, unless it is nil, gets the outbox's metrics.
func (a *App) openMessages(ctx context.Context, cfg mq.Config) (*messages, error) {
	cfg.Topics, cfg.Log, cfg.Registerer = events.Topics(), a.cfg.Log, a.cfg.Registry
	bus, err := mq.Open(cfg)
	if err != nil {
		return nil, err
	}
	for _, s := range events.New(a.Stock, a.cfg.Log, a.cfg.Registry).Subscriptions() {
		bus.Subscribe(s)
	}
	pool, err := a.openPool(ctx, database.Options{MaxOpen: outboxConnections})
	if err != nil {
		return nil, err
	}
	table := a.Store.Outbox().On(pool)
	reserves := events.NewReserves(events.ReservesConfig{
		Stock: a.Stock, Answers: a.Store.AnswersOn(pool), Log: a.cfg.Log, Registry: a.cfg.Registry,
	})
	bus.Subscribe(reserves.Subscription())
	parked := promauto.With(a.cfg.Registry).NewCounter(prometheus.CounterOpts{
		Name: "outbox_parked_total", Help: "Messages of the outbox that this process has parked. holdfast dlq lists them.",
	})
	return &messages{
		bus: bus,
		relay: outbox.NewRelay(outbox.RelayConfig{
			Table: table, Send: bus.Producer(), Log: a.cfg.Log, Parked: parked, Published: func() { crash.At(crash.InventoryPublished) },
		}),
		depth: outbox.NewMetrics(table, "inventory", a.cfg.Registry, a.cfg.Log),
	}, nil
}

// runInBackground starts the bus and the relay. The returned function stops them.
func (m *messages) runInBackground(ctx context.Context) (stop func() error) {
	stopBus := m.bus.StartInBackground(ctx)
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { m.relay.Run(ctx) })
	running.Go(func() { m.depth.Run(ctx) })
	return func() error {
		cancel()
		running.Wait()
		return stopBus()
	}
}

package replicatest

import (
	"context"
	gosql "database/sql"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/database"
	"holdfast/pkg/lock"
)

// Instance is what one replica of the service has for itself.
type Instance struct {
	DB        *gorm.DB
	Deadlocks *atomic.Int64         // that its statements met
	Sent      *stocktest.Statements // hooked in before the replica works
	Store     *store.Store
	Client    redis.UniversalClient // the locker's
	Locker    strategy.Locker
	Nodes     *strategy.Nodes
	LockPool  *gosql.DB
	Registry  *prometheus.Registry

	InRedis bool // it works with stock in Redis, see World.Open
	App     *app.App
	Redis   *redisstock.Reserver

	extra []strategy.Strategy
}

// ToRedis makes the instance's strategies, with stock in Redis. cfg overrides defaults.
func (i *Instance) ToRedis(t *testing.T, cfg redisstock.Config) {
	t.Helper()
	cfg.Client = i.Client
	i.Registry = prometheus.NewRegistry()
	i.InRedis, i.App = true, i.Build(t, app.Config{Strategy: strategy.Default, Lab: true, Redis: cfg})
	i.Redis, _ = i.App.Stock.Reserver(redisstock.Name).(*redisstock.Reserver)
}

// Build makes strategies on the instance's servers.
func (i Instance) Build(t *testing.T, cfg app.Config) *app.App {
	t.Helper()
	if i.Registry != nil {
		cfg.Registry = i.Registry
	}
	cfg.Extra = i.extra
	cfg.Log, cfg.DB, cfg.Locker, cfg.Redlock, cfg.LockPool = Quiet(), i.DB, i.Locker, i.Nodes, i.LockPool
	built, err := app.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("make the strategies: %v", err)
	}
	t.Cleanup(func() {
		if err := built.Close(); err != nil {
			t.Errorf("close the strategies: %v", err)
		}
	})
	return built
}

// Follow runs the part of a replica that has MySQL follow Redis, until the test ends or the returned function is
// called.
func (i Instance) Follow(t *testing.T) (stop func()) {
	t.Helper()
	return InBackground(t, i.Redis.Run)
}

// InBackground runs a function until the test ends or stop is called.
func InBackground(t *testing.T, run func(context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// countDeadlocks counts the deadlocks of a pool, after which the ledger silently repeats the transaction.
func countDeadlocks(t *testing.T, db *gorm.DB) *atomic.Int64 {
	t.Helper()
	n := new(atomic.Int64)
	count := func(tx *gorm.DB) {
		if e, ok := errors.AsType[*mysql.MySQLError](tx.Error); ok && e.Number == 1213 {
			n.Add(1)
		}
	}
	err := errors.Join(
		db.Callback().Raw().After("gorm:raw").Register("test:deadlocks", count),
		db.Callback().Query().After("gorm:query").Register("test:deadlocks", count))
	if err != nil {
		t.Fatalf("hook into the statements: %v", err)
	}
	return n
}

func newInstance(t *testing.T, dsn string, client redis.UniversalClient, options []lock.Option, extra []strategy.Strategy) Instance {
	t.Helper()
	var redlock []string
	if extra == nil { // a strategy from outside may be tested where there is only one Redis
		redlock = stacktest.RedlockNodes(t)
	}
	db := dbtest.Open(t, dsn, database.Options{MaxOpen: 32})
	servers, err := app.Open(t.Context(), app.Config{
		Log: Quiet(), DB: db, DSN: dsn, LockPoolSize: strategy.DefaultLockPool, LockClient: client, RedlockAddrs: redlock, LockOptions: options,
	})
	if err != nil {
		t.Fatalf("open the servers: %v", err)
	}
	t.Cleanup(func() { _, _ = servers.Close(), client.Close() })
	return Instance{
		DB: db, Deadlocks: countDeadlocks(t, db), Sent: stocktest.Watch(t, db), Store: servers.Store, Client: client,
		Locker: servers.Locker, Nodes: servers.Nodes, LockPool: servers.LockPool, Registry: prometheus.NewRegistry(), extra: extra,
	}
}

func (i Instance) ledger() stocktest.Ledger { return stocktest.Ledger{Store: i.Store, DB: i.DB} }

// Quiet returns a logger that discards everything.
func Quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Set makes the strategies of one instance. Orders may choose among them.
func (i Instance) Set(t *testing.T) *strategy.Set {
	t.Helper()
	if i.InRedis {
		return i.App.Stock
	}
	return i.Build(t, app.Config{Strategy: strategy.Default, Lab: true}).Stock
}

// SetLayout moves a SKU to another layout.
func (i Instance) SetLayout(ctx context.Context, sku, to string) (err error) {
	if i.InRedis {
		_, err = i.App.Stock.SetLayout(ctx, sku, layout.Shape{Layout: to})
		return err
	}
	_, err = i.Store.SetLayout(ctx, sku, layout.Shape{Layout: to})
	return err
}

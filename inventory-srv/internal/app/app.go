// Package app is inventory-srv's composition root: it builds a replica from its configuration, for the service, the
// laboratory and the tests.
package app

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/database"
	"holdfast/pkg/lock"
	"holdfast/pkg/lock/lockmetrics"
	"holdfast/sql"
)

// Config says what to build. A server is given by its addresses, or as an open connection, which Close leaves open. A
// server that is given in neither way is left out.
type Config struct {
	Log      *slog.Logger          // default slog.Default
	Registry prometheus.Registerer // nil: nothing is registered

	DSN       string // of the inventory database; Open brings its schema up to date
	DB        *gorm.DB
	MaxOpen   int  // connections to DSN; default that of pkg/database
	FlushPool bool // group-commit gets connections of its own
	Compact   bool // no replica of an earlier version runs any more, see store.WriteCompact

	LockPool     *stdsql.DB // for the locks of mysql-lock
	LockPoolSize int        // of a pool to DSN; 0: none

	RedisAddrs  []string
	LockClient  redis.UniversalClient // for the locks
	Locker      strategy.Locker
	LockOptions []lock.Option     // of the locks and of Redlock's
	Redis       redisstock.Config // of the stock in Redis; its Client may be an open connection

	RedlockAddrs []string
	Redlock      *strategy.Nodes

	Strategy string              // of orders that name none; "" makes no strategy
	Lab      bool                // an order may name its own strategy
	Only     bool                // makes no strategy but Strategy
	Extra    []strategy.Strategy // beside those of strategy.List; nil: none

	ReserveHorizon time.Duration // no order with an older number is reserved; 0: of any age

	Started func(addr, opsAddr net.Addr) // called once when the service listens; nil: nothing
}

// App is one replica.
type App struct {
	DB         *gorm.DB
	Store      *store.Store
	Stock      *strategy.Set // nil without Config.Strategy
	Locker     strategy.Locker
	LockClient redis.UniversalClient
	LockPool   *stdsql.DB
	Nodes      *strategy.Nodes
	Branches   strategy.Branches

	cfg   Config
	close []func() error
}

// Open builds a replica. It returns an error when the database cannot be reached, and stock.ErrUnknownStrategy when the
// strategy does not exist. It sends nothing to Redis. The caller closes the App.
func Open(ctx context.Context, cfg Config) (_ *App, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	a := &App{cfg: cfg, DB: cfg.DB, LockClient: cfg.LockClient, Locker: cfg.Locker, Nodes: cfg.Redlock, LockPool: cfg.LockPool}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if err := a.openDatabase(ctx); err != nil {
		return nil, err
	}
	if err := a.openLocks(ctx); err != nil {
		return nil, err
	}
	if cfg.Strategy == "" {
		return a, nil
	}
	return a, a.openStock(ctx)
}

// Close closes what Open has opened, in reverse order.
func (a *App) Close() error {
	var faults []error
	for i := len(a.close) - 1; i >= 0; i-- {
		faults = append(faults, a.close[i]())
	}
	a.close = nil
	return errors.Join(faults...)
}

// onClose has Close call f.
func (a *App) onClose(f func() error) { a.close = append(a.close, f) }

const (
	// branchLimit is how long the migration waits for prepared branches. It is longer than order-srv's recovery needs
	// for an order that was not decided (SWEEP_AFTER, 30 s).
	branchLimit = 2 * time.Minute

	endBranches = "let a replica of the version before serve: order-srv's recovery ends the branches through it; " +
		"by hand: XA COMMIT or XA ROLLBACK on this server, as the decision in the table xa_log of orders says"
)

func (a *App) openDatabase(ctx context.Context) (err error) {
	if a.DB == nil {
		if a.DB, err = a.openPool(ctx, database.Options{MaxOpen: a.cfg.MaxOpen}); err != nil {
			return err
		}
		// Several replicas may migrate at once. Only order-srv knows how a prepared branch ends, and it ends branches through
		// a replica that serves: this one does not yet.
		branches := database.BranchWait{Limit: branchLimit, Action: endBranches}
		if err := database.MigrateAfterBranches(ctx, a.DB, sql.Inventory(), a.cfg.Log, branches); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
	a.Store = store.New(a.DB, strategy.Layouts())
	if a.cfg.Compact {
		return a.Store.WriteCompact(ctx)
	}
	return a.Store.ReadForm(ctx)
}

func (a *App) openPool(ctx context.Context, options database.Options) (*gorm.DB, error) {
	options.Log = a.cfg.Log
	db, err := database.Open(ctx, a.cfg.DSN, options)
	if err == nil {
		a.onClose(func() error { return database.Close(db) })
	}
	return db, err
}

func (a *App) openLocks(ctx context.Context) (err error) {
	if a.LockClient == nil && a.cfg.RedisAddrs != nil {
		a.LockClient = a.openRedis()
	}
	if a.Locker == nil && a.LockClient != nil {
		options := a.cfg.LockOptions
		if a.cfg.Registry != nil {
			options = append(slices.Clone(options), lock.WithObserver(lockmetrics.New(a.cfg.Registry)))
		}
		locker, err := lock.NewRedis(a.LockClient, options...)
		if err != nil {
			return err
		}
		a.onClose(locker.Close)
		a.Locker = locker
	}
	if a.Nodes == nil {
		if a.Nodes, err = strategy.OpenNodes(a.cfg.RedlockAddrs, a.cfg.LockOptions...); err != nil {
			return fmt.Errorf("REDLOCK_ADDRS: %w", err)
		}
		a.onClose(a.Nodes.Close)
	}
	if a.LockPool == nil && a.cfg.LockPoolSize > 0 {
		if a.LockPool, err = strategy.OpenLockPool(ctx, a.cfg.DSN, a.cfg.LockPoolSize, a.cfg.Log); err != nil {
			return err
		}
		a.onClose(a.LockPool.Close)
	}
	return nil
}

func (a *App) openRedis() redis.UniversalClient {
	client := lock.NewClient(a.cfg.RedisAddrs)
	a.onClose(client.Close)
	return client
}

const (
	// flushLockWait is how long a flush of group-commit waits for a row that another session has locked. It is less
	// than an attempt of order-srv to reserve (1.5 s), so that the orders for other rows are served within it.
	flushLockWait = time.Second
	// flushConnections is one for each of group-commit's six batchers, and two to spare for those that are replaced.
	flushConnections = 8
	// branchConnections commit and roll back branches. What waits for a branch's rows has other connections.
	branchConnections = 8
)

// openStock makes the strategies.
func (a *App) openStock(ctx context.Context) (err error) {
	deps := strategy.Deps{
		DB: a.DB, Store: a.Store, Ledger: a.Store.Ledger(), Locker: a.Locker, Redlock: a.Nodes, LockPool: a.LockPool, Redis: a.cfg.Redis,
		Log: a.cfg.Log, Registry: a.cfg.Registry, ReserveHorizon: a.cfg.ReserveHorizon,
	}
	if deps.Redis.Client == nil && a.cfg.RedisAddrs != nil {
		deps.Redis.Client = a.openRedis()
	}
	if a.cfg.FlushPool {
		flushes, err := a.openPool(ctx, database.Options{MaxOpen: flushConnections, LockWait: flushLockWait})
		if err != nil {
			return err
		}
		deps.Flushes = a.Store.LedgerOn(flushes)
	}
	if a.Stock, err = strategy.NewSet(a.cfg.Strategy, a.cfg.Lab, a.cfg.Only, deps, a.cfg.Extra...); err != nil {
		return err
	}
	a.onClose(a.Stock.Close)
	return a.openBranches(ctx)
}

// openBranches makes the branches, which end on connections of their own.
func (a *App) openBranches(ctx context.Context) (err error) {
	ends := a.DB
	if a.cfg.FlushPool {
		if ends, err = a.openPool(ctx, database.Options{MaxOpen: branchConnections}); err != nil {
			return err
		}
	}
	a.Branches = a.Stock.Branches(ends)
	return nil
}

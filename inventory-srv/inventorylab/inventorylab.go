// Package inventorylab opens inventory-srv's stock to what is no service: the comparison, the lessons and the end-to-end
// tests run a strategy in their own process, on servers of their choice, and look at its ledger. Production code must
// not import it.
package inventorylab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/database"
	"holdfast/pkg/lock"
	"holdfast/sql"
)

// Config says on which servers to work and how.
type Config struct {
	DSN          string   // of the inventory database; its schema is brought up to date
	RedisAddrs   []string // for the strategies that use Redis
	RedlockAddrs []string // three or more independent nodes for redlock, which is unavailable without
	Strategy     string   // default redis-lock

	MaxOpen    int           // database connections; default that of pkg/database
	LockTTL    time.Duration // default that of pkg/lock
	LockPrefix string        // keeps the locks of several labs on one Redis apart; default that of pkg/lock
	Log        *slog.Logger  // default slog.Default
	Idle       bool          // with redis-lua: this lab does not have MySQL follow Redis, another one may
}

// Lab is one instance of one strategy: a connection pool and a locker of its own. Two labs on the same servers are what
// two replicas of the service are.
type Lab struct {
	name     string
	layout   string
	store    *store.Store
	redis    *redisstock.Counters // nil unless the strategy is redis-lua
	reserver stock.Reserver
	close    []func() error
}

// Open connects. It returns an error when the strategy is not known or the database cannot be reached; Redis is not
// asked before the first reserve.
func Open(ctx context.Context, cfg Config) (_ *Lab, err error) {
	if cfg.Strategy == "" {
		cfg.Strategy = strategy.Default
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	lab := &Lab{name: cfg.Strategy}
	defer func() {
		if err != nil {
			err = errors.Join(err, lab.Close())
		}
	}()
	if err := lab.openDatabase(ctx, cfg); err != nil {
		return nil, err
	}
	locker, err := lab.openLocker(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Strategy == redisstock.Strategy {
		lab.openCounters(ctx, cfg, locker)
	}
	nodes, err := strategy.OpenNodes(cfg.RedlockAddrs, cfg.lockOptions()...)
	if err != nil {
		return nil, err
	}
	lab.close = append(lab.close, nodes.Close)
	lockPool, err := strategy.OpenLockPool(ctx, cfg.DSN, strategy.DefaultLockPool, cfg.Log)
	if err != nil {
		return nil, err
	}
	lab.close = append(lab.close, lockPool.Close)
	for _, s := range strategy.List() {
		if s.Name == cfg.Strategy {
			lab.layout = s.Layout
			lab.reserver = s.New(strategy.Deps{
				Ledger: lab.store.Ledger(), Locker: locker, Redlock: nodes.Acquirer(), LockPool: lockPool, Redis: lab.redis, Log: cfg.Log,
			})
			if c, ok := lab.reserver.(io.Closer); ok {
				lab.close = append(lab.close, c.Close)
			}
			return lab, nil
		}
	}
	return nil, stock.ErrUnknownStrategy.With("allowed", strategy.Names())
}

func (l *Lab) openDatabase(ctx context.Context, cfg Config) error {
	db, err := database.Open(ctx, cfg.DSN, database.Options{MaxOpen: cfg.MaxOpen, Log: cfg.Log})
	if err != nil {
		return err
	}
	l.close = append(l.close, func() error { return database.Close(db) })
	l.store = store.New(db)
	if err := database.Migrate(ctx, db, sql.Inventory(), cfg.Log); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func (c Config) lockOptions() []lock.Option {
	var options []lock.Option
	if c.LockTTL != 0 {
		options = append(options, lock.WithTTL(c.LockTTL))
	}
	if c.LockPrefix != "" {
		options = append(options, lock.WithPrefix(c.LockPrefix))
	}
	return options
}

func (l *Lab) openLocker(cfg Config) (strategy.Locker, error) {
	client := lock.NewClient(cfg.RedisAddrs)
	l.close = append(l.close, client.Close)
	locker, err := lock.NewRedis(client, cfg.lockOptions()...)
	if err != nil {
		return nil, err
	}
	l.close = append(l.close, locker.Close)
	return locker, nil
}

// openCounters makes the counters and has this lab take part in keeping Redis and MySQL together.
func (l *Lab) openCounters(ctx context.Context, cfg Config, locker strategy.Locker) {
	client := lock.NewClient(cfg.RedisAddrs)
	l.close = append(l.close, client.Close)
	prefix := ""
	if cfg.LockPrefix != "" {
		prefix = "{" + cfg.LockPrefix + "stock}:"
	}
	l.redis = redisstock.New(redisstock.Config{Client: client, Store: l.store, Locker: locker, Log: cfg.Log, Prefix: prefix})
	l.close = append(l.close, l.redis.Close)
	run := l.redis.RunInBackground
	if cfg.Idle {
		run = l.redis.WatchInBackground
	}
	l.close = append(l.close, run(context.WithoutCancel(ctx)))
}

// Lost returns what Redis had answered and lost before MySQL heard of it, as far as labs have found out: operations, and the units
// that they had taken, less those given back.
func (l *Lab) Lost(ctx context.Context) (operations, units int64, err error) {
	losses, err := l.store.Losses(ctx)
	for _, loss := range losses {
		operations += loss.Operations
		units += loss.Units
	}
	return operations, units, err
}

// Forget removes what the lab has in Redis, for labs whose database is thrown away.
func (l *Lab) Forget(ctx context.Context) error {
	if l.redis == nil {
		return nil
	}
	return l.redis.Drop(ctx)
}

// Close gives the connections back.
func (l *Lab) Close() error {
	var faults []error
	for i := len(l.close) - 1; i >= 0; i-- {
		faults = append(faults, l.close[i]())
	}
	l.close = nil
	return errors.Join(faults...)
}

// Strategies lists what Config.Strategy may be, in reading order.
func Strategies() []inventoryapi.Strategy {
	var out []inventoryapi.Strategy
	for _, s := range strategy.List() {
		out = append(out, inventoryapi.Strategy{Name: s.Name, Layout: s.Layout, Idea: s.Idea, Safe: s.Safe, SafeAlone: s.SafeAlone})
	}
	return out
}

// Reserve takes all lines or none. Its errors are the faults of inventoryapi.
func (l *Lab) Reserve(ctx context.Context, orderNo string, lines []inventoryapi.Line) (inventoryapi.Receipt, error) {
	r := stock.Request{OrderNo: orderNo, Strategy: l.name, Lines: make([]stock.Line, len(lines))}
	for i, line := range lines {
		r.Lines[i] = stock.Line(line)
	}
	receipt, err := l.reserver.Reserve(ctx, r)
	if err != nil {
		return inventoryapi.Receipt{}, err
	}
	out := inventoryapi.Receipt{OrderNo: receipt.OrderNo, Strategy: receipt.Strategy, AmountCents: receipt.AmountCents()}
	for _, line := range receipt.Lines {
		out.Lines = append(out.Lines, inventoryapi.ReceiptLine(line))
	}
	return out, nil
}

// Confirm turns an order's reserved units into sold ones.
func (l *Lab) Confirm(ctx context.Context, orderNo string) error {
	return l.reserver.Confirm(ctx, orderNo)
}

// Release gives an order's units back or writes its tombstone.
func (l *Lab) Release(ctx context.Context, orderNo string) error {
	return l.reserver.Release(ctx, orderNo)
}

// Stock creates a product for the lab, unless it is there, in the layout of this lab's strategy, and adds units to it, once for
// each reference.
func (l *Lab) Stock(ctx context.Context, sku string, units int64, reference string) error {
	if _, err := l.store.CreateProduct(ctx, store.Product{SKU: sku, Title: sku, PriceCents: 100, Lab: true}); err != nil {
		return err
	}
	if err := l.setLayout(ctx, sku); err != nil {
		return err
	}
	_, err := l.store.Receive(ctx, store.Inbound{SKU: sku, Quantity: units, Reference: reference, Reason: "lab", Actor: "lab"})
	return err
}

func (l *Lab) setLayout(ctx context.Context, sku string) (err error) {
	if l.redis != nil {
		_, err = l.redis.SetLayout(ctx, sku, store.Shape{Layout: l.layout})
		return err
	}
	_, err = l.store.SetLayout(ctx, sku, store.Shape{Layout: l.layout})
	return err
}

// Ledger exports counters and sums of one consistent snapshot, for the checker; with redis-lua after MySQL has followed.
func (l *Lab) Ledger(ctx context.Context) (inventoryapi.Ledger, error) {
	if l.redis != nil {
		if err := l.redis.Settled(ctx); err != nil {
			return inventoryapi.Ledger{}, err
		}
	}
	found, err := l.store.Audit(ctx)
	if err != nil {
		return inventoryapi.Ledger{}, err
	}
	out := inventoryapi.Ledger{TakenAt: found.TakenAt}
	for _, e := range found.Entries {
		out.SKUs = append(out.SKUs, inventoryapi.LedgerEntry(e))
	}
	return out, nil
}

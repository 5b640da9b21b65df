// Package inventorylab opens inventory-srv's stock to what is no service: the comparison, the lessons and the
// end-to-end tests run a strategy in their own process, on servers of their choice, and look at its ledger.
// Production code must not import it.
package inventorylab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/layout"
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

	Extra []Strategy // strategies from outside, beside those of the service

	MaxOpen    int           // database connections; default that of pkg/database
	LockTTL    time.Duration // default that of pkg/lock
	LockPrefix string        // keeps the locks of several labs on one Redis apart; default that of pkg/lock
	Log        *slog.Logger  // default slog.Default
	Idle       bool          // a strategy whose answers MySQL follows leaves that to another lab

	ReserveHorizon time.Duration // no order with an older number is reserved, by Handler; 0: of any age

	LockWait    time.Duration // for a row lock; default that of pkg/database
	IdleTimeout time.Duration // of a session that a point stops; default that of pkg/database
	// At is called at each point of a Reserve, in its goroutine, which continues when At returns. Nil: nothing.
	At func(Point)
}

// Lab is one instance of one strategy: a connection pool and a locker of its own. Two labs on the same servers are what
// two replicas of the service are.
type Lab struct {
	app      *app.App
	name     string
	layout   string
	reserver stock.Reserver
	db       *gorm.DB // nil: the app's own
	stop     func()
}

// Open connects. It returns an error when the strategy is not known or the database cannot be reached; Redis is not
// asked before the first reserve.
func Open(ctx context.Context, cfg Config) (*Lab, error) {
	parts := app.Config{
		Log: cfg.Log, DSN: cfg.DSN, MaxOpen: cfg.MaxOpen, LockPoolSize: strategy.DefaultLockPool, RedisAddrs: cfg.RedisAddrs, RedlockAddrs: cfg.RedlockAddrs,
		LockOptions: cfg.lockOptions(), Strategy: cmp.Or(cfg.Strategy, strategy.Default), Only: true,
		Extra: cfg.Extra, ReserveHorizon: cfg.ReserveHorizon,
	}
	parts.Redis.Idle = cfg.Idle
	if cfg.LockPrefix != "" {
		parts.Redis.Prefix = "{" + cfg.LockPrefix + "stock}:"
	}
	db, err := cfg.openDatabase(ctx)
	if err != nil {
		return nil, err
	}
	parts.DB = db
	opened, err := app.Open(ctx, parts)
	if err != nil {
		return nil, errors.Join(err, closeDatabase(db))
	}
	lab := &Lab{app: opened, name: parts.Strategy, layout: layoutOf(opened.Stock.Strategies(), parts.Strategy), reserver: opened.Stock.Reserver(parts.Strategy), db: db}
	lab.stop = opened.Stock.RunInBackground(context.WithoutCancel(ctx))
	return lab, nil
}

// openDatabase returns a pool with the configuration's waits, or nil if the composition root's own will do.
func (c Config) openDatabase(ctx context.Context) (*gorm.DB, error) {
	if c.LockWait == 0 && c.IdleTimeout == 0 && c.At == nil {
		return nil, nil
	}
	db, err := database.Open(ctx, c.DSN, database.Options{
		MaxOpen: c.MaxOpen, Log: c.Log, LockWait: c.LockWait, IdleTimeout: c.IdleTimeout, IOTimeout: c.LockWait + ioTimeout,
	})
	if err != nil {
		return nil, err
	}
	err = database.Migrate(ctx, db, sql.Inventory(), c.Log)
	if err == nil && c.At != nil {
		err = stopAtStatements(db, c.At)
	}
	if err != nil {
		return nil, errors.Join(err, database.Close(db))
	}
	return db, nil
}

// ioTimeout is longer than a wait for a lock, which ends first.
const ioTimeout = 30 * time.Second

// closeDatabase closes what openDatabase has opened.
func closeDatabase(db *gorm.DB) error {
	if db == nil {
		return nil
	}
	return database.Close(db)
}

// layoutOf returns the layout of a strategy.
func layoutOf(all []Strategy, name string) string {
	for _, s := range all {
		if s.Name == name {
			return s.Layout
		}
	}
	return ""
}

func (c Config) lockOptions() []lock.Option {
	var options []lock.Option
	if c.LockTTL != 0 {
		options = append(options, lock.WithTTL(c.LockTTL))
	}
	if c.LockPrefix != "" {
		options = append(options, lock.WithPrefix(c.LockPrefix))
	}
	if c.At != nil {
		options = append(options, lock.WithObserver(stoppingObserver{c.At}))
	}
	return options
}

// Lost returns what Redis had answered and lost before MySQL heard of it, as far as labs have found out: operations,
// and the units that they had taken, less those given back.
func (l *Lab) Lost(ctx context.Context) (operations, units int64, err error) {
	losses, err := l.app.Stock.Losses(ctx)
	for _, loss := range losses {
		operations += loss.Operations
		units += loss.Units
	}
	return operations, units, err
}

// Forget removes what the lab has in Redis, for labs whose database is thrown away.
func (l *Lab) Forget(ctx context.Context) error {
	if d, ok := l.reserver.(interface {
		Drop(ctx context.Context) error
	}); ok {
		return d.Drop(ctx)
	}
	return nil
}

// Close gives the connections back.
func (l *Lab) Close() error {
	l.stop()
	return errors.Join(l.app.Close(), closeDatabase(l.db))
}

// Strategies lists what Config.Strategy may be, in reading order, the strategies from outside last.
func Strategies(extra ...Strategy) []inventoryapi.Strategy {
	var out []inventoryapi.Strategy
	for _, s := range append(strategy.List(), extra...) {
		out = append(out, inventoryapi.Strategy{Name: s.Name, Layout: s.Layout, Idea: s.Idea, Safe: s.Safe, SafeAlone: s.SafeAlone})
	}
	return out
}

// Reserve takes all lines or none. Its errors are the faults of inventoryapi.
func (l *Lab) Reserve(ctx context.Context, orderNo string, lines []inventoryapi.Line) (inventoryapi.Receipt, error) {
	r := l.request(orderNo, lines)
	receipt, err := l.reserver.Reserve(context.WithValue(ctx, reserveKey{}, true), r)
	if err != nil {
		return inventoryapi.Receipt{}, err
	}
	out := inventoryapi.Receipt{OrderNo: receipt.OrderNo, Strategy: receipt.Strategy, AmountCents: receipt.AmountCents()}
	for _, line := range receipt.Lines {
		out.Lines = append(out.Lines, inventoryapi.ReceiptLine(line))
	}
	return out, nil
}

func (l *Lab) request(orderNo string, lines []inventoryapi.Line) stock.Request {
	r := stock.Request{OrderNo: orderNo, Strategy: l.name, Lines: make([]stock.Line, len(lines))}
	for i, line := range lines {
		r.Lines[i] = stock.Line(line)
	}
	return r
}

// FullBatch returns how many lines the strategy executes in one batch, or 0 when it does not batch reserves.
func (l *Lab) FullBatch() int {
	if b, ok := l.reserver.(strategy.BatchReserver); ok {
		return b.FullBatch()
	}
	return 0
}

// ReserveBatch reserves orders in one batch of the strategy, without its queue. It returns the first order's error. The
// strategy has a FullBatch.
func (l *Lab) ReserveBatch(ctx context.Context, orders []inventoryapi.ReserveOrder) error {
	b, ok := l.reserver.(strategy.BatchReserver)
	if !ok {
		return fmt.Errorf("the strategy %s has no batches", l.name)
	}
	requests := make([]stock.Request, len(orders))
	for i, o := range orders {
		requests[i] = l.request(o.OrderNo, o.Lines)
	}
	return b.ReserveBatch(ctx, requests)
}

// Confirm turns an order's reserved units into sold ones.
func (l *Lab) Confirm(ctx context.Context, orderNo string) error {
	return l.reserver.Confirm(ctx, orderNo)
}

// Release gives an order's units back or writes its tombstone.
func (l *Lab) Release(ctx context.Context, orderNo string) error {
	return l.reserver.Release(ctx, orderNo)
}

// Stock creates a product for the lab, unless it is there, in the layout of this lab's strategy, and adds units to
// it, once for each reference.
func (l *Lab) Stock(ctx context.Context, sku string, units int64, reference string) error {
	if _, err := l.app.Store.CreateProduct(ctx, store.Product{SKU: sku, Title: sku, PriceCents: 100, Lab: true}); err != nil {
		return err
	}
	if _, err := l.app.Stock.SetLayout(ctx, sku, layout.Shape{Layout: l.layout}); err != nil {
		return err
	}
	_, err := l.app.Store.Receive(ctx, store.Inbound{SKU: sku, Quantity: units, Reference: reference, Reason: "lab", Actor: "lab"})
	return err
}

// Ledger exports counters and sums of one consistent snapshot, for the checker, after MySQL has followed all answers.
func (l *Lab) Ledger(ctx context.Context) (inventoryapi.Ledger, error) {
	if err := l.app.Stock.Settled(ctx); err != nil {
		return inventoryapi.Ledger{}, err
	}
	found, err := l.app.Store.Audit(ctx)
	if err != nil {
		return inventoryapi.Ledger{}, err
	}
	out := inventoryapi.Ledger{TakenAt: found.TakenAt}
	for _, e := range found.Entries {
		out.SKUs = append(out.SKUs, inventoryapi.LedgerEntry(e))
	}
	return out, nil
}

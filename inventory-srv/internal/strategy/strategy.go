// Package strategy holds the ways of guarding a SKU's stock against concurrent orders, one file each, made to be read
// side by side. They share the ledger (package store) and, on the row layout, confirm and release; a strategy's file
// holds what makes it different.
//
// List is the one place that names all of them. Configuration, the conformance suite, the comparison and the strategies
// route use it, so a new strategy is a file and a line.
package strategy

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/groupcommit"
	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/fault"
)

// Default is the strategy of a service without STOCK_STRATEGY.
const Default = "redis-lock"

// Strategy describes one way of guarding stock and makes it.
type Strategy struct {
	Name   string
	Layout string
	Idea   string
	Safe   bool // false: it loses updates on purpose, for the lessons, and only of SKUs with the lab mark
	New    func(Deps) stock.Reserver

	SafeAlone bool // not Safe, but correct while it is the only instance
}

// Deps is what strategies are made of. A strategy takes what it needs and leaves the rest.
type Deps struct {
	DB       *gorm.DB
	Store    *store.Store
	Ledger   *store.Ledger // of Store
	Flushes  *store.Ledger // on the connections of group-commit's flushes; nil: Ledger
	Locker   Locker
	Redlock  *Nodes
	LockPool *sql.DB           // the connections of mysql-lock's locks, see OpenLockPool
	Redis    redisstock.Config // with the Client of the stock in Redis; nil: redis-lua answers unavailable
	Log      *slog.Logger
	Registry prometheus.Registerer // nil: nothing is registered

	ReserveHorizon time.Duration // no order with an older number is reserved; 0: of any age
}

// List returns the strategies in the order in which a learner should read them.
func List() []Strategy {
	return []Strategy{
		{Name: "naive", Layout: stock.LayoutRow, Idea: "read, subtract in Go, write back: loses updates", New: newNaive},
		{Name: mutexName, Layout: stock.LayoutRow, Idea: "the same under one lock of the process: right with one replica", SafeAlone: true, New: newMutex},
		{Name: "for-update", Layout: stock.LayoutRow, Idea: "SELECT … FOR UPDATE in SKU order, subtract, commit", Safe: true, New: newForUpdate},
		{Name: "conditional", Layout: stock.LayoutRow, Idea: "UPDATE … WHERE available >= ?, and check the affected rows", Safe: true, New: newConditional},
		{Name: "optimistic", Layout: stock.LayoutRow, Idea: "write only if the version is still the one that was read, else try again", Safe: true, New: newOptimistic},
		{Name: "redis-lock", Layout: stock.LayoutRow, Idea: "lock all SKUs in Redis, claim the fence, read, write, commit, only then unlock", Safe: true, New: newRedisLock},
		{Name: "redlock", Layout: stock.LayoutRow, Idea: "the same lock on a majority of Redis nodes; the conditional UPDATE decides", Safe: true, New: newRedlock},
		{Name: "mysql-lock", Layout: stock.LayoutRow, Idea: "GET_LOCK on a connection of its own; the conditional UPDATE decides", Safe: true, New: newMySQLLock},
		{Name: redisstock.Name, Layout: stock.LayoutRedis, Idea: "one Lua script decides in Redis and writes to a stream; MySQL follows", Safe: true, New: newRedisLua},
		{Name: groupcommit.Name, Layout: stock.LayoutRow, Idea: "callers queue; one transaction locks, decides and writes for all of them, then answers each", Safe: true, New: newGroupCommit},
		{Name: "buckets", Layout: stock.LayoutBuckets, Idea: "a hot SKU's counter is split over K rows; an order takes whole from one", Safe: true, New: newBuckets},
		{Name: "skip-locked", Layout: stock.LayoutUnits, Idea: "a row for each unit; an order skips those that others have locked", Safe: true, New: newSkipLocked},
	}
}

// Layouts returns the ways of storing stock.
func Layouts() []layout.Layout {
	return []layout.Layout{
		layout.Row{},
		layout.Buckets{},
		layout.Units{},
		redisstock.Layout{},
	}
}

// checkLayout returns *stock.OtherStrategyError for an order whose strategy works on another layout. Set looks for an
// order's strategy before it ends the order, which may be reserved just after that look.
func checkLayout(layout, by string) error {
	if found := layoutOf(by); found != "" && found != layout {
		return &stock.OtherStrategyError{Strategy: by}
	}
	return nil
}

// layoutOf returns the layout of a strategy, or "" when List does not have it.
func layoutOf(name string) string {
	for _, s := range List() {
		if s.Name == name {
			return s.Layout
		}
	}
	return ""
}

// newGroupCommit gives the flushes connections of their own where there are any.
func newGroupCommit(d Deps) stock.Reserver {
	return groupcommit.New(cmp.Or(d.Flushes, d.Ledger), d.Log, d.Registry)
}

// errNoRedis is a service without stock in Redis.
var errNoRedis = fault.New(fault.Unavailable, "no_redis_stock", "this service has no stock in Redis").NotExecuted()

func newRedisLua(d Deps) stock.Reserver {
	if d.Redis.Client == nil {
		return unavailable{errNoRedis}
	}
	cfg := d.Redis
	cfg.DB, cfg.Store, cfg.Locker, cfg.Log, cfg.Registry = d.DB, d.Store, d.Locker, d.Log, d.Registry
	return redisstock.New(cfg)
}

// unavailable is a strategy whose servers are not configured.
type unavailable struct{ fault error }

// Reserve implements stock.Reserver.
func (u unavailable) Reserve(context.Context, stock.Request) (stock.Receipt, error) {
	return stock.Receipt{}, u.fault
}

// Confirm implements stock.Reserver.
func (u unavailable) Confirm(context.Context, string) error { return u.fault }

// Release implements stock.Reserver.
func (u unavailable) Release(context.Context, string) error { return u.fault }

var (
	_ interface {
		BatchReserver
		HeaderReader
	} = (*groupcommit.Reserver)(nil)
	_ interface {
		Batcher
		Worker
		Prober
		Settler
		Mover
	} = (*redisstock.Reserver)(nil)
)

// With returns List and the extra strategies after it. A name has 1 to 32 of a-z, 0-9 and hyphen, as the reservation
// records it, and only one strategy has it; the layout is one of Layouts.
func With(extra []Strategy) ([]Strategy, error) {
	all := List()
	for _, s := range extra {
		switch {
		case s.New == nil || !validName(s.Name):
			return nil, fmt.Errorf("add the strategy %q: a strategy has a name of 1 to 32 of a-z, 0-9 and -, and a function New", s.Name)
		case slices.Contains(NamesOf(all), s.Name):
			return nil, fmt.Errorf("add the strategy %q: the name is taken", s.Name)
		case !slices.ContainsFunc(Layouts(), func(l layout.Layout) bool { return l.Name() == s.Layout }):
			return nil, fmt.Errorf("add the strategy %q: there is no layout %q", s.Name, s.Layout)
		}
		all = append(all, s)
	}
	return all, nil
}

func validName(name string) bool {
	return len(name) >= 1 && len(name) <= 32 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Names returns the names of List, the allowed values of STOCK_STRATEGY.
func Names() []string { return NamesOf(List()) }

// NamesOf returns the names of the strategies, in their order.
func NamesOf(all []Strategy) []string {
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names
}

// Package strategy holds the ways of keeping concurrent orders from harming one stock row, one file each, made to be laid
// side by side. They share the ledger (package store) and, on the row layout, confirm and release; what is left in a
// file is what makes its strategy different.
//
// List is the one place that knows all of them. Configuration, the conformance suite, the comparison and the strategies
// route go through it, so a new strategy is a file and a line.
package strategy

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// LayoutRow keeps a SKU's stock as counters on its one stock row.
const LayoutRow = "row"

// Default is the strategy of a service that is not told another.
const Default = "redis-lock"

// Strategy describes one way of guarding stock and makes it.
type Strategy struct {
	Name   string
	Layout string
	Idea   string
	Safe   bool // false: it loses updates on purpose, for the lessons
	New    func(Deps) stock.Reserver
}

// Deps is what strategies are made of. A strategy takes what it needs and leaves the rest.
type Deps struct {
	Ledger   *store.Ledger
	Locker   Locker
	Log      *slog.Logger
	Registry prometheus.Registerer // nil: nothing is registered
}

// List returns the strategies in the order in which a learner should read them.
func List() []Strategy {
	return []Strategy{
		{"for-update", LayoutRow, "SELECT … FOR UPDATE in SKU order, subtract, commit", true, newForUpdate},
		{"redis-lock", LayoutRow, "lock all SKUs in Redis, claim the fence, read, write, commit, only then unlock", true, newRedisLock},
		{groupCommit, LayoutRow, "callers queue; one transaction locks, decides and writes for all of them, then answers each", true, newGroupCommit},
	}
}

// Names returns the names of List, the allowed values of STOCK_STRATEGY.
func Names() []string {
	var names []string
	for _, s := range List() {
		names = append(names, s.Name)
	}
	return names
}

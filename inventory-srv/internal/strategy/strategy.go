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
	Safe   bool // false: it loses updates on purpose, for the lessons, and only of SKUs that are marked for the lab
	New    func(Deps) stock.Reserver

	SafeAlone bool // not Safe, but right for as long as it is the only instance
}

// Deps is what strategies are made of. A strategy takes what it needs and leaves the rest.
type Deps struct {
	Ledger   *store.Ledger
	Locker   Locker
	Redlock  Acquirer // nil: redlock answers unavailable
	Log      *slog.Logger
	Registry prometheus.Registerer // nil: nothing is registered
}

// List returns the strategies in the order in which a learner should read them.
func List() []Strategy {
	return []Strategy{
		{Name: "naive", Layout: LayoutRow, Idea: "read, subtract in Go, write back: loses updates", New: newNaive},
		{Name: "mutex", Layout: LayoutRow, Idea: "the same under one lock of the process: right with one replica", SafeAlone: true, New: newMutex},
		{Name: "for-update", Layout: LayoutRow, Idea: "SELECT … FOR UPDATE in SKU order, subtract, commit", Safe: true, New: newForUpdate},
		{Name: "conditional", Layout: LayoutRow, Idea: "UPDATE … WHERE available >= ?, and check the affected rows", Safe: true, New: newConditional},
		{Name: "optimistic", Layout: LayoutRow, Idea: "write only if the version is still the one that was read, else try again", Safe: true, New: newOptimistic},
		{Name: "redis-lock", Layout: LayoutRow, Idea: "lock all SKUs in Redis, claim the fence, read, write, commit, only then unlock", Safe: true, New: newRedisLock},
		{Name: "redlock", Layout: LayoutRow, Idea: "the same lock on a majority of Redis nodes; the conditional UPDATE decides", Safe: true, New: newRedlock},
		{Name: groupCommit, Layout: LayoutRow, Idea: "callers queue; one transaction locks, decides and writes for all of them, then answers each", Safe: true, New: newGroupCommit},
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

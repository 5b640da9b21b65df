// Package e10 checks exercise 10, a stock strategy of the learner's own. First a few buyers go through it statement by
// statement, on the tables of inventory-srv and with its ledger; then it has to pass the conformance suite of the
// shop's strategies.
package e10

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"

	"gorm.io/gorm"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/trial"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/pkg/database"
	"holdfast/sql"
)

//go:embed texts/*.json
var texts embed.FS

// Texts are the texts of the exercise.
func Texts() fs.FS { return texts }

// runs bounds each check. The known mistakes need one switch or one death; the schedules beyond are for the others.
const runs = 40

// The SKUs of the check.
const (
	stockCap = "CAP"
	stockMug = "MUG"
)

// plan is a check: what is on the shelves, which buyers come, and how many of them may die.
type plan struct {
	name   string
	stock  map[string]int64
	buyers []buyer
	deaths int
}

// buyer is a replica of inventory-srv that reserves one order.
type buyer struct {
	name    string
	after   []string // buyers that have been served before
	orderNo string
	lines   []inventorylab.Line
}

func line(sku string, quantity int64) inventorylab.Line {
	return inventorylab.Line{SKU: sku, Quantity: quantity}
}

// plans are the checks in the order in which a learner meets their mistakes.
func plans() []plan {
	one := []inventorylab.Line{line(stockMug, 1)}
	capAndMug := []inventorylab.Line{line(stockCap, 1), line(stockMug, 2)}
	mugAndCap := []inventorylab.Line{line(stockMug, 1), line(stockCap, 1)}
	return []plan{
		{name: "one", stock: map[string]int64{stockCap: 5, stockMug: 5}, buyers: []buyer{{name: "A", orderNo: "ORDER-1", lines: capAndMug}}},
		{name: "short", stock: map[string]int64{stockMug: 1}, buyers: []buyer{
			{name: "A", orderNo: "ORDER-1", lines: []inventorylab.Line{line(stockMug, 2)}},
		}},
		{name: "again", stock: map[string]int64{stockMug: 5}, buyers: []buyer{
			{name: "A", orderNo: "ORDER-1", lines: one},
			{name: "A again", orderNo: "ORDER-1", lines: one, after: []string{"A"}},
		}},
		{name: "last", stock: map[string]int64{stockMug: 1}, buyers: []buyer{
			{name: "A", orderNo: "ORDER-1", lines: one}, {name: "B", orderNo: "ORDER-2", lines: one},
		}},
		{name: "both", stock: map[string]int64{stockCap: 5, stockMug: 5}, buyers: []buyer{
			{name: "A", orderNo: "ORDER-1", lines: capAndMug}, {name: "B", orderNo: "ORDER-2", lines: mugAndCap},
		}},
		{name: "dies", stock: map[string]int64{stockMug: 5}, deaths: 1, buyers: []buyer{{name: "A", orderNo: "ORDER-1", lines: one}}},
	}
}

// Exercise is the check of a strategy. suite is the test of this program that runs the conformance suite on it.
func Exercise(s inventorylab.Strategy, suite string) trial.Exercise {
	e := Quick(s)
	e.Checks = append(e.Checks, SuiteOnly(suite).Checks...)
	return e
}

// SuiteOnly is Exercise without the few buyers.
func SuiteOnly(suite string) trial.Exercise {
	find := func(ctx context.Context, _ *trial.Servers) (*explore.Finding, error) { return runSuite(ctx, suite) }
	return trial.Exercise{Number: 10, Checks: []trial.Check{{Name: "check.suite", Find: find}}}
}

// Quick is Exercise without the conformance suite.
func Quick(s inventorylab.Strategy) trial.Exercise {
	e := trial.Exercise{Number: 10}
	for _, p := range plans() {
		e.Checks = append(e.Checks, trial.Check{Name: "check." + p.name, Find: func(ctx context.Context, servers *trial.Servers) (*explore.Finding, error) {
			return p.find(ctx, servers, s)
		}})
	}
	return e
}

func (p plan) find(ctx context.Context, servers *trial.Servers, s inventorylab.Strategy) (*explore.Finding, error) {
	db, err := servers.Database(ctx, "")
	if err != nil {
		return nil, err
	}
	if err := database.Migrate(ctx, db, sql.Inventory(), slog.New(slog.DiscardHandler)); err != nil {
		return nil, fmt.Errorf("create the tables of inventory-srv: %w", err)
	}
	var w *world
	return explore.Explore(ctx, explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			w = &world{plan: p, db: db, receipts: map[string]inventorylab.Receipt{}}
			return w.actors(s), w.reset(ctx)
		},
		Judge:  func(ctx context.Context, r *explore.Run) (*explore.Finding, error) { return w.judge(ctx, r) },
		Deaths: p.deaths,
	}, explore.Limits{Runs: runs})
}

// actors are the buyers, each at a replica with a strategy of its own.
func (w *world) actors(s inventorylab.Strategy) []explore.Actor {
	var all []explore.Actor
	for _, b := range w.buyers {
		all = append(all, explore.Actor{Name: b.name, After: b.after, Run: func(ctx context.Context, h *explore.Handle) error {
			r := s.New(inventorylab.NewDeps(h.DB(w.db)))
			receipt, err := r.Reserve(ctx, inventorylab.Request{OrderNo: b.orderNo, Lines: b.lines, Strategy: s.Name})
			w.receive(b.name, receipt)
			return err
		}})
	}
	return all
}

// reset fills the shelves.
func (w *world) reset(ctx context.Context) error {
	return w.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for _, table := range []string{"reservation_lines", "reservations", "stock_inbound", "stock", "products"} {
			if err := tx.Exec("DELETE FROM " + table).Error; err != nil {
				return fmt.Errorf("empty the shelves: %w", err)
			}
		}
		for sku, units := range w.stock {
			for _, insert := range []struct {
				query string
				args  []any
			}{
				{"INSERT INTO products (sku, title, price_cents, created_at) VALUES (?, ?, 250, UTC_TIMESTAMP(6))", []any{sku, sku}},
				{"INSERT INTO stock (sku, available, updated_at) VALUES (?, ?, UTC_TIMESTAMP(6))", []any{sku, units}},
			} {
				if err := tx.Exec(insert.query, insert.args...).Error; err != nil {
					return fmt.Errorf("fill the shelves: %w", err)
				}
			}
		}
		return nil
	})
}

package strategy

import (
	"context"

	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// branchStrategy reserves in a branch of a global transaction. The reservation records it, and it confirms and releases
// the reservation after the branch was committed.
const branchStrategy = "conditional"

// Branches reserve orders in branches of global transactions, by the strategy conditional. A lock outside of the
// database would have to be held from PREPARE to COMMIT, by a process that may die in between; a row lock stays with
// the branch.
type Branches struct {
	*store.Branches
	set *Set
}

// Branches returns the branches of the ledger that end on the pool ends: see [store.Ledger.Branches].
func (s *Set) Branches(ends *gorm.DB) Branches { return Branches{s.ledger.Branches(ends), s} }

// Prepare reserves an order in a branch and prepares the branch: see [store.Branches.Prepare]. stock.ErrWrongLayout for
// stock that is not in the row layout; stock.ErrUnknownStrategy for an order that names another strategy;
// stock.ErrClosed for one that is too old: its tombstone may have been deleted.
func (b Branches) Prepare(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	if b.set.pastHorizon(r.OrderNo) {
		return stock.Receipt{}, stock.ErrClosed
	}
	if r.Strategy != "" && r.Strategy != branchStrategy {
		return stock.Receipt{}, stock.ErrUnknownStrategy.With("allowed", []string{branchStrategy})
	}
	r.Strategy = branchStrategy
	return b.Branches.Prepare(ctx, r, deductConditionally)
}

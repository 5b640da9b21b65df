package strategy

import (
	"context"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
)

// branchStrategy reserves in a branch of a global transaction. The reservation records it, and it confirms and releases
// the reservation after the branch was committed.
const branchStrategy = "conditional"

// Branches reserve orders in branches of global transactions, by the strategy conditional. A lock outside of the
// database would have to be held from PREPARE to COMMIT, by a process that may die in between; a row lock stays with
// the branch.
type Branches struct{ *store.Branches }

// Prepare reserves an order in a branch and prepares the branch: see [store.Branches.Prepare]. stock.ErrWrongLayout for
// stock that is not in the row layout.
func (b Branches) Prepare(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	r.Strategy = branchStrategy
	return b.Branches.Prepare(ctx, r, deductConditionally)
}

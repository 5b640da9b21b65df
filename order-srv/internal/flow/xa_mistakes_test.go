package flow_test

import (
	"context"
	"time"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/database"
)

// xaMistakes are the guards that are left out, one each.
func xaMistakes() []xaMistake {
	return []xaMistake{
		{
			name: "decide-again", guard: "the decision is an UPDATE of a row that is still undecided", finds: foundLog,
			make: func(w *world, p xaParts) xaParts {
				p.placing = decidesAgain{p.placing, w}
				return p
			},
			story: recoveryIsFaster,
		},
		{
			name: "commit-before-the-decision", guard: "no branch is committed before the log says so", finds: foundUnits,
			make: func(_ *world, p xaParts) xaParts {
				p.placing = commitsEarly{p.placing, p.branches}
				return p
			},
			story: diesBeforeDecision,
		},
		{
			name: "commit-what-is-prepared", guard: "the recovery commits only what the log says, also when both branches are prepared", finds: foundLog,
			make: func(_ *world, p xaParts) xaParts {
				p.ending = believesPrepared{p.ending}
				return p
			},
			story: answerIsLost,
		},
		{
			name: "decide-on-one-side", guard: "the decision to commit comes after both sides are prepared", finds: foundUnits,
			make: func(_ *world, p xaParts) xaParts {
				p.placing = decidesOnOneSide{p.placing}
				return p
			},
			story: ordersRefuses,
		},
		{
			name: "orders-first", guard: "inventory is committed before orders", finds: foundEarly,
			make: func(_ *world, p xaParts) xaParts {
				p.branches = ordersFirst{p.branches, p.ending}
				return p
			},
			story: placesWatched, placed: true,
		},
		{
			name: "unknown-is-success", guard: "a branch that is unknown is not taken for committed", finds: foundLog,
			make: func(w *world, p xaParts) xaParts {
				p.ending = unknownIsSuccess{p.ending, database.NewBranches(w.DB)}
				return p
			},
			story: endedByHand, always: foundUnits,
		},
		{
			name: "abort-the-young", guard: "the recovery aborts only what is older than SWEEP_AFTER", finds: foundLive,
			make: func(_ *world, p xaParts) xaParts {
				p.ending = takesForOld{p.ending}
				return p
			},
			story: recoveryPassesBy, placed: true,
		},
		{
			name: "open-rows-only", guard: "the recovery lists the branches, and not only what its log has open", finds: foundPrepared,
			make: func(_ *world, p xaParts) xaParts {
				p.ending, p.branches = listsNothing{p.ending}, inventoryListsNothing{p.branches}
				return p
			},
			story: prepareIsLate,
		},
	}
}

// inventorySide names the embedded interface, one of whose methods is called Branches.
type inventorySide = flow.Branches

// decidesAgain decides whatever was decided before.
type decidesAgain struct {
	flow.XADatabase
	w *world
}

func (d decidesAgain) DecideXA(ctx context.Context, orderNo string, decision store.XAState, _ time.Duration) (bool, error) {
	_, err := database.Exec(ctx, d.w.DB, "UPDATE xa_log SET state = ?, decision = ?, open_since = UTC_TIMESTAMP(6) WHERE gtrid = ?", decision, decision, orderNo)
	return err == nil, err
}

// commitsEarly commits inventory as soon as both sides are prepared: what can go wrong now?
type commitsEarly struct {
	flow.XADatabase
	branches flow.Branches
}

func (c commitsEarly) PrepareXA(ctx context.Context, d store.Decision) (order.Order, error) {
	o, err := c.XADatabase.PrepareXA(ctx, d)
	if err == nil {
		err = c.branches.CommitBranch(ctx, d.OrderNo)
	}
	return o, err
}

// believesPrepared takes what nobody has decided for decided: both sides are prepared, so it can only be commit.
type believesPrepared struct{ flow.XADatabase }

func (b believesPrepared) OpenXA(ctx context.Context, limit int) ([]store.XA, error) {
	rows, err := b.XADatabase.OpenXA(ctx, limit)
	return believed(rows), err
}

func (b believesPrepared) XAOf(ctx context.Context, orderNos []string) ([]store.XA, error) {
	rows, err := b.XADatabase.XAOf(ctx, orderNos)
	return believed(rows), err
}

func believed(rows []store.XA) []store.XA {
	for i := range rows {
		if rows[i].State == store.XAPreparing {
			rows[i].State, rows[i].Decision, rows[i].Since = store.XACommit, store.XACommit, time.Hour
		}
	}
	return rows
}

// decidesOnOneSide decides when inventory is prepared: orders is the coordinator's own database, what can it refuse?
type decidesOnOneSide struct{ flow.XADatabase }

func (d decidesOnOneSide) PrepareXA(ctx context.Context, decision store.Decision) (order.Order, error) {
	if _, err := d.DecideXA(ctx, decision.OrderNo, store.XACommit, 0); err != nil {
		return order.Order{}, err
	}
	return d.XADatabase.PrepareXA(ctx, decision)
}

// ordersFirst commits orders before inventory.
type ordersFirst struct {
	inventorySide
	orders flow.XADatabase
}

func (o ordersFirst) CommitBranch(ctx context.Context, orderNo string) error {
	if err := o.orders.CommitXA(ctx, orderNo); err != nil {
		return err
	}
	return o.inventorySide.CommitBranch(ctx, orderNo)
}

// unknownIsSuccess takes "unknown branch" for the answer to a repeated COMMIT.
type unknownIsSuccess struct {
	flow.XADatabase
	branches *database.Branches
}

func (u unknownIsSuccess) CommitXA(ctx context.Context, orderNo string) error {
	_, err := u.branches.Commit(ctx, orderNo)
	return err
}

// takesForOld does not look at the age of an order.
type takesForOld struct{ flow.XADatabase }

func (o takesForOld) OpenXA(ctx context.Context, limit int) ([]store.XA, error) {
	rows, err := o.XADatabase.OpenXA(ctx, limit)
	return aged(rows), err
}

func (o takesForOld) XAOf(ctx context.Context, orderNos []string) ([]store.XA, error) {
	rows, err := o.XADatabase.XAOf(ctx, orderNos)
	return aged(rows), err
}

func aged(rows []store.XA) []store.XA {
	for i := range rows {
		rows[i].Age = 24 * time.Hour
	}
	return rows
}

func (o takesForOld) DecideXA(ctx context.Context, orderNo string, decision store.XAState, _ time.Duration) (bool, error) {
	return o.XADatabase.DecideXA(ctx, orderNo, decision, 0)
}

// listsNothing and inventoryListsNothing leave the recovery with what its log has open.
type listsNothing struct{ flow.XADatabase }

func (listsNothing) PreparedXA(context.Context) ([]string, error) { return nil, nil }

type inventoryListsNothing struct{ inventorySide }

func (inventoryListsNothing) Branches(context.Context) ([]inventoryapi.Branch, error) {
	return nil, nil
}

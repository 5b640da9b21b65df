package audit

import (
	"context"
	"errors"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/check"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/database"
)

// branchTime bounds the listing of one side's branches: an inventory that is away must not keep the rest from being
// checked.
const branchTime = 5 * time.Second

// xa checks the branches that are prepared, and the log of the flow xa. Rows up to the cut-off that are done were
// checked when everything was proven, and are left out. A shop that has never used the flow is not asked.
func (r *run) xa(ctx context.Context, cutoff string) error {
	used, err := r.Store.XAUsed(ctx)
	if err != nil || !used {
		return err
	}
	branches, err := r.branches(ctx)
	if err != nil {
		return err
	}
	r.checker.Branches(branches, r.LateBranch)
	if cutoff != "" {
		if err := r.decisions(ctx, "", cutoff, true); err != nil {
			return err
		}
	}
	return r.decisions(ctx, cutoff, "", false)
}

// branches lists what both sides have prepared, and then the log's rows of these orders. A side that cannot be listed
// is a finding.
func (r *run) branches(ctx context.Context) (found []check.Branch, err error) {
	listing, cancel := context.WithTimeout(ctx, branchTime)
	defer cancel()
	own, err := r.Store.PreparedXA(listing)
	if err != nil && !errors.Is(err, database.ErrNoBranches) {
		return nil, err
	}
	if err != nil {
		r.checker.BranchesAway("orders", err)
	}
	for _, no := range own {
		found = append(found, check.Branch{OrderNo: no, Side: "orders", Locks: []string{"order " + no}})
	}
	theirs, err := r.Inventory.Branches(listing)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.checker.BranchesAway("inventory", err)
	}
	for _, b := range theirs {
		found = append(found, inventoryBranch(b))
	}
	orderNos := make([]string, len(found))
	for i, b := range found {
		orderNos[i] = b.OrderNo
	}
	rows, err := r.Store.XAOf(ctx, orderNos)
	if err != nil {
		return nil, err
	}
	for i := range found {
		r.inLog(&found[i], rows)
	}
	return found, nil
}

func inventoryBranch(b inventoryapi.Branch) check.Branch {
	out := check.Branch{OrderNo: b.OrderNo, Side: "inventory", Age: time.Duration(b.AgeMS) * time.Millisecond}
	for _, sku := range b.SKUs {
		out.Locks = append(out.Locks, "stock "+sku)
	}
	return out
}

// inLog completes a branch by its order's row. The log has the age of the order, which a branch of orders has not; that
// of an order which is not in the log is in its number.
func (r *run) inLog(b *check.Branch, rows []store.XA) {
	for _, row := range rows {
		if row.OrderNo == b.OrderNo {
			b.State = string(row.State)
			if b.Side == "orders" {
				b.Age = row.Age
			}
			return
		}
	}
	if id, err := ulid.ParseStrict(b.OrderNo); err == nil && b.Age == 0 {
		b.Age = max(0, r.started.Sub(id.Timestamp()))
	}
}

// decisions checks rows of the log after an order number up to another ("": to the end), with open only those that are
// not done.
func (r *run) decisions(ctx context.Context, after, to string, open bool) error {
	for {
		rows, err := r.Store.AuditXA(ctx, after, to, open, page)
		if err != nil || len(rows) == 0 {
			return err
		}
		found := make([]check.Decision, len(rows))
		for i, d := range rows {
			found[i] = check.Decision{OrderNo: d.OrderNo, State: string(d.State), Decision: string(d.Decision), Status: string(d.Status)}
		}
		r.checker.Decisions(found)
		if after = rows[len(rows)-1].OrderNo; len(rows) < page {
			return nil
		}
	}
}

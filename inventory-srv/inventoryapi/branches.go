package inventoryapi

import (
	"context"
	"net/http"
	"net/url"
)

// PrepareRequest is POST /v1/branches: reserve an order in a branch of the global transaction that has its number, and
// prepare the branch. The answer is a [Receipt].
type PrepareRequest struct {
	OrderNo  string `json:"order_no"`
	Lines    []Line `json:"lines"`
	Strategy string `json:"strategy,omitempty"` // empty or "conditional": no other reserves in a branch
}

// BranchList is GET /v1/branches: what inventory has prepared and not ended.
type BranchList struct {
	Branches []Branch `json:"branches"`
}

// Branch is a prepared branch. Its rows stay locked until it is committed or rolled back.
type Branch struct {
	OrderNo string   `json:"order_no"` // the global transaction
	AgeMS   int64    `json:"age_ms"`   // since it was begun, by the clock of inventory's database; milliseconds
	SKUs    []string `json:"skus"`     // whose stock rows it locks
}

// PrepareBranch reserves an order in a branch and prepares the branch. A repeat returns the receipt again. The refusals
// are those of a reserve, and ErrWrongLayout; ErrContended may be repeated. Without a clear answer the fault is
// ambiguous: the branch may be prepared, or may be later.
func (c *Client) PrepareBranch(ctx context.Context, r PrepareRequest) (*Receipt, error) {
	var out Receipt
	if err := c.rest.Do(ctx, http.MethodPost, "/v1/branches", r, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// CommitBranch commits an order's branch. A repeat succeeds. ErrUnknownOrder when nothing was prepared, or when it was
// rolled back.
func (c *Client) CommitBranch(ctx context.Context, orderNo string) error {
	return c.rest.Do(ctx, http.MethodPost, "/v1/branches/"+url.PathEscape(orderNo)+"/commit", nil, nil)
}

// RollbackBranch rolls back an order's branch; without one it succeeds. ErrMismatch when the branch was committed.
func (c *Client) RollbackBranch(ctx context.Context, orderNo string) error {
	return c.rest.Do(ctx, http.MethodPost, "/v1/branches/"+url.PathEscape(orderNo)+"/rollback", nil, nil)
}

// Branches returns what inventory has prepared.
func (c *Client) Branches(ctx context.Context) ([]Branch, error) {
	var out BranchList
	err := c.rest.Do(ctx, http.MethodGet, "/v1/branches", nil, &out)
	return out.Branches, err
}

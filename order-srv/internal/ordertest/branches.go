package ordertest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"

	"holdfast/inventory-srv/inventoryapi"
)

// branches are what the inventory has prepared. A prepared order has no state: nothing of it shows.
type branches struct {
	mu       sync.Mutex
	prepared map[string]bool
	calls    []string // "prepare NO", "commit NO", "rollback NO", in their order
	lists    int
	fail     func(call string) bool
	after    func(call string) // once the call is executed, before its answer
}

// FailBranch has the calls about branches break without being executed for which fail returns true. nil: none.
func (i *Inventory) FailBranch(fail func(call string) bool) {
	i.branches.mu.Lock()
	defer i.branches.mu.Unlock()
	i.branches.fail = fail
}

// AfterBranch has do called after each call about a branch, before it is answered.
func (i *Inventory) AfterBranch(do func(call string)) {
	i.branches.mu.Lock()
	defer i.branches.mu.Unlock()
	i.branches.after = do
}

// BranchCalls returns the calls about branches that were executed.
func (i *Inventory) BranchCalls() []string {
	i.branches.mu.Lock()
	defer i.branches.mu.Unlock()
	return slices.Clone(i.branches.calls)
}

// BranchLists returns how often the branches were listed.
func (i *Inventory) BranchLists() int {
	i.branches.mu.Lock()
	defer i.branches.mu.Unlock()
	return i.branches.lists
}

// Prepared returns the orders that have a prepared branch.
func (i *Inventory) Prepared() []string {
	i.branches.mu.Lock()
	defer i.branches.mu.Unlock()
	return slices.Sorted(maps.Keys(i.branches.prepared))
}

func (i *Inventory) handleBranches(mux *http.ServeMux) {
	i.branches.prepared = map[string]bool{}
	mux.HandleFunc("POST /v1/branches", i.servePrepare)
	mux.HandleFunc("POST /v1/branches/{order_no}/{what}", i.serveEndBranch)
	mux.HandleFunc("GET /v1/branches", func(w http.ResponseWriter, _ *http.Request) {
		i.branches.mu.Lock()
		i.branches.lists++
		i.branches.mu.Unlock()
		list := inventoryapi.BranchList{Branches: []inventoryapi.Branch{}}
		for _, no := range i.Prepared() {
			list.Branches = append(list.Branches, inventoryapi.Branch{OrderNo: no})
		}
		write(w, list)
	})
}

// enter breaks the connection when the call is to fail, and notes it otherwise.
func (i *Inventory) enter(call string) {
	i.branches.mu.Lock()
	defer i.branches.mu.Unlock()
	if i.branches.fail != nil && i.branches.fail(call) {
		panic(http.ErrAbortHandler)
	}
	i.branches.calls = append(i.branches.calls, call)
}

func (i *Inventory) left(call string) {
	i.branches.mu.Lock()
	after := i.branches.after
	i.branches.mu.Unlock()
	if after != nil {
		after(call)
	}
}

func (i *Inventory) servePrepare(w http.ResponseWriter, r *http.Request) {
	var in inventoryapi.PrepareRequest
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		panic(http.ErrAbortHandler)
	}
	call := "prepare " + in.OrderNo
	i.enter(call)
	o := inventoryapi.ReserveOrder{OrderNo: in.OrderNo, Lines: in.Lines}
	result, ok := i.answer(o)(i, o)
	if result.Problem == nil {
		i.mu.Lock()
		delete(i.states, in.OrderNo) // it is prepared, and not reserved yet
		i.mu.Unlock()
		i.branches.mu.Lock()
		i.branches.prepared[in.OrderNo] = true
		i.branches.mu.Unlock()
	}
	i.left(call)
	switch {
	case !ok:
		panic(http.ErrAbortHandler)
	case result.Problem != nil:
		problem(w, http.StatusConflict, result.Problem.Fault())
	default:
		write(w, result.Receipt)
	}
}

func (i *Inventory) serveEndBranch(w http.ResponseWriter, r *http.Request) {
	no, what := r.PathValue("order_no"), r.PathValue("what")
	i.enter(what + " " + no)
	i.branches.mu.Lock()
	prepared := i.branches.prepared[no]
	delete(i.branches.prepared, no)
	i.branches.mu.Unlock()
	i.mu.Lock()
	held := i.states[no] != "" && i.states[no] != inventoryapi.StateVoid
	if what == "commit" && prepared {
		i.states[no] = inventoryapi.StateReserved
	}
	i.mu.Unlock()
	i.left(what + " " + no)
	switch {
	case what == "commit" && !prepared && !held:
		problem(w, http.StatusNotFound, inventoryapi.ErrUnknownOrder)
	case what == "rollback" && held:
		problem(w, http.StatusConflict, inventoryapi.ErrMismatch)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

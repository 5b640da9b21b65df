package flow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/check"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/pkg/database"
)

// xaParts is what the coordinator works with. A mistake replaces one of them.
type xaParts struct {
	placing, ending flow.XADatabase // the request's and the recovery's
	branches        flow.Branches   // of inventory
}

// xaMistake is a guard of two-phase commit that is left out, and the story in which it is missed.
type xaMistake struct {
	name  string
	guard string
	make  func(w *world, right xaParts) xaParts
	story func(w *world, p xaParts) (orderNo string)
	finds string // what is found afterwards; without the mistake it is not

	placed bool   // the story places its order
	always string // what is found with the guard, too, because nothing repairs what the story has done
}

// What can be found.
const (
	foundLog      = "against the log"
	foundUnsold   = "sold without its units"
	foundUnits    = "units kept by an order that is not PLACED"
	foundPrepared = "prepared for ever"
	foundEarly    = "PLACED before inventory has committed"
	foundLive     = "a living request was aborted"
)

// TestXA_Mutants takes the guards of two-phase commit away, one by one: what each is against happens then, and is found
// afterwards for its own reason. With all guards in place the same story leaves nothing to be found.
func TestXA_Mutants(t *testing.T) {
	t.Parallel()
	for _, m := range xaMistakes() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			t.Run("right", func(t *testing.T) {
				t.Parallel()
				found := m.tell(t, func(_ *world, right xaParts) xaParts { return right })
				if slices.ContainsFunc(found, func(f string) bool { return m.always == "" || !strings.HasPrefix(f, m.always) }) {
					t.Errorf("with its guard (%s): %v", m.guard, found)
				}
			})
			t.Run("mutant", func(t *testing.T) {
				t.Parallel()
				found := m.tell(t, m.make)
				if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, m.finds) }) {
					t.Errorf("without its guard (%s): %v; want %q", m.guard, found, m.finds)
				}
				t.Logf("without its guard (%s): %v", m.guard, found)
			})
		})
	}
}

// tell has the story happen to a coordinator that edit may have given a mistake, and returns what is found.
func (m xaMistake) tell(t *testing.T, edit func(*world, xaParts) xaParts) []string {
	t.Helper()
	w := newXAWorld(t)
	var early []string
	w.Inventory.FailBranch(func(call string) bool { // before each call about a branch
		no, commit := strings.CutPrefix(call, "commit ")
		if !commit || w.Inventory.State(no) != "" {
			return false
		}
		if o, err := w.Orders.Get(context.WithoutCancel(t.Context()), "ann", no); err == nil && o.Status == order.Placed {
			early = append(early, foundEarly)
		}
		return false
	})
	p := edit(w, xaParts{w.Orders, w.Orders, w.Inventory.Client})
	no := m.story(w, p)
	found := append(early, xaFindings(w, p, no)...)
	if status := w.Get(no).Status; m.placed && status != order.Placed {
		found = append(found, fmt.Sprint(foundLive, ": ", status))
	}
	return found
}

// coordinator is a replica with these parts, whose recovery aborts what is older than sweepAfter.
func (p xaParts) coordinator(w *world, sweepAfter time.Duration) *flow.XA {
	f := flow.NewXA(flow.Deps{
		Resolver: &flow.Resolver{Log: slog.New(slog.DiscardHandler), Store: w.Orders}, Upkeep: w.Orders,
		Branches: p.branches, UpkeepBranches: p.branches, SweepAfter: sweepAfter, Registry: prometheus.NewRegistry(),
	})
	f.WithDatabases(p.placing, p.ending)
	return f
}

// place has a request place a new order. prepared is called when orders has prepared its branch, or has failed to, and
// returns the answer that the request gets.
func (p xaParts) place(w *world, prepared func(no string, err error) error) (orderNo string) {
	w.t.Helper()
	p.placing = answers{p.placing, prepared}
	no := inserted(w, "k")
	f := p.coordinator(w, time.Hour)
	f.Place(w.t.Context(), []*flow.Member{flow.NewMember(w.Get(no), flow.Caller{Deadline: time.Now().Add(10 * time.Second)}, nil)})
	return no
}

// recover has a recovery pass by, for which rows of the log are as old as SWEEP_AFTER if old.
func (p xaParts) recover(w *world, old bool) {
	w.t.Helper()
	sweepAfter := time.Hour
	if old {
		sweepAfter = 0
	}
	// What was decided is left to its request for some seconds, which are over now.
	if err := w.DB.Exec("UPDATE xa_log SET open_since = TIMESTAMPADD(MINUTE, -1, open_since) WHERE open_since IS NOT NULL").Error; err != nil {
		w.t.Fatal(err)
	}
	_ = p.coordinator(w, sweepAfter).Pass(w.t.Context()) // a mistake may make it fail, and the findings show that
}

// xaFindings compares both sides with the log, after the recovery has had its time.
func xaFindings(w *world, p xaParts, no string) (found []string) {
	w.t.Helper()
	for range 2 { // the second ends what the first has decided
		p.recover(w, true)
	}
	rows, err := w.Orders.AuditXA(w.t.Context(), "", "", false, 10)
	if err != nil || len(rows) != 1 {
		w.t.Fatalf("the log has %v, error %v; want one row", rows, err)
	}
	c := check.New(time.Now(), check.NewTotals())
	for _, d := range rows {
		c.Decisions([]check.Decision{{OrderNo: d.OrderNo, State: string(d.State), Decision: string(d.Decision), Status: string(d.Status)}})
	}
	for _, v := range c.Finish(check.Last{}).Violations {
		found = append(found, fmt.Sprint(foundLog, ": ", v))
	}
	status, units := w.Get(no).Status, w.Inventory.State(no)
	if status == order.Placed && units != inventoryapi.StateReserved {
		found = append(found, foundUnsold)
	}
	if status != order.Placed && units == inventoryapi.StateReserved {
		found = append(found, fmt.Sprint(foundUnits, ": ", status))
	}
	own, err := w.Orders.PreparedXA(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if left := append(own, w.Inventory.Prepared()...); len(left) > 0 {
		found = append(found, fmt.Sprint(foundPrepared, ": ", left))
	}
	return found
}

// answers is a database of orders whose answer to PREPARE a story chooses.
type answers struct {
	flow.XADatabase
	prepared func(no string, err error) error
}

func (a answers) PrepareXA(ctx context.Context, d store.Decision) (order.Order, error) {
	o, err := a.XADatabase.PrepareXA(ctx, d)
	return o, a.prepared(d.OrderNo, err)
}

// recoveryIsFaster: a request is slow, and the recovery aborts its order before it decides.
func recoveryIsFaster(w *world, p xaParts) string {
	right := xaParts{w.Orders, w.Orders, w.Inventory.Client}
	return p.place(w, func(_ string, err error) error {
		right.recover(w, true)
		return err
	})
}

// diesBeforeDecision: the coordinator dies when both sides are prepared.
func diesBeforeDecision(w *world, p xaParts) string {
	p.placing = diesDeciding{p.placing}
	return p.place(w, func(_ string, err error) error { return err })
}

type diesDeciding struct{ flow.XADatabase }

func (diesDeciding) DecideXA(context.Context, string, store.XAState, time.Duration) (bool, error) {
	return false, errors.New("the process is dead")
}

// answerIsLost: orders has prepared its branch, the answer is lost, and a recovery passes by before the request aborts.
func answerIsLost(w *world, p xaParts) string {
	return p.place(w, func(_ string, err error) error {
		if err != nil {
			return err
		}
		p.recover(w, false)
		return database.ErrCommitUnknown
	})
}

// ordersRefuses: inventory is prepared, and the order has been abandoned by another replica before orders is.
func ordersRefuses(w *world, p xaParts) string {
	p.placing = abandons{p.placing, w}
	return p.place(w, func(_ string, err error) error { return err })
}

type abandons struct {
	flow.XADatabase
	w *world
}

func (a abandons) PrepareXA(ctx context.Context, d store.Decision) (order.Order, error) {
	a.w.Abandon(d.OrderNo)
	return a.XADatabase.PrepareXA(ctx, d)
}

// placesWatched: nothing fails.
func placesWatched(w *world, p xaParts) string {
	return p.place(w, func(_ string, err error) error { return err })
}

// endedByHand: it was decided to commit, and an operator has rolled back the branch of orders. That the recovery cannot
// repair. It must not say that the order is done.
func endedByHand(w *world, _ xaParts) string {
	no := decided(w, "k", store.XACommit)
	if err := w.Orders.RollbackXA(w.t.Context(), no); err != nil {
		w.t.Fatal(err)
	}
	return no
}

// recoveryPassesBy: the recovery finds the order of a request that is being executed.
func recoveryPassesBy(w *world, p xaParts) string {
	no := p.place(w, func(_ string, err error) error {
		p.recover(w, false)
		return err
	})
	return no
}

// prepareIsLate: the request is aborted, and a delayed call prepares inventory's branch afterwards.
func prepareIsLate(w *world, p xaParts) string {
	no := p.place(w, func(string, error) error { return errors.New("refused") })
	_, err := w.Inventory.PrepareBranch(w.t.Context(), inventoryapi.PrepareRequest{OrderNo: no, Lines: []inventoryapi.Line{{SKU: "A", Quantity: 1}}})
	if err != nil {
		w.t.Fatal(err)
	}
	return no
}

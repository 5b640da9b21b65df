package intake_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/dbtest"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/admit"
	"holdfast/sql"
)

// waiting is a flow that leaves its orders PENDING and records what it is called with.
type waiting struct {
	flow.Base
	flow.Deps

	mu              sync.Mutex
	full            bool
	placed, decided []string
	settled         []string // what became of the orders that were let in
}

var _ flow.Flow = (*waiting)(nil)

// Admit implements flow.Flow.
func (f *waiting) Admit() (settle func(inserted bool), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return nil, admit.ErrOverloaded
	}
	f.settled = append(f.settled, "let in")
	return func(inserted bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.settled = append(f.settled, fmt.Sprintf("inserted %v", inserted))
	}, nil
}

// Place implements flow.Flow.
func (f *waiting) Place(_ context.Context, group []*flow.Member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range group {
		f.placed = append(f.placed, m.OrderNo)
	}
}

// Decided implements flow.Flow.
func (f *waiting) Decided(_ *store.Tx, orderNos []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decided = append(f.decided, orderNos...)
	return nil
}

// StalePending implements flow.Flow.
func (*waiting) StalePending() time.Duration { return time.Hour }

// Recover implements flow.Flow.
func (*waiting) Recover(context.Context, []string) (int, error) { return 0, nil }

func (f *waiting) setFull(full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full = full
}

// newFlowWorld is a world whose orders may name the flow "waiting".
func newFlowWorld(t *testing.T) (*world, *waiting) {
	t.Helper()
	f := &waiting{}
	w := ordertest.NewWorldOn(t, dbtest.NewDSN(t, sql.Orders()), nil, ordertest.Timeout(ordertest.RequestTimeout), func(cfg *app.Config) {
		cfg.Flows = append(flow.List(), flow.Kind{Name: "waiting", New: func(d flow.Deps) flow.Flow { f.Deps = d; return f }})
	})
	return &world{w, t}, f
}

// in is a request that names its flow.
func in(flowName, key string) orderapi.PlaceRequest {
	r := ordertest.Request(key)
	r.Flow = flowName
	return r
}

// TestIntake_Place_flow has orders name their flows. The flow is a part of the request.
func TestIntake_Place_flow(t *testing.T) {
	t.Parallel()
	w, f := newFlowWorld(t)
	place := func(r orderapi.PlaceRequest, status int, code string) orderapi.Reply {
		t.Helper()
		reply, err := w.Intake.Place(t.Context(), "ann", r)
		if reply.Status != status || ordertest.Code(err) != code {
			t.Errorf("reply %d %s, error %v; want %d %s", reply.Status, reply.Body, err, status, code)
		}
		return reply
	}
	place(in("magic", "unknown"), 0, "unknown_flow")
	current := place(in("", "current"), http.StatusCreated, "")
	named := place(in("tx-message", "named"), http.StatusCreated, "")
	other := place(in("waiting", "other"), http.StatusAccepted, "")
	for no, want := range map[string]string{current.OrderNo: "tx-message", named.OrderNo: "tx-message", other.OrderNo: "waiting"} {
		if got := w.Get(no).Flow; got != want {
			t.Errorf("order %s has the flow %s, want %s", no, got, want)
		}
	}
	if again := place(in("waiting", "other"), http.StatusAccepted, ""); again.OrderNo != other.OrderNo {
		t.Errorf("the repeat is about %s, want %s", again.OrderNo, other.OrderNo)
	}
	place(in("", "other"), 0, "idempotency_mismatch")
	place(in("tx-message", "current"), 0, "idempotency_mismatch")
	if diff := cmp.Diff([]string{other.OrderNo}, f.placed); diff != "" {
		t.Errorf("placed by the other flow (-want +got):\n%s", diff)
	}
}

// TestIntake_Place_notAdmitted: a flow that is full has nothing written, a repeat gets its answer all the same, and
// other flows go on.
func TestIntake_Place_notAdmitted(t *testing.T) {
	t.Parallel()
	w, f := newFlowWorld(t)
	first, err := w.Intake.Place(t.Context(), "ann", in("waiting", "first"))
	if err != nil {
		t.Fatal(err)
	}
	f.setFull(true)
	if reply, err := w.Intake.Place(t.Context(), "ann", in("waiting", "refused")); !errors.Is(err, admit.ErrOverloaded) {
		t.Errorf("reply %d %s, error %v; want overloaded", reply.Status, reply.Body, err)
	}
	if again, err := w.Intake.Place(t.Context(), "ann", in("waiting", "first")); err != nil || again.OrderNo != first.OrderNo {
		t.Errorf("a repeat while the flow is full: reply %d %s, error %v", again.Status, again.Body, err)
	}
	w.MustPlace("other flow", http.StatusCreated)
	f.setFull(false)
	if reply, err := w.Intake.Place(t.Context(), "ann", in("waiting", "refused")); err != nil || reply.Status != http.StatusAccepted {
		t.Errorf("the refused order, repeated with its key: reply %d %s, error %v", reply.Status, reply.Body, err)
	}
	if again, err := w.Intake.Place(t.Context(), "ann", in("waiting", "first")); err != nil || again.OrderNo != first.OrderNo {
		t.Errorf("a repeat: reply %d %s, error %v", again.Status, again.Body, err)
	}
	// Of each order that was let in the flow learns whether it was inserted.
	want := []string{"let in", "inserted true", "let in", "inserted true", "let in", "inserted false"}
	if diff := cmp.Diff(want, f.settled); diff != "" {
		t.Errorf("settled (-want +got):\n%s", diff)
	}
	if all, err := w.Orders.After(t.Context(), "", 10); err != nil || len(all) != 3 {
		t.Errorf("%d orders, error %v; want 3", len(all), err)
	}
}

// TestFlow_Decided: a flow is called in each transaction that ends its PENDING orders, for its own orders alone, and
// also in those that the flows themselves begin.
func TestFlow_Decided(t *testing.T) {
	t.Parallel()
	w, f := newFlowWorld(t)
	placed := func(key string) string {
		t.Helper()
		reply, err := w.Intake.Place(t.Context(), "ann", in("waiting", key))
		if err != nil {
			t.Fatal(err)
		}
		return reply.OrderNo
	}
	rejected, won, abandoned := placed("rejected"), placed("placed"), placed("abandoned")
	w.MustPlace("other flow", http.StatusCreated)
	if _, err := ordertest.Reject(t.Context(), f.Store, rejected, store.Rejection{Refusal: order.ErrBrokerUnavailable}); err != nil {
		t.Fatal(err)
	}
	placement := store.Placement{Strategy: "fake", Items: w.Get(won).Items}
	for range 2 { // the second time it is not PENDING any more
		if _, err := ordertest.Place(t.Context(), f.Store, won, placement); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := f.Upkeep.Abandon(t.Context(), []string{abandoned}, 0, true, store.Sweeper); n != 1 || err != nil {
		t.Fatalf("abandoned %d, error %v", n, err)
	}
	if diff := cmp.Diff([]string{rejected, won, abandoned}, f.decided); diff != "" {
		t.Errorf("decided (-want +got):\n%s", diff)
	}
}

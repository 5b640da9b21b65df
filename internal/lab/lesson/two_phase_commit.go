package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"
	"time"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
)

func twoPhaseCommit() Lesson {
	return Lesson{Name: "two-phase-commit", Scenes: twoPhaseCommitScenes, Roles: serviceRoles()}
}

// The moments at which the coordinator dies, as the calls to inventory-srv that it does not get through.
const (
	prepareCall = "POST /v1/branches HTTP" // its answer is lost: inventory's branch is prepared, and nothing is decided
	commitCall  = "POST /v1/branches/"     // it is lost: both branches are prepared, and the log says commit
)

// xaFlow has order-srv place by two-phase commit.
const xaFlow = "ORDER_FLOW=xa"

// xaSweep is the age from which a recovery aborts what is not decided.
const xaSweep = "SWEEP_AFTER=3s"

// blocking is what a dead coordinator came to.
type blocking struct {
	branches int           // that were prepared while it was dead
	log      string        // the state in its log
	answer   string        // to another buyer meanwhile
	waited   time.Duration // until that answer
	status   string        // in which the order ended
	after    time.Duration // the death
	again    string        // the answer to the other buyer after that
	left     counts
}

func twoPhaseCommitScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	s, err := e.services(ctx)
	if err != nil {
		return nil, err
	}
	e.Clean(s.endBranches) // DROP DATABASE would wait for them
	found := map[string]*blocking{"undecided": {}, "decided": {}}
	scene := func(name string, hold direction, call, status string) step.Scene {
		return e.scene(step.T("two-phase-commit."+name), func(ctx context.Context) (*step.Stage, error) {
			b := &blocking{}
			found[name] = b
			one, err := s.sale(ctx, xaFlow)
			if err != nil {
				return nil, err
			}
			return one.blocks(b, hold, call, status), nil
		})
	}
	return []step.Scene{
		scene("undecided", answers, prepareCall, orderapi.StatusAbandoned),
		scene("decided", calls, commitCall, orderapi.StatusPlaced),
		e.scene(step.T("two-phase-commit.results"), func(context.Context) (*step.Stage, error) {
			return &step.Stage{End: func(_ context.Context, end *step.Ending) error {
				checkTwoPhaseCommit(found, end)
				return nil
			}}, nil
		}),
	}, nil
}

// blocks is a sale whose coordinator dies at a call. Another buyer meets its lock, and again after the recovery.
func (s *sale) blocks(b *blocking, hold direction, call, status string) *step.Stage {
	died := time.Time{}
	dies := s.dies()
	kill := dies.Do
	dies.Do = func(ctx context.Context) (step.Result, error) {
		died = time.Now()
		return kill(ctx)
	}
	recovers := step.Step{Label: step.T("two-phase-commit.recovers"), Do: func(ctx context.Context) (step.Result, error) {
		err := s.e.Until(ctx, "the order is "+status, func(ctx context.Context) (bool, error) {
			o, err := s.find(ctx, s.user)
			if err != nil || o.status != status {
				return false, err
			}
			n, _, err := s.inDoubt(ctx, o.number)
			return n == 0, err
		})
		b.status, b.after = status, time.Since(died)
		return step.Result{Text: step.T("two-phase-commit.recovers.got", status, rounded(b.after))}, err
	}}
	again := s.other("two-phase-commit.again", "", func(answer string, _ time.Duration) { b.again = answer })
	return &step.Stage{
		Actors: []*step.Actor{
			s.buysAt(hold, call),
			{Name: "order-srv", Steps: []step.Step{dies, s.restarts("services.restarts", "order-srv", xaFlow, xaSweep), recovers}},
			{Name: "", Steps: []step.Step{s.lists(b)}},
			{Name: "B", Steps: []step.Step{
				s.other("two-phase-commit.other", "two-phase-commit.other.ask", func(answer string, waited time.Duration) { b.answer, b.waited = answer, waited }),
				again,
			}},
		},
		Order: []string{"A", "order-srv", "", "B", "order-srv", "order-srv", "B"},
		Look:  append(s.look()[:2], s.lookBranches),
		End: func(ctx context.Context, _ *step.Ending) (err error) {
			b.left, err = s.counts(ctx, s.sku)
			return err
		},
	}
}

// lists is the look of an operator at what is prepared.
func (s *sale) lists(b *blocking) step.Step {
	return step.Step{Label: step.T("two-phase-commit.lists"), Ask: "two-phase-commit.lists.ask", Statement: "XA RECOVER", Do: func(ctx context.Context) (step.Result, error) {
		o, err := s.find(ctx, s.user)
		if err != nil {
			return step.Result{}, err
		}
		b.branches, b.log, err = s.inDoubt(ctx, o.number)
		return step.Result{Text: step.T("two-phase-commit.lists.got", b.branches, b.log)}, err
	}}
}

// other is a step in which another buyer's unit of the same product is reserved.
func (s *sale) other(label, ask string, got func(answer string, waited time.Duration)) step.Step {
	return step.Step{Label: step.T(label), Ask: ask, Statement: takeByHand, Do: func(ctx context.Context) (step.Result, error) {
		began := time.Now()
		results, err := s.inventory.Reserve(ctx, []inventoryapi.ReserveOrder{{
			OrderNo: ulid.Make().String(), Lines: []inventoryapi.Line{{SKU: s.sku, Quantity: 1}},
		}})
		if err == nil && results[0].Problem != nil {
			err = results[0].Problem.Fault()
		}
		if ctx.Err() != nil {
			return step.Result{}, ctx.Err()
		}
		answer, waited := "200", time.Since(began)
		if err != nil {
			answer = answerText(err)
		}
		got(answer, waited)
		return step.Result{Text: step.T(label+".got", answer, rounded(waited))}, nil
	}}
}

// inDoubt returns how many branches of an order are prepared in both databases, which are on one server, and what the
// log says of it.
func (s *services) inDoubt(ctx context.Context, orderNo string) (n int, log string, err error) {
	branches, err := database.ListXids(ctx, s.stock)
	if err != nil {
		return 0, "", err
	}
	for _, b := range branches {
		if b.Gtrid == orderNo {
			n++
		}
	}
	err = s.orders.QueryRowContext(ctx, "SELECT state FROM xa_log WHERE gtrid = ?", orderNo).Scan(&log)
	return n, log, err
}

// lookBranches shows the branches of the user's order. The server also lists those of other databases.
func (s *sale) lookBranches(ctx context.Context) (step.View, error) {
	v := step.View{Name: step.T("two-phase-commit.branches")}
	o, err := s.find(ctx, s.user)
	if err != nil {
		return v, err
	}
	branches, err := database.ListXids(ctx, s.stock)
	for _, b := range branches {
		if b.Gtrid == o.number {
			v.Rows = append(v.Rows, "gtrid="+b.Gtrid+" bqual="+b.Bqual)
		}
	}
	return v, err
}

// endBranches rolls back what a scene that was left has prepared in the lesson's databases.
func (s *services) endBranches(ctx context.Context) error {
	var errs []error
	for _, db := range []*stdsql.DB{s.orders, s.stock} {
		var name string
		if err := db.QueryRowContext(ctx, "SELECT DATABASE()").Scan(&name); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, database.RollbackAll(ctx, db, name))
	}
	return errors.Join(errs...)
}

func checkTwoPhaseCommit(found map[string]*blocking, end *step.Ending) {
	table := [][]any{{
		"", step.T("two-phase-commit.prepared"), step.T("two-phase-commit.log"), step.T("two-phase-commit.answer"),
		step.T("two-phase-commit.waited"), step.T("two-phase-commit.ended"), step.T("two-phase-commit.after"),
	}}
	names := []string{"undecided", "decided"}
	for _, name := range names {
		b := found[name]
		table = append(table, []any{
			step.T("two-phase-commit." + name + ".row"), b.branches, b.log, b.answer, rounded(b.waited).String(), b.status, rounded(b.after).String(),
		})
	}
	end.Table(table...)
	const ok = "200"
	u, d := found["undecided"], found["decided"]
	end.Check(u.branches == 1 && u.log == "preparing" && u.answer != ok, "two-phase-commit.undecided.blocks", u.branches)
	end.Check(u.again == ok && u.left == counts{available: halfUnits - 1, reserved: 1}, "two-phase-commit.undecided.claim", halfUnits-1)
	end.Check(d.branches == 2 && d.log == "commit" && d.answer != ok, "two-phase-commit.decided.blocks", d.branches)
	left := halfUnits - halfOrdered - 1
	end.Check(d.again == ok && d.left == counts{available: int64(left), reserved: halfOrdered + 1}, "two-phase-commit.decided.claim", left)
}

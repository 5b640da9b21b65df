package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/check"
	"holdfast/order-srv/internal/audit"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/sql"
)

// inventory answers with what it is made of. It rolls up like inventory-srv.
type inventory struct {
	mu           sync.Mutex
	reservations []inventoryapi.Reservation // sorted
	entry        inventoryapi.LedgerEntry   // of the only SKU; the sums of its lines are computed
	losses       []inventoryapi.Loss
	outbox       inventoryapi.Outbox
	answers      map[string]bool // refused, by order number
	branches     []inventoryapi.Branch
	asked        []string // about their answers
	noOutbox     bool     // it is a replica of an earlier version
	fails        error
	cutoff       string
	rolled       int64         // confirmed units up to the cut-off
	read         int           // reservations
	gate         chan struct{} // unless nil, a page waits for it
	waiting      chan struct{} // unless nil, receives a value when a page waits
}

// ReservationsOf implements audit.Inventory.
func (i *inventory) ReservationsOf(ctx context.Context, after, to string, _ bool, limit int) (p inventoryapi.ReservationPage, err error) {
	i.mu.Lock()
	gate := i.gate
	i.mu.Unlock()
	if gate != nil {
		select {
		case i.waiting <- struct{}{}:
		default:
		}
		select {
		case <-gate:
		case <-ctx.Done():
			return p, ctx.Err()
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range i.reservations {
		if r.OrderNo <= after || to != "" && r.OrderNo > to {
			continue
		}
		if len(p.Reservations) == limit {
			p.After = p.Reservations[limit-1].OrderNo
			break
		}
		p.Reservations = append(p.Reservations, r)
		i.read++
	}
	return p, i.fails
}

// RollUp implements audit.Inventory.
func (i *inventory) RollUp(_ context.Context, r inventoryapi.RollUpRequest) (inventoryapi.RollUp, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if r.Restart {
		i.cutoff, i.rolled = "", 0
	}
	if r.To > i.cutoff {
		_, confirmed := i.sums(i.cutoff, r.To)
		i.cutoff, i.rolled = r.To, i.rolled+confirmed
	}
	return inventoryapi.RollUp{Cutoff: i.cutoff, Done: true}, i.fails
}

// Audit implements audit.Inventory.
func (i *inventory) Audit(context.Context) (inventoryapi.Ledger, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	e := i.entry
	e.LinesReserved, e.LinesConfirmed = i.sums(i.cutoff, "~")
	e.LinesConfirmed += i.rolled
	return inventoryapi.Ledger{SKUs: []inventoryapi.LedgerEntry{e}, Losses: i.losses}, i.fails
}

// Branches implements audit.Inventory.
func (i *inventory) Branches(context.Context) ([]inventoryapi.Branch, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.branches, i.fails
}

// Outbox implements audit.Inventory.
func (i *inventory) Outbox(context.Context, int) (inventoryapi.Outbox, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.noOutbox {
		return inventoryapi.Outbox{}, fault.New(fault.NotFound, "not_found", "no such route")
	}
	return i.outbox, i.fails
}

// Answers implements audit.Inventory.
func (i *inventory) Answers(_ context.Context, orderNos []string) (map[string]bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked = append(i.asked, orderNos...)
	if i.noOutbox {
		return nil, fault.New(fault.NotFound, "not_found", "no such route")
	}
	return i.answers, i.fails
}

func (i *inventory) sums(after, to string) (reserved, confirmed int64) {
	for _, r := range i.reservations {
		if r.OrderNo <= after || r.OrderNo > to {
			continue
		}
		for _, l := range r.Lines {
			switch r.Status {
			case inventoryapi.StateReserved:
				reserved += l.Quantity
			case inventoryapi.StateConfirmed:
				confirmed += l.Quantity
			}
		}
	}
	return reserved, confirmed
}

// letters are messages that were given up.
type letters struct {
	found []orderapi.DeadLetter
	fails error
}

// List implements audit.Letters.
func (l *letters) List(context.Context, int) ([]orderapi.DeadLetter, error) { return l.found, l.fails }

// world is an orders database, an inventory and the audits of one replica.
type world struct {
	t         *testing.T
	db        *gorm.DB
	store     *store.Store
	inventory *inventory
	wallet    *ordertest.Wallet
	letters   *letters
	halves    *audit.HalfMessages
	jobs      *audit.Jobs
	stop      func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := dbtest.New(t, sql.Orders())
	w := &world{
		t: t, db: db, store: store.New(db, nil), letters: &letters{},
		inventory: &inventory{entry: inventoryapi.LedgerEntry{SKU: "A"}}, wallet: ordertest.NewWallet(t, 1000),
		halves: &audit.HalfMessages{Undecided: func() (int, time.Duration) { return 0, 0 }},
	}
	w.jobs, w.stop = w.replica()
	return w
}

// replica runs the audits of another replica until it is stopped.
func (w *world) replica() (jobs *audit.Jobs, stop func()) {
	jobs = audit.NewJobs(audit.Config{
		Store: w.store, Inventory: w.inventory, Wallet: w.wallet.Client, Letters: w.letters,
		HalfMessages: audit.HalfMessages{Undecided: func() (int, time.Duration) { return w.halves.Undecided() }, LateAfter: 22 * time.Second},
		LateBranch:   22 * time.Second,
	}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { jobs.Run(ctx) })
	stop = func() {
		cancel()
		running.Wait()
	}
	w.t.Cleanup(stop)
	return jobs, stop
}

func (w *world) audit(everything bool) (orderapi.Audit, error) {
	w.t.Helper()
	j, err := w.jobs.Request(w.t.Context(), everything)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.jobs.Wait(w.t.Context(), j.ID)
}

func (w *world) mustAudit(everything bool) orderapi.Audit {
	w.t.Helper()
	r, err := w.audit(everything)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// history adds n PAID orders of one unit that are settled and that old, with their reservations.
func (w *world) history(n int, old time.Duration) (numbers []string) {
	w.t.Helper()
	at := time.Now().Add(-old)
	var rows, items []string
	for i := range n {
		no := ulid.MustNew(ulid.Timestamp(at)+uint64(i), ulid.DefaultEntropy()).String()
		numbers = append(numbers, no)
		rows = append(rows, fmt.Sprintf("('%s','%s','ann','%s','h','PAID','test',UTC_TIMESTAMP(6),UTC_TIMESTAMP(6),UTC_TIMESTAMP(6))", no, no, no))
		items = append(items, "('"+no+"','A',1)")
		w.inventory.reservations = append(w.inventory.reservations, reservation(no, inventoryapi.StateConfirmed))
	}
	slices.SortFunc(w.inventory.reservations, func(a, b inventoryapi.Reservation) int { return strings.Compare(a.OrderNo, b.OrderNo) })
	w.inventory.entry.Inbound += int64(n)
	w.inventory.entry.Sold += int64(n)
	w.exec("INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_hash, status, flow, created_at, updated_at, settled_at) VALUES " + strings.Join(rows, ","))
	w.exec("INSERT INTO order_items (order_no, sku, quantity) VALUES " + strings.Join(items, ","))
	return numbers
}

func reservation(orderNo, status string) inventoryapi.Reservation {
	return inventoryapi.Reservation{
		OrderNo: orderNo, Status: status, CreatedAt: time.Now().Add(-time.Hour), Lines: []inventoryapi.Line{{SKU: "A", Quantity: 1}},
	}
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	if err := w.db.Exec(query, args...).Error; err != nil {
		w.t.Fatal(err)
	}
}

// change changes the reservation of an order.
func (w *world) change(orderNo string, f func(r *inventoryapi.Reservation)) {
	w.t.Helper()
	i := slices.IndexFunc(w.inventory.reservations, func(r inventoryapi.Reservation) bool { return r.OrderNo == orderNo })
	if i < 0 {
		w.t.Fatalf("no reservation of %s", orderNo)
	}
	f(&w.inventory.reservations[i])
}

func about(found []check.Violation, invariant int, subject string) bool {
	return slices.ContainsFunc(found, func(v check.Violation) bool { return v.Invariant == invariant && v.Subject == subject })
}

// TestAudit joins orders with their reservations, then misses what is planted.
func TestAudit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const orders = 5
	var numbers []string
	for range orders {
		no := ulid.Make().String()
		numbers = append(numbers, no)
		o := order.Order{OrderNo: no, GroupID: no, UserID: "ann", IdempotencyKey: no, RequestHash: ordertest.RequestHash, Flow: "test", Items: []order.Item{{SKU: "A", Quantity: 1}}}
		if _, inserted, err := ordertest.Insert(t.Context(), w.store, o); err != nil || !inserted {
			t.Fatalf("inserted %v, error %v", inserted, err)
		}
		_, err := ordertest.Place(t.Context(), w.store, no, store.Placement{
			Items: []order.Item{{SKU: "A", Title: "A", Quantity: 1, UnitPriceCents: 1}},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.inventory.reservations = append(w.inventory.reservations, reservation(no, inventoryapi.StateReserved))
	}
	slices.Sort(numbers)
	slices.SortFunc(w.inventory.reservations, func(a, b inventoryapi.Reservation) int { return strings.Compare(a.OrderNo, b.OrderNo) })
	w.inventory.entry = inventoryapi.LedgerEntry{SKU: "A", Inbound: 10, Available: 5, Reserved: 5}
	if r := w.mustAudit(false); len(r.Violations) != 0 || r.Orders["PLACED"] != orders || r.Unsent != orders {
		t.Errorf("report %+v", r)
	}
	all := w.inventory.reservations
	w.inventory.reservations, w.inventory.entry.Reserved, w.inventory.entry.Available = all[:orders-1], 4, 6
	r := w.mustAudit(false)
	if len(r.Violations) != 1 || r.Violations[0].Subject != numbers[orders-1] {
		t.Errorf("a lost reservation: %+v", r.Violations)
	}
	w.inventory.losses = []inventoryapi.Loss{{Reason: "test", Operations: 1, Units: 1, Orders: []string{numbers[orders-1]}}}
	if r = w.mustAudit(false); len(r.Violations) != 0 || len(r.Lost) != 1 {
		t.Errorf("a reservation that a loss names: %+v, %+v", r.Violations, r.Lost)
	}
	w.inventory.reservations, w.inventory.entry.Reserved, w.inventory.entry.Available, w.inventory.losses = all, 5, 5, nil
	// A freed key whose order is PLACED all the same, and the next order of that key is PLACED too.
	first, second := numbers[0], numbers[1]
	w.exec("UPDATE orders SET idempotency_key = NULL, freed_key = ? WHERE order_no = ?", second, first)
	if r = w.mustAudit(false); len(r.Violations) != 1 || r.Violations[0].Subject != first || r.Violations[0].Invariant != 5 {
		t.Errorf("two orders of one key: %+v", r.Violations)
	}
	w.exec("UPDATE orders SET idempotency_key = NULL, freed_key = ? WHERE order_no = ?", second, second)
	if r = w.mustAudit(false); len(r.Violations) != 2 || !about(r.Violations, 5, first) || !about(r.Violations, 5, second) {
		t.Errorf("two orders that freed one key: %+v", r.Violations)
	}
	w.halves.Undecided = func() (int, time.Duration) { return 3, time.Minute }
	if r = w.mustAudit(false); r.Messages.Undecided != 3 || !about(r.Unsettled, 7, "half messages") {
		t.Errorf("half messages a minute old: %+v, unsettled %+v", r.Messages, r.Unsettled)
	}
	w.letters.found = []orderapi.DeadLetter{{Source: "outbox", Topic: "order-events", Key: first}, {Source: "order-timeout", Key: second}}
	w.letters.fails = errors.New("the broker is away")
	w.exec("UPDATE orders SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND WHERE order_no = ?", first)
	r = w.mustAudit(false)
	if !about(r.Violations, 7, first) || !about(r.Violations, 7, second) || !about(r.Unsettled, 7, first) || !about(r.Unsettled, 7, "dead letters") {
		t.Errorf("a parked message, a dead letter, an overdue order and a broker that is away: %+v, unsettled %+v", r.Violations, r.Unsettled)
	}
	w.inventory.fails = errors.New("inventory is down")
	_, err := w.audit(false)
	if f, ok := errors.AsType[*fault.Error](err); !ok || !errors.Is(err, orderapi.ErrAuditFailed) || f.Details["failure"] != "inventory is down" {
		t.Errorf("inventory down: error %v", err)
	}
}

// TestAudit_strays plants rows in the queue: of an order that was decided, of one that does not exist, and of one that
// waits. The first two are violations.
func TestAudit_strays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	decided := w.history(1, time.Hour)[0]
	waits, unknown := ulid.Make().String(), ulid.Make().String()
	w.exec("INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_hash, status, flow, created_at, updated_at) VALUES (?, ?, 'ann', 'k', 'h', 'PENDING', 'queue', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6))", waits, waits)
	w.exec("INSERT INTO queued_orders (order_no, queued_at, sent_at) SELECT no, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) FROM (SELECT ? AS no UNION SELECT ? UNION SELECT ?) AS planted",
		decided, waits, unknown)
	var got []string
	for _, v := range w.mustAudit(false).Violations {
		got = append(got, fmt.Sprint(v.Invariant, " ", v.Subject))
	}
	want := []string{"8 " + decided, "8 " + unknown}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("violations %v, want %v", got, want)
	}
}

// TestAudit_notifications: a report counts the notifications that were not delivered. They are no finding.
func TestAudit_notifications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	plant := func(no, state, failure string, age time.Duration) {
		w.exec(`INSERT INTO notifications (order_no, event, user_id, amount_cents, occurred_at, state, failure, next_at, updated_at)
			VALUES (?, 'order.paid', 'ann', 1, TIMESTAMPADD(SECOND, ?, UTC_TIMESTAMP(6)), ?, ?, IF(? IN ('pending', 'sending'), UTC_TIMESTAMP(6), NULL), UTC_TIMESTAMP(6))`,
			no, -int(age.Seconds()), state, failure, state)
	}
	plant("NEW", "pending", "", time.Second)
	plant("BEING-SENT", "sending", "status 500", 2*time.Minute)
	plant("FAILED", "pending", "no answer", time.Minute)
	plant("SENT", "delivered", "", time.Hour)
	plant("OVER", "given_up", "no answer", time.Hour)
	plant("HOPELESS", "given_up", "status 500", time.Hour)
	// sent again
	w.exec("UPDATE notifications SET state = 'pending', next_at = UTC_TIMESTAMP(6), failure = '' WHERE order_no = 'OVER'")
	r := w.mustAudit(false)
	if n := r.Unnotified; n.Pending != 4 || n.Failing != 2 || n.GivenUp != 1 || n.Oldest < time.Hour || n.Oldest > 2*time.Hour {
		t.Errorf("%+v; want 4 pending, the oldest for an hour, 2 of them failing, and 1 given up", n)
	}
	if len(r.Unsettled)+len(r.Violations) != 0 {
		t.Errorf("findings: %v, %v", r.Violations, r.Unsettled)
	}
}

// TestAudit_inventoryOutbox: what inventory has to send is unsettled, and a replica without an outbox has nothing.
func TestAudit_inventoryOutbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.inventory.outbox = inventoryapi.Outbox{Unsent: 2, OldestMS: 90_000}
	r := w.mustAudit(false)
	if r.Messages.Unsent != 2 || r.Messages.OldestUnsent != 90*time.Second || !about(r.Unsettled, 7, "outbox") {
		t.Errorf("unsent at inventory: %+v, unsettled %+v", r.Messages, r.Unsettled)
	}
	w.inventory.noOutbox = true
	if r := w.mustAudit(false); r.Messages.Unsent != 0 || len(r.Unsettled) != 0 {
		t.Errorf("no outbox at inventory: %+v, unsettled %+v", r.Messages, r.Unsettled)
	}
}

// TestAudit_answers plants orders whose status contradicts inventory's answer to them. Only orders of the flow outbox
// have answers.
func TestAudit_answers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	numbers := w.history(4, 0)
	placed, refused, unanswered, other := numbers[0], numbers[1], numbers[2], numbers[3]
	w.exec("UPDATE orders SET flow = 'outbox' WHERE order_no <> ?", other)
	w.inventory.answers = map[string]bool{placed: false, refused: true, other: true}
	r := w.mustAudit(false)
	if len(r.Violations) != 2 || !about(r.Violations, 5, refused) || !about(r.Violations, 5, unanswered) {
		t.Errorf("violations %v; want one of %s, refused, and of %s, without an answer", r.Violations, refused, unanswered)
	}
	if slices.Contains(w.inventory.asked, other) {
		t.Errorf("asked for the answer to an order of another flow")
	}
	w.inventory.noOutbox = true
	if r := w.mustAudit(false); len(r.Violations) != 0 {
		t.Errorf("a replica of an earlier version has no answers: %v", r.Violations)
	}
	w.inventory.noOutbox, w.inventory.answers = false, map[string]bool{placed: false, refused: false, unanswered: false}
	if r := w.mustAudit(false); len(r.Violations) != 0 {
		t.Errorf("answers that agree: %v", r.Violations)
	}
}

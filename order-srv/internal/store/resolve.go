package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/outbox"
)

// Decision is how a PENDING order ends: placed or rejected.
type Decision struct {
	OrderNo   string
	RequestID string // of its request: a refusal that is stored names it
	Placement *Placement
	Rejection *Rejection
}

// Placement is how a PENDING order becomes PLACED.
type Placement struct {
	Items    []order.Item // with inventory's titles and prices
	Strategy string       // by which inventory reserved them, also when the order did not ask for one

	// Window is how long the order can be paid from now on, the same in all placements of a call. 0: the payment window
	// began when the order was inserted.
	Window time.Duration
}

// Resolved is what became of an order that was decided: the order with its answer, unless its key was to be freed.
type Resolved struct {
	Order  order.Order
	Err    error // order.ErrNotPending: it was ended before; order.ErrNotFound
	Locked bool  // with skipLocked: nothing was done, another transaction has the row or has ended the order
}

// Resolve ends PENDING orders in one transaction. A placed order gets what inventory's receipt says and its answer, and
// order-timeout goes into the outbox, once for those of a group. An order that was ended before gets
// order.ErrNotPending, and a stock-release goes into the outbox if units may be reserved for it; one that was placed
// before, in a transaction whose answer was lost, is returned as it is.
//
// With skipLocked an order whose row another transaction has locked does not delay the others. Call Resolve again for
// those that are Locked. Errors are those of database.InTx, and then nothing is known of any order.
func (s *Store) Resolve(ctx context.Context, decisions []Decision, skipLocked bool) ([]Resolved, error) {
	args := make([]any, len(decisions))
	for i, d := range decisions {
		args[i] = d.OrderNo
	}
	var r *resolution
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) (err error) {
		if r, err = resolve(ctx, tx, decisions, skipLocked); err != nil {
			return err
		}
		return s.decided(tx, r.decided())
	}, database.SettleBy("SELECT order_no FROM orders WHERE order_no IN ("+marks(len(args))+") AND status IN ('PLACED', 'REJECTED') FOR UPDATE", args...))
	if err != nil {
		return nil, err
	}
	if r.events {
		s.outbox.Kick()
	}
	s.count(order.Placed, len(r.placed))
	s.count(order.Rejected, len(r.rejected))
	for _, orderNos := range r.decided() {
		s.woken(orderNos)
	}
	return r.results, nil
}

// resolution is the transaction of Resolve.
type resolution struct {
	tx        *gorm.DB
	decisions []Decision
	now       time.Time // of the database, the same in each row and each answer
	rows      map[string]pendingRow
	results   []Resolved

	placed, rejected, missed []int // in decisions
	events                   bool  // something went into the outbox that is to be sent at once
}

// pendingRow is what Resolve needs of a PENDING order's row.
type pendingRow struct {
	OrderNo, GroupID, IdempotencyKey string
	Flow                             string
	CreatedAt, ExpiresAt, Now        time.Time
	Lean                             bool // the answer about the order, once PLACED, is not stored
}

func resolve(ctx context.Context, tx *gorm.DB, decisions []Decision, skipLocked bool) (*resolution, error) {
	r := &resolution{tx: tx, decisions: decisions, results: make([]Resolved, len(decisions))}
	if err := r.lock(skipLocked); err != nil {
		return nil, err
	}
	for i, d := range decisions {
		_, pending := r.rows[d.OrderNo]
		switch {
		case !pending && skipLocked:
			r.results[i].Locked = true
		case !pending:
			r.missed = append(r.missed, i)
		case d.Placement != nil:
			r.placed = append(r.placed, i)
		default:
			r.rejected = append(r.rejected, i)
		}
	}
	for _, step := range []func(context.Context) error{r.place, r.reject, r.late} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// decided returns the orders that were PENDING until now, by flow.
func (r *resolution) decided() map[string][]string {
	byFlow := map[string][]string{}
	for _, i := range slices.Concat(r.placed, r.rejected) {
		no := r.decisions[i].OrderNo
		flow := r.rows[no].Flow
		byFlow[flow] = append(byFlow[flow], no)
	}
	return byFlow
}

// decided has the flows write what they need when their orders are no longer PENDING.
func (s *Store) decided(tx *gorm.DB, byFlow map[string][]string) error {
	if s.flows == nil {
		return nil
	}
	// In one order: two transactions that decide orders of several flows lock the flows' rows alike.
	for _, flow := range slices.Sorted(maps.Keys(byFlow)) {
		if err := s.flows.Decided(&Tx{db: tx}, flow, byFlow[flow]); err != nil {
			return fmt.Errorf("note the decided orders of %s: %w", flow, err)
		}
	}
	return nil
}

// lock locks the rows of the orders that are PENDING, in order of their numbers.
func (r *resolution) lock(skipLocked bool) error {
	numbers := make([]string, len(r.decisions))
	for i, d := range r.decisions {
		numbers[i] = d.OrderNo
	}
	how := ""
	if skipLocked {
		how = " SKIP LOCKED"
	}
	var rows []pendingRow
	err := r.tx.Raw(`SELECT order_no, group_id, flow, COALESCE(idempotency_key, '') AS idempotency_key, created_at, expires_at,
		request_digest IS NOT NULL AS lean, UTC_TIMESTAMP(6) AS now FROM orders FORCE INDEX (PRIMARY) WHERE order_no IN ? AND status = 'PENDING' ORDER BY order_no FOR UPDATE`+how, numbers).Scan(&rows).Error
	if err != nil {
		return fmt.Errorf("lock pending orders: %w", err)
	}
	r.rows = make(map[string]pendingRow, len(rows))
	for _, row := range rows {
		r.rows[row.OrderNo], r.now = row, row.Now
	}
	return nil
}

// place makes orders PLACED.
func (r *resolution) place(context.Context) error {
	if len(r.placed) == 0 {
		return nil
	}
	columns, set := []string{"amount_cents", "strategy", "response_status", "response_body"}, ""
	window := r.decisions[r.placed[0]].Placement.Window > 0
	if window { // else the row has its time since it was inserted, and no key of it is written
		columns, set = append(columns, "expires_at"), ", o.expires_at = v.expires_at, o.due_at = v.expires_at"
	}
	v := newValues(columns...)
	members := make([]member, len(r.placed))
	for n, i := range r.placed {
		o, err := r.placedOrder(r.decisions[i])
		if err != nil {
			return err
		}
		var body any
		if !r.rows[o.OrderNo].Lean {
			if body, err = encodeBody(o.ResponseBody); err != nil {
				return err
			}
		}
		row := []any{o.OrderNo, o.AmountCents, o.Strategy, o.ResponseStatus, body}
		if window {
			row = append(row, o.ExpiresAt)
		}
		v.add(row...)
		r.results[i].Order, members[n] = o, member{o.OrderNo, o.GroupID}
	}
	won, err := change{
		from: order.Pending, to: order.Placed, values: v, at: r.now,
		set: `, o.amount_cents = v.amount_cents, o.strategy = v.strategy,
			o.response_status = v.response_status, o.response_body = v.response_body` + set,
	}.apply(r.tx)
	if err := r.all(won, r.placed, err); err != nil {
		return err
	}
	if err := r.price(); err != nil {
		return err
	}
	return timeout(r.tx, r.results[r.placed[0]].Order.ExpiresAt, members)
}

// placedOrder is the order as its row will be, with its answer.
func (r *resolution) placedOrder(d Decision) (order.Order, error) {
	row, p := r.rows[d.OrderNo], d.Placement
	o := order.Order{
		OrderNo: d.OrderNo, GroupID: row.GroupID, IdempotencyKey: row.IdempotencyKey, Status: order.Placed, Strategy: p.Strategy,
		Items: slices.Clone(p.Items), CreatedAt: row.CreatedAt, UpdatedAt: r.now, ExpiresAt: row.ExpiresAt,
	}
	if p.Window > 0 {
		o.ExpiresAt = r.now.Add(p.Window)
	}
	slices.SortFunc(o.Items, func(a, b order.Item) int { return strings.Compare(a.SKU, b.SKU) }) // as they are read
	for _, it := range o.Items {
		o.AmountCents += it.Quantity * it.UnitPriceCents
	}
	reply, err := orderapi.Placed(o)
	o.ResponseStatus, o.ResponseBody = reply.Status, reply.Body
	return o, err
}

// all checks that a step changed every row: they are locked and PENDING.
func (r *resolution) all(won int64, which []int, err error) error {
	if err == nil && won != int64(len(which)) {
		err = fmt.Errorf("resolve %d orders: %d were changed", len(which), won)
	}
	return err
}

// price writes the titles and prices of the placed orders' items.
func (r *resolution) price() error {
	var args []any
	for _, i := range r.placed {
		for _, it := range r.results[i].Order.Items {
			args = append(args, r.decisions[i].OrderNo, it.SKU, it.Title, it.Quantity, it.UnitPriceCents)
		}
	}
	rows := strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?), ", len(args)/5), ", ")
	err := r.tx.Exec("INSERT INTO order_items (order_no, sku, title, quantity, unit_price_cents) VALUES "+rows+
		" ON DUPLICATE KEY UPDATE title = VALUES(title), unit_price_cents = VALUES(unit_price_cents)", args...).Error
	if err != nil {
		return fmt.Errorf("price the items: %w", err)
	}
	return nil
}

// timeout announces the end of the orders' payment window: one message for each group.
func timeout(tx *gorm.DB, at time.Time, orders []member) error {
	var events []outbox.Event
	for group, numbers := range byGroup(orders) {
		events = append(events, outbox.Event{
			ID: numbers[0] + ":timeout", Topic: orderapi.TopicOrderTimeout, Key: group,
			Body: orderapi.OrderTimeout{Orders: numbers}, DeliverAt: at,
		})
	}
	return outbox.Write(tx, events...)
}

// change is one step of the status machine.
type change struct {
	from, to  order.Status
	values    *values   // unless nil, the orders, and what each of them gets: the table v in set
	at        time.Time // of the step; zero: the statement's
	set       string    // more assignments, each after a comma
	setArgs   []any
	guard     string // a further condition, after AND
	guardArgs []any
}

// apply is the only statement that changes a status. It changes those of the orders, or of those in c.values, that are
// in the status from, and returns how many they are. A step that the status machine does not have is an error. An order
// that ends is due at once. One that becomes PLACED is due when its payment window ends, and reject decides for itself.
func (c change) apply(tx *gorm.DB, orderNos ...string) (won int64, err error) {
	if !c.from.CanBecome(c.to) {
		return 0, fmt.Errorf("mark %s: a %s order cannot become that", c.to, c.from)
	}
	table, which, at := "orders AS o FORCE INDEX (PRIMARY)", "o.order_no IN ? AND ", "UTC_TIMESTAMP(6)"
	var args []any
	if c.values != nil {
		table, which = c.values.table()+" STRAIGHT_JOIN "+table+" ON o.order_no = v.order_no", ""
		args = append(args, c.values.args...)
	}
	args = append(args, c.to)
	if !c.at.IsZero() {
		at, args = "?", append(args, c.at)
	}
	set := c.set
	if c.to != order.Placed && c.to != order.Rejected {
		set += ", due_at = UTC_TIMESTAMP(6)"
	}
	args = append(args, c.setArgs...)
	if c.values == nil {
		args = append(args, orderNos)
	}
	args = append(append(args, c.from), c.guardArgs...)
	res := tx.Exec("UPDATE "+table+" SET status = ?, updated_at = "+at+set+" WHERE "+which+"status = ?"+c.guard, args...)
	if res.Error != nil {
		return 0, fmt.Errorf("mark %s: %w", c.to, res.Error)
	}
	return res.RowsAffected, nil
}

// values is a table v of rows that a statement brings along. Its first column is order_no.
type values struct {
	columns []string
	rows    int
	args    []any
}

func newValues(columns ...string) *values {
	return &values{columns: append([]string{"order_no"}, columns...)}
}

// add adds a row, with a value for each column.
func (v *values) add(row ...any) {
	v.rows++
	v.args = append(v.args, row...)
}

// table is v in a FROM clause. Its order numbers have the collation of the column, or the server would convert each row
// of orders to compare it, and read all of them.
func (v *values) table() string {
	first := "SELECT _ascii ? COLLATE ascii_bin AS order_no"
	for _, c := range v.columns[1:] {
		first += ", ? AS " + c
	}
	next := " UNION ALL SELECT _ascii ? COLLATE ascii_bin" + strings.Repeat(", ?", len(v.columns)-1)
	return "(" + first + strings.Repeat(next, v.rows-1) + ") AS v"
}

package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// Place is where a reader of due orders has come to. The zero Place is before all orders.
type Place struct {
	DueAt   time.Time
	OrderNo string
}

// Compare is in the order in which due orders are read.
func (p Place) Compare(q Place) int {
	return cmp.Or(p.DueAt.Compare(q.DueAt), cmp.Compare(p.OrderNo, q.OrderNo))
}

// Due is an order that is PLACED and whose payment window has ended, or that has ended and with whose end inventory is
// not known to agree.
type Due struct {
	OrderNo string
	Status  order.Status
	Age     time.Duration // since the window ended, or since the order has
}

// Page is a page of due orders.
type Page struct {
	Orders []Due
	Next   Place
	Last   bool // there is no next page
}

// dueRow is a row of a page.
type dueRow struct {
	OrderNo string
	Status  order.Status
	DueAt   time.Time
	Micros  int64
}

// Overdue returns PLACED orders whose payment window ended longer than age ago: those of the next page of limit due
// orders. The others on the page have ended.
func (s *Store) Overdue(ctx context.Context, age time.Duration, after Place, limit int) (Page, error) {
	f, err := s.form(ctx)
	if err != nil {
		return Page{}, err
	}
	if f.Stage != stageDone {
		return s.page(ctx, limit, `SELECT order_no, status, expires_at AS due_at, TIMESTAMPDIFF(MICROSECOND, expires_at, UTC_TIMESTAMP(6)) AS micros
			FROM orders WHERE status = 'PLACED' AND expires_at >= ? AND (expires_at > ? OR order_no > ?)
			AND expires_at < TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) ORDER BY expires_at, order_no LIMIT ?`,
			after.since(), after.since(), after.OrderNo, -age.Microseconds(), limit)
	}
	return s.due(ctx, age, after, limit, func(status order.Status) bool { return status == order.Placed })
}

// Unsettled returns orders that ended longer than age ago and with whose end inventory is not known to agree: those of
// the next page of limit due orders. The others on the page are PLACED.
func (s *Store) Unsettled(ctx context.Context, age time.Duration, after Place, limit int) (Page, error) {
	f, err := s.form(ctx)
	if err != nil {
		return Page{}, err
	}
	if f.Stage != stageDone {
		// In the order of their numbers, as before there was due_at.
		return s.page(ctx, limit, `SELECT order_no, status, TIMESTAMP('1970-01-02') AS due_at, TIMESTAMPDIFF(MICROSECOND, updated_at, UTC_TIMESTAMP(6)) AS micros
			FROM orders WHERE settled_at IS NULL AND status NOT IN ('PENDING', 'PLACED')
			AND updated_at < TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) AND order_no > ? ORDER BY order_no LIMIT ?`,
			-age.Microseconds(), after.OrderNo, limit)
	}
	return s.due(ctx, age, after, limit, func(status order.Status) bool { return status != order.Pending && status != order.Placed })
}

// dueOrders reads the next due orders by the key of due_at alone.
const dueOrders = `SELECT order_no, status, due_at, TIMESTAMPDIFF(MICROSECOND, due_at, UTC_TIMESTAMP(6)) AS micros
	FROM orders FORCE INDEX (orders_due) WHERE due_at >= ? AND (due_at > ? OR order_no > ?)
	AND due_at < TIMESTAMPADD(MICROSECOND, ?, UTC_TIMESTAMP(6)) ORDER BY due_at, order_no LIMIT ?`

func (s *Store) due(ctx context.Context, age time.Duration, after Place, limit int, wanted func(order.Status) bool) (Page, error) {
	p, err := s.page(ctx, limit, dueOrders, after.since(), after.since(), after.OrderNo, -age.Microseconds(), limit)
	kept := p.Orders[:0]
	for _, o := range p.Orders {
		if wanted(o.Status) {
			kept = append(kept, o)
		}
	}
	p.Orders = kept
	return p, err
}

// since is the place's time as the server can compare it.
func (p Place) since() time.Time {
	if p.DueAt.IsZero() {
		return time.Unix(0, 0).UTC()
	}
	return p.DueAt
}

func (s *Store) page(ctx context.Context, limit int, query string, args ...any) (Page, error) {
	var rows []dueRow
	if err := s.db.WithContext(ctx).Raw(query, args...).Scan(&rows).Error; err != nil {
		return Page{}, fmt.Errorf("find due orders: %w", database.Fault(err))
	}
	p := Page{Orders: make([]Due, len(rows)), Last: len(rows) < limit}
	for i, r := range rows {
		p.Orders[i] = Due{r.OrderNo, r.Status, time.Duration(r.Micros) * time.Microsecond}
		p.Next = Place{r.DueAt, r.OrderNo}
	}
	return p, nil
}

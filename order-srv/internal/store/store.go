// Package store is order-srv's SQL: orders, their items, the outbox. Every step of an order's status machine is one
// guarded UPDATE here, with its event in the same transaction.
package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
	"holdfast/pkg/outbox"
)

// Store is the orders database.
type Store struct {
	db       *gorm.DB
	outbox   *outbox.Table
	branches *database.Branches // of the flow xa
	total    *prometheus.CounterVec
	flows    Flows // nil: none
	wake     func(orderNos []string)
	notify   func() // nil: nobody sends notifications
}

// Flows take part in the store's transactions.
type Flows interface {
	// Begin is called in the transaction that inserts the orders, which are of one flow, as PENDING. It writes their items
	// unless the step that decides the orders does, see Placement and Rejection.
	Begin(tx *Tx, orders []order.Order) error
	// Decided is called in the transaction that makes these PENDING orders of a flow PLACED, REJECTED or ABANDONED.
	Decided(tx *Tx, flow string, orderNos []string) error
	// Ended is called in the transaction that makes the order PAID, CANCELLED, EXPIRED or REFUND_DUE.
	Ended(tx *Tx, o order.Order) error
	// Left is called in the transaction in which old orders of a flow, all of which have ended, leave the table orders.
	Left(tx *Tx, flow string, orderNos []string) error
}

// New returns a store on db. total, unless nil, counts the orders that reach a status through this store, by status.
func New(db *gorm.DB, total *prometheus.CounterVec) *Store {
	s := &Store{db: db, outbox: outbox.New(db, takenOver), branches: database.NewBranches(db), total: total}
	for _, status := range order.Statuses() {
		s.count(status, 0) // a counter that appears only with its first event hides that event from every rate
	}
	return s
}

// On returns a store that uses the pool of db and shares everything else with s: a relay on it is notified of what s
// commits.
func (s *Store) On(db *gorm.DB) *Store {
	c := *s
	c.db, c.outbox, c.branches = db, s.outbox.On(db), database.NewBranches(db)
	return &c
}

// WithFlows returns a store that calls flows in its transactions and shares everything else with s.
func (s *Store) WithFlows(flows Flows) *Store {
	c := *s
	c.flows = flows
	return &c
}

// WithWake returns a store that calls wake, after the commit, with orders that it has made PLACED, REJECTED or
// ABANDONED, and shares everything else with s. wake must be quick.
func (s *Store) WithWake(wake func(orderNos []string)) *Store {
	c := *s
	c.wake = wake
	return &c
}

// woken calls wake.
func (s *Store) woken(orderNos []string) {
	if s.wake != nil {
		s.wake(orderNos)
	}
}

// count notes that n orders have reached a status. Call it after the commit.
func (s *Store) count(status order.Status, n int) {
	if s.total != nil {
		s.total.WithLabelValues(string(status)).Add(float64(n))
	}
}

// Outbox returns the database's outbox, on the store's connections.
func (s *Store) Outbox() *outbox.Table { return s.outbox }

// takenOver records, as the relay's healing, whose messages a relay that died may have sent.
func takenOver(tx *gorm.DB, orderNos []string) error {
	_, err := heal(tx, Relay, actionSentAgain, orderNos...)
	return err
}

// Tx is a transaction of the store.
type Tx struct {
	db   *gorm.DB
	sent bool // something went into the outbox
}

// Send puts events into the outbox. The subject of an event's id is an order number, of a list the first one's, and its
// key is the group's number.
func (tx *Tx) Send(events ...outbox.Event) error {
	tx.sent = true
	return outbox.Write(tx.db, events...)
}

// Items writes the items of orders.
func (tx *Tx) Items(orders []order.Order) error { return insertItems(tx.db, orders) }

// record is a row of orders.
type record struct {
	OrderNo, GroupID, UserID     string
	IdempotencyKey, FreedKey     sql.NullString
	RequestHash                  string
	ResponseStatus               int
	ResponseBody                 sql.NullString
	Status                       order.Status
	Reason                       string
	AmountCents                  sql.NullInt64
	Flow, Strategy               string
	CreatedAt, UpdatedAt         time.Time
	ExpiresAt, PaidAt, SettledAt sql.NullTime
}

const columns = `order_no, group_id, user_id, idempotency_key, freed_key,
	COALESCE(request_hash, LOWER(HEX(request_digest))) AS request_hash, response_status, response_body, status, reason, amount_cents, flow, strategy, created_at, updated_at, expires_at, paid_at, settled_at`

func (r record) order() (order.Order, error) {
	body, err := decodeBody(r.ResponseBody)
	if err != nil {
		return order.Order{}, fmt.Errorf("order %s: %w", r.OrderNo, err)
	}
	expires := r.ExpiresAt.Time
	switch r.Status {
	case order.Pending, order.Rejected, order.Abandoned: // the row has it from the insert on, in case that it is placed
		expires = time.Time{}
	}
	return order.Order{
		OrderNo: r.OrderNo, GroupID: r.GroupID, UserID: r.UserID, IdempotencyKey: r.IdempotencyKey.String, FreedKey: r.FreedKey.String,
		RequestHash: r.RequestHash, ResponseStatus: r.ResponseStatus, ResponseBody: body,
		Status: r.Status, Reason: r.Reason, AmountCents: r.AmountCents.Int64, Flow: r.Flow, Strategy: r.Strategy,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, ExpiresAt: expires, PaidAt: r.PaidAt.Time, SettledAt: r.SettledAt.Time,
	}, nil
}

// encodeBody makes a JSON string of an answer. Stored as the document that it is, MySQL would give it back with other
// blanks and its keys in another order, and a repeat would not get what the first request got.
func encodeBody(body []byte) (string, error) {
	b, err := json.Marshal(string(body))
	if err != nil {
		return "", fmt.Errorf("encode the answer: %w", err)
	}
	return string(b), nil
}

func decodeBody(column sql.NullString) ([]byte, error) {
	if !column.Valid {
		return nil, nil
	}
	var body string
	if err := json.Unmarshal([]byte(column.String), &body); err != nil {
		return nil, fmt.Errorf("decode the stored answer: %w", err)
	}
	return []byte(body), nil
}

func one(db *gorm.DB, where string, args ...any) (order.Order, error) {
	found, err := many(db, "WHERE "+where, args...)
	if err != nil {
		return order.Order{}, err
	}
	if len(found) == 0 {
		return order.Order{}, order.ErrNotFound
	}
	return found[0], nil
}

// many reads orders with their items; rest is what follows the table in the statement.
func many(db *gorm.DB, rest string, args ...any) ([]order.Order, error) {
	return read(db, "SELECT "+columns+" FROM orders "+rest, itemsQuery, args)
}

// read reads orders by a query, and their items by another one.
func read(db *gorm.DB, query, items string, args []any) ([]order.Order, error) {
	var records []record
	if err := db.Raw(query, args...).Scan(&records).Error; err != nil {
		return nil, fmt.Errorf("read orders: %w", err)
	}
	if len(records) == 0 {
		return nil, nil
	}
	numbers := make([]string, len(records))
	for i, r := range records {
		numbers[i] = r.OrderNo
	}
	byOrder, err := itemsOf(db, items, numbers)
	if err != nil {
		return nil, err
	}
	orders := make([]order.Order, len(records))
	for i, r := range records {
		if orders[i], err = r.order(); err != nil {
			return nil, err
		}
		orders[i].Items = byOrder[r.OrderNo]
	}
	return orders, nil
}

// itemsQuery reads the items of orders.
const itemsQuery = `SELECT order_no, sku, COALESCE(title, '') AS title, quantity, COALESCE(unit_price_cents, 0) AS unit_price_cents
	FROM order_items WHERE order_no IN ?`

// itemsOf reads items by itemsQuery or archivedItems, each of whose tables is asked for the numbers.
func itemsOf(db *gorm.DB, query string, numbers []string) (map[string][]order.Item, error) {
	var rows []struct {
		OrderNo, SKU, Title      string
		Quantity, UnitPriceCents int64
	}
	args := make([]any, strings.Count(query, "?"))
	for i := range args {
		args[i] = numbers
	}
	if err := db.Raw(query+" ORDER BY order_no, sku", args...).Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("read items: %w", err)
	}
	items := make(map[string][]order.Item, len(numbers))
	for _, r := range rows {
		items[r.OrderNo] = append(items[r.OrderNo], order.Item{SKU: r.SKU, Title: r.Title, Quantity: r.Quantity, UnitPriceCents: r.UnitPriceCents})
	}
	return items, nil
}

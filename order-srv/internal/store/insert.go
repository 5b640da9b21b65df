package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// insertTries bounds how often a key may be taken when we insert and free when we look for its order.
const insertTries = 3

// Inserted is what became of an order that was to be inserted.
type Inserted struct {
	Order order.Order // as it was inserted, or the earlier order of the user with the key
	Known bool        // it is the earlier one
	Err   error       // nothing is known of the order
}

// New reports whether the order was inserted.
func (i Inserted) New() bool { return i.Err == nil && !i.Known }

// Insert writes new orders of one flow as PENDING, in one transaction, and returns what became of each. Their items are
// written too, unless their flow has them written when the orders are decided. The orders get their numbers, and the
// time of the database at which they were inserted; they can be paid for a while from then on. They are a group: it has
// the number of its first order. An order that brings a number keeps it. When a user has used a key before, also in
// this call, the order is not written and the earlier one is returned, unless that one freed its key: it was abandoned
// or rejected. Then the orders concerned are inserted once more.
//
// Errors are those of database.InTx, in the results after the first transaction; after database.ErrCommitUnknown the
// orders may be there, and the sweeper ends them.
func (s *Store) Insert(ctx context.Context, orders []order.Order, window time.Duration) ([]Inserted, error) {
	in := &insertion{s: s, orders: orders, window: window, results: make([]Inserted, len(orders))}
	places := make([]int, len(orders)) // of the orders that are still to be inserted
	for i := range orders {
		places[i] = i
	}
	// Two replicas that insert the same keys wait for each other in one order: there is no deadlock. The first of equal
	// keys is the one that came first.
	slices.SortStableFunc(places, func(i, j int) int {
		return strings.Compare(sortKey(orders[i]), sortKey(orders[j]))
	})
	for try := 0; try < insertTries && len(places) > 0; try++ {
		rest, err := in.at(ctx, places)
		switch {
		case err != nil && try == 0:
			return nil, err
		case err != nil:
			for _, i := range rest {
				in.results[i] = Inserted{Err: err}
			}
			return in.results, nil
		}
		places = rest
	}
	for _, i := range places {
		in.results[i] = Inserted{Err: database.ErrContended} // the key's orders were rejected or abandoned each time
	}
	return in.results, nil
}

// sortKey is in the order of the unique index: no user has the separator in the name.
func sortKey(o order.Order) string { return o.UserID + "\x00" + o.IdempotencyKey }

// insertion is a call of Insert.
type insertion struct {
	s       *Store
	orders  []order.Order
	window  time.Duration
	group   string // the number of its first order; empty until there is one
	sent    bool   // the last transaction put something into the outbox
	results []Inserted
}

// at inserts the orders at these places and returns the places of those whose key became free meanwhile.
func (in *insertion) at(ctx context.Context, places []int) (again []int, err error) {
	made, known, err := in.insert(ctx, places)
	if err != nil {
		return places, err
	}
	in.group = made[0].GroupID
	if in.sent {
		in.s.outbox.Kick()
	}
	inserted := 0
	for n, i := range places {
		o, duplicate := known[made[n].OrderNo]
		switch {
		case !duplicate:
			inserted++
			in.results[i] = Inserted{Order: made[n]}
		case o.OrderNo == "":
			again = append(again, i)
		case o.Status == order.Abandoned:
			if err := in.s.freeKey(ctx, o.OrderNo); err != nil {
				in.results[i] = Inserted{Err: err}
				continue
			}
			again = append(again, i)
		default:
			in.results[i] = Inserted{Order: o, Known: true}
		}
	}
	in.s.count(order.Pending, inserted)
	return again, nil
}

// insert is the transaction. It returns the orders with what they got, and by the numbers of those that it did not
// insert the orders that have their keys; a zero order when none is left.
func (in *insertion) insert(ctx context.Context, places []int) (made []order.Order, known map[string]order.Order, err error) {
	numbers := make([]any, len(places)) // of the last run of the transaction: an earlier one was rolled back
	err = database.InTx(ctx, in.s.db, func(tx *gorm.DB) error {
		f, err := readForm(tx, " LOCK IN SHARE MODE")
		if err != nil {
			return err
		}
		if made, err = in.make(f, places); err != nil {
			return err
		}
		for n, o := range made {
			numbers[n] = o.OrderNo
		}
		affected, err := insertRows(tx, made, f.Now.Add(in.window), f.Stage != stageMixed)
		if err != nil {
			return err
		}
		fresh := made
		known = nil
		if affected < int64(len(made)) {
			if fresh, known, err = duplicates(tx, made); err != nil {
				return err
			}
		}
		if len(fresh) == 0 {
			return nil
		}
		if in.s.flows == nil {
			return insertItems(tx, fresh)
		}
		begun := &Tx{db: tx}
		err = in.s.flows.Begin(begun, fresh)
		in.sent = begun.sent
		return err
	}, database.SettleBy("SELECT order_no FROM orders WHERE order_no IN ("+marks(len(numbers))+") FOR UPDATE", numbers...))
	return made, known, err
}

// make returns the orders at these places with their numbers and times. Numbers are greater than the mark up to which
// no order is PENDING: while this transaction has its shared lock on f, the mark does not move.
func (in *insertion) make(f form, places []int) ([]order.Order, error) {
	made := make([]order.Order, len(places))
	for n, i := range places {
		o := in.orders[i]
		if o.OrderNo == "" {
			var err error
			if o.OrderNo, err = newNumber(f.Now, f.SweptTo); err != nil {
				return nil, err
			}
		}
		if o.OrderNo <= f.SweptTo {
			return nil, fmt.Errorf("insert order %s: the sweeper has passed its number", o.OrderNo)
		}
		made[n] = o
		made[n].GroupID = cmp.Or(o.GroupID, in.group, made[0].OrderNo)
		made[n].Status, made[n].CreatedAt, made[n].UpdatedAt = order.Pending, f.Now, f.Now
	}
	return made, nil
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// insertRows writes the rows. An order is due when its payment window ends: being placed does not change that.
func insertRows(tx *gorm.DB, orders []order.Order, expiresAt time.Time, lean bool) (affected int64, err error) {
	args := make([]any, 0, 13*len(orders))
	for _, o := range orders {
		var hash, digest any = o.RequestHash, nil
		if lean {
			if digest, err = o.RequestDigest(); err != nil {
				return 0, fmt.Errorf("insert order %s: %w", o.OrderNo, err)
			}
			hash = nil
		}
		args = append(args, o.OrderNo, o.GroupID, o.UserID, o.IdempotencyKey, hash, digest, o.Flow, o.Strategy,
			o.CreatedAt, o.CreatedAt, expiresAt, expiresAt)
	}
	// Not the bytes themselves: with them in a statement, MySQL refuses to show anybody its list of processes.
	const row = "(?, ?, ?, ?, ?, UNHEX(?), 'PENDING', ?, ?, ?, ?, ?, ?), "
	res := tx.Exec(`INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_hash, request_digest, status, flow, strategy,
		created_at, updated_at, expires_at, due_at) VALUES `+strings.TrimSuffix(strings.Repeat(row, len(orders)), ", ")+
		" ON DUPLICATE KEY UPDATE order_no = order_no", args...)
	if res.Error != nil {
		return 0, fmt.Errorf("insert orders: %w", res.Error)
	}
	return res.RowsAffected, nil
}

// duplicates divides orders into those that this transaction inserted and those whose keys others have.
func duplicates(tx *gorm.DB, orders []order.Order) (fresh []order.Order, known map[string]order.Order, err error) {
	numbers := make([]string, len(orders))
	for i, o := range orders {
		numbers[i] = o.OrderNo
	}
	var found []string
	if err := tx.Raw("SELECT order_no FROM orders WHERE order_no IN ?", numbers).Scan(&found).Error; err != nil {
		return nil, nil, fmt.Errorf("look for what was inserted: %w", err)
	}
	inserted := make(map[string]bool, len(found))
	for _, no := range found {
		inserted[no] = true
	}
	var keys []string
	var args []any
	for _, o := range orders {
		if inserted[o.OrderNo] {
			fresh = append(fresh, o)
			continue
		}
		keys = append(keys, "(user_id = ? AND idempotency_key = ?)")
		args = append(args, o.UserID, o.IdempotencyKey)
	}
	holders, err := many(tx, "WHERE "+strings.Join(keys, " OR "), args...)
	if err != nil {
		return nil, nil, err
	}
	byKey := make(map[string]order.Order, len(holders))
	for _, o := range holders {
		byKey[sortKey(o)] = o
	}
	known = make(map[string]order.Order, len(keys))
	for _, o := range orders {
		if !inserted[o.OrderNo] {
			known[o.OrderNo] = byKey[sortKey(o)]
		}
	}
	return fresh, known, nil
}

// freeKey frees the key of an order that was abandoned before abandoning freed it.
func (s *Store) freeKey(ctx context.Context, orderNo string) error {
	err := database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		return tx.Exec(`UPDATE orders SET freed_key = idempotency_key, idempotency_key = NULL
			WHERE order_no = ? AND status = 'ABANDONED' AND idempotency_key IS NOT NULL`, orderNo).Error
	}, database.SettleBy("SELECT order_no FROM orders WHERE order_no = ? AND idempotency_key IS NULL FOR UPDATE", orderNo))
	if err != nil {
		return fmt.Errorf("free the key of %s: %w", orderNo, err)
	}
	return nil
}

// insertItems writes the items. A transaction that is repeated after a COMMIT of unknown outcome may find them.
func insertItems(tx *gorm.DB, orders []order.Order) error {
	var args []any
	for _, o := range orders {
		for _, it := range o.Items {
			args = append(args, o.OrderNo, it.SKU, it.Quantity)
		}
	}
	values := strings.TrimSuffix(strings.Repeat("(?, ?, ?), ", len(args)/3), ", ")
	err := tx.Exec("INSERT INTO order_items (order_no, sku, quantity) VALUES "+values+" ON DUPLICATE KEY UPDATE sku = sku", args...).Error
	if err != nil {
		return fmt.Errorf("insert the items: %w", err)
	}
	return nil
}

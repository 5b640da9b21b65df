package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// insertTries bounds how often a key may be taken when we insert and free when we look for its order.
const insertTries = 3

// Inserted is what became of an order that was to be inserted.
type Inserted struct {
	Known order.Order // the earlier order of the user with the key; zero if the order was inserted
	Err   error       // nothing is known of the order
}

// New reports whether the order was inserted.
func (i Inserted) New() bool { return i.Err == nil && i.Known.OrderNo == "" }

// Insert writes new orders of one flow as PENDING, with their items, in one transaction, and returns what became of
// each. When a user has used a key before, also in this call, the order is not written and the earlier one is returned,
// unless that one freed its key: it was abandoned or rejected. Then the orders concerned are inserted once more.
//
// Errors are those of database.InTx, in the results after the first transaction; after database.ErrCommitUnknown the
// orders may be there, and the sweeper ends them.
func (s *Store) Insert(ctx context.Context, orders []order.Order) ([]Inserted, error) {
	results := make([]Inserted, len(orders))
	places := make([]int, len(orders)) // in results, of the orders that are still to be inserted
	for i := range orders {
		places[i] = i
	}
	// Two replicas that insert the same keys wait for each other in one order: there is no deadlock. The first of equal
	// keys is the one that came first.
	slices.SortStableFunc(places, func(i, j int) int {
		return strings.Compare(sortKey(orders[i]), sortKey(orders[j]))
	})
	for try := 0; try < insertTries && len(places) > 0; try++ {
		rest, err := s.insertAt(ctx, orders, places, results)
		switch {
		case err != nil && try == 0:
			return nil, err
		case err != nil:
			for _, i := range rest {
				results[i] = Inserted{Err: err}
			}
			return results, nil
		}
		places = rest
	}
	for _, i := range places {
		results[i] = Inserted{Err: database.ErrContended} // the key's orders were rejected or abandoned each time
	}
	return results, nil
}

// sortKey is in the order of the unique index: no user has the separator in the name.
func sortKey(o order.Order) string { return o.UserID + "\x00" + o.IdempotencyKey }

// insertAt inserts the orders at places and returns the places of those whose key became free meanwhile.
func (s *Store) insertAt(ctx context.Context, orders []order.Order, places []int, results []Inserted) (again []int, err error) {
	batch := make([]order.Order, len(places))
	for n, i := range places {
		batch[n] = orders[i]
	}
	known, err := s.insert(ctx, batch)
	if err != nil {
		return places, err
	}
	inserted := 0
	for n, i := range places {
		o, duplicate := known[batch[n].OrderNo]
		switch {
		case !duplicate:
			inserted++
		case o.OrderNo == "":
			again = append(again, i)
		case o.Status == order.Abandoned:
			if err := s.freeKey(ctx, o.OrderNo); err != nil {
				results[i] = Inserted{Err: err}
				continue
			}
			again = append(again, i)
		default:
			results[i] = Inserted{Known: o}
		}
	}
	s.count(order.Pending, inserted)
	return again, nil
}

// insert is the transaction. It returns, by the numbers of the orders that it did not insert, the orders that have
// their keys; a zero order when there is none any more.
func (s *Store) insert(ctx context.Context, orders []order.Order) (known map[string]order.Order, err error) {
	numbers := make([]string, len(orders))
	args := make([]any, len(orders))
	for i, o := range orders {
		numbers[i], args[i] = o.OrderNo, o.OrderNo
	}
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		affected, err := insertRows(tx, orders)
		if err != nil {
			return err
		}
		fresh := orders
		if affected < int64(len(orders)) {
			if fresh, known, err = duplicates(tx, orders, numbers); err != nil {
				return err
			}
		} else {
			known = nil
		}
		if len(fresh) == 0 {
			return nil
		}
		if err := insertItems(tx, fresh); err != nil || s.flows == nil {
			return err
		}
		return s.flows.Begin(&Tx{tx}, fresh)
	}, database.SettleBy("SELECT order_no FROM orders WHERE order_no IN ("+marks(len(args))+") FOR UPDATE", args...))
	return known, err
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

func insertRows(tx *gorm.DB, orders []order.Order) (affected int64, err error) {
	args := make([]any, 0, 8*len(orders))
	for _, o := range orders {
		args = append(args, o.OrderNo, o.GroupID, o.UserID, o.IdempotencyKey, o.RequestHash, order.Pending, o.Flow, o.Strategy)
	}
	const row = "(?, ?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6)), "
	res := tx.Exec(`INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_hash, status, flow, strategy, created_at, updated_at)
		VALUES `+strings.TrimSuffix(strings.Repeat(row, len(orders)), ", ")+" ON DUPLICATE KEY UPDATE order_no = order_no", args...)
	if res.Error != nil {
		return 0, fmt.Errorf("insert orders: %w", res.Error)
	}
	return res.RowsAffected, nil
}

// duplicates divides orders into those that this transaction inserted and those whose keys others have.
func duplicates(tx *gorm.DB, orders []order.Order, numbers []string) (fresh []order.Order, known map[string]order.Order, err error) {
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
	holders, err := many(tx, strings.Join(keys, " OR "), args...)
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

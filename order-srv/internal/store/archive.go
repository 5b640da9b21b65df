package store

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
)

// archiveColumns are the columns of a record that the archive has. The answer to a repeat of the request was not kept.
const archiveColumns = `order_no, group_id, user_id, idempotency_key, NULL AS freed_key, '' AS request_hash, 0 AS response_status,
	NULL AS response_body, status, reason, amount_cents, flow, strategy, created_at, updated_at, expires_at, paid_at, settled_at`

// archivedItems reads items wherever they are: those of an order that is just being archived are in one of the tables.
const archivedItems = itemsQuery + ` UNION ALL SELECT order_no, sku, COALESCE(title, '') AS title, quantity,
	COALESCE(unit_price_cents, 0) AS unit_price_cents FROM order_items_archive WHERE order_no IN ?`

// live and archived read orders of orders, and of the archive; rest is what follows the table in the statement. The
// items come from both.
func live(db *gorm.DB, rest string, args ...any) ([]order.Order, error) {
	return read(db, "SELECT "+columns+" FROM orders "+rest, archivedItems, args)
}

func archived(db *gorm.DB, rest string, args ...any) ([]order.Order, error) {
	return read(db, "SELECT "+archiveColumns+" FROM orders_archive "+rest, archivedItems, args)
}

// ofUser returns a user's own order, archived or not, or order.ErrNotFound.
func ofUser(db *gorm.DB, userID, orderNo string) (order.Order, error) {
	for _, from := range []func(*gorm.DB, string, ...any) ([]order.Order, error){live, archived} {
		found, err := from(db, "WHERE order_no = ? AND user_id = ?", orderNo, userID)
		if err != nil {
			return order.Order{}, err
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return order.Order{}, order.ErrNotFound
}

// archivedOwners adds those of the orders that the archive has.
func (s *Store) archivedOwners(ctx context.Context, orderNos []string, owners map[string]Owner) error {
	var missing []string
	for _, no := range orderNos {
		if _, there := owners[no]; !there {
			missing = append(missing, no)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var rows []Owner
	err := s.db.WithContext(ctx).Raw("SELECT order_no, status, settled_at IS NOT NULL AS settled FROM orders_archive WHERE order_no IN ?", missing).Scan(&rows).Error
	if err != nil {
		return fmt.Errorf("find the archived orders of reservations: %w", err)
	}
	for _, r := range rows {
		owners[r.OrderNo] = r
	}
	return nil
}

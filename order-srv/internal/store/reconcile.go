package store

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/database"
)

// What the reconciler notes about orders that inventory knows and orders does not, or no longer.
const (
	actionReportedSold = "reported the sold units of"
	actionUnknown      = "released the unknown units of"
)

// Owner is what orders has of an order for which inventory holds units.
type Owner struct {
	OrderNo string
	Status  order.Status
	Settled bool // inventory is known to agree
}

// Owners returns those of the orders that there are, archived or not.
func (s *Store) Owners(ctx context.Context, orderNos []string) (map[string]Owner, error) {
	owners := make(map[string]Owner, len(orderNos))
	if len(orderNos) == 0 {
		return owners, nil
	}
	var rows []Owner
	err := s.db.WithContext(ctx).Raw("SELECT order_no, status, settled_at IS NOT NULL AS settled FROM orders WHERE order_no IN ?", orderNos).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("find the orders of reservations: %w", database.Fault(err))
	}
	for _, r := range rows {
		owners[r.OrderNo] = r
	}
	// Read after orders: an order that is being archived is in one of them.
	return owners, database.Fault(s.archivedOwners(ctx, orderNos, owners))
}

// ReportSold notes that units count as sold for an order that does not have them. first is true for the first report of
// the order, by any replica.
func (s *Store) ReportSold(ctx context.Context, orderNo string) (first bool, err error) {
	return s.note(ctx, orderNo, actionReportedSold)
}

// NoteReleased notes that the reconciler released units that no order had. first is true for the first note of the
// order, by any replica.
func (s *Store) NoteReleased(ctx context.Context, orderNo string) (first bool, err error) {
	return s.note(ctx, orderNo, actionUnknown)
}

func (s *Store) note(ctx context.Context, orderNo, action string) (first bool, err error) {
	err = database.InTx(ctx, s.db, func(tx *gorm.DB) error {
		n, err := heal(tx, Reconciler, action, orderNo)
		first = n > 0
		return err
	})
	return first && err == nil, err
}

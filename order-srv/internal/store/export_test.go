package store

import (
	"time"

	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
)

// Change is a step of the status machine, without what its callers add.
func Change(tx *gorm.DB, from, to order.Status, orderNo string) (won int64, err error) {
	return change{from: from, to: to}.apply(tx, orderNo)
}

// HealerQueries are the statements by which the healers find orders, with arguments.
func HealerQueries() map[string][]any {
	since := time.Unix(0, 0)
	return map[string][]any{
		dueOrders:    {since, since, "", 0, 500},
		stalePending: {"", "7Z"},
	}
}

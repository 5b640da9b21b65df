package store

import (
	"gorm.io/gorm"

	"holdfast/order-srv/internal/order"
)

// Change is a step of the status machine, without what its callers add.
func Change(tx *gorm.DB, from, to order.Status, orderNo string) (won int64, err error) {
	return change{from: from, to: to}.apply(tx, orderNo)
}

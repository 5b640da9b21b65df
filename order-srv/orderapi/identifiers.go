package orderapi

import "holdfast/order-srv/internal/order"

// CheckUser returns ErrInvalidUser for what cannot be a user's name.
func CheckUser(id string) error { return order.CheckUser(id) }

// CheckKey returns ErrMissingKey or ErrInvalidKey for what cannot be an idempotency key.
func CheckKey(key string) error { return order.CheckKey(key) }

// CheckOrderNo returns ErrNotFound for what cannot be an order number.
func CheckOrderNo(orderNo string) error { return order.CheckNumber(orderNo) }

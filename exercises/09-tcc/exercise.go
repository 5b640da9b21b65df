// Package exercise is exercise 9, the wallet of a TCC transaction. Read task.md first.
//
//	wallets (user_id, available, frozen)          cents
//	freezes (order_no PRIMARY KEY, user_id, cents, state)
//
// The states of a freeze are yours to name. The coordinator repeats each call until it is answered, and the network may
// bring a call late.
package exercise

import (
	"context"
	"errors"

	"gorm.io/gorm"
)

// What Try refuses.
var (
	ErrInsufficientFunds = errors.New("insufficient funds")
	ErrClosed            = errors.New("the order is closed") // also what Confirm refuses
)

// Try sets cents of the user aside for an order: available becomes less, frozen becomes more. It returns
// ErrInsufficientFunds when there is not enough, and ErrClosed when the order was cancelled.
func Try(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
	return nil
}

// Confirm pays what is frozen for the order. It returns ErrClosed when the order was cancelled.
func Confirm(ctx context.Context, db *gorm.DB, orderNo string) error {
	return nil
}

// Cancel gives back what is frozen for the order. It may come before Try, or without one.
func Cancel(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error {
	return nil
}

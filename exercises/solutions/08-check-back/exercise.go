// Package exercise is a solution of exercise 8: the answer comes from the database, and an order without a row is
// undecided until its local transaction can no longer commit.
package exercise

import (
	"context"
	"time"

	"gorm.io/gorm"
)

// The answers to the broker.
const (
	Commit   = "COMMIT"   // the order exists: deliver the message
	Rollback = "ROLLBACK" // the order does not exist and never will: drop the message
	Unknown  = "UNKNOWN"  // it is not decided yet: ask again
)

// localTime is how long the local transaction of Place may take. Its context ends then, and the database rolls back.
const localTime = 10 * time.Second

// Sender is one replica of the service that places orders.
type Sender struct {
	db *gorm.DB
}

// New returns a replica.
func New(db *gorm.DB) *Sender { return &Sender{db: db} }

// Place is the local transaction: it writes the order.
func (s *Sender) Place(ctx context.Context, orderNo string) error {
	ctx, cancel := context.WithTimeout(ctx, localTime)
	defer cancel()
	return s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		return tx.Exec("INSERT INTO orders (order_no, status) VALUES (?, 'PLACED')", orderNo).Error
	})
}

// CheckBack answers from the order's row: the process that sent the message may be dead.
func (s *Sender) CheckBack(ctx context.Context, orderNo string, age time.Duration) (string, error) {
	var rows int64
	err := s.db.WithContext(ctx).
		Raw("SELECT COUNT(*) FROM orders WHERE order_no = ? AND status = 'PLACED'", orderNo).
		Scan(&rows).Error
	switch {
	case err != nil:
		return Unknown, err // a failure says nothing about the order
	case rows > 0:
		return Commit, nil
	case age < 2*localTime:
		return Unknown, nil // the INSERT may be on its way, or written by a transaction that has not committed
	}
	return Rollback, nil
}

// Package exercise remembers what it has placed.
package exercise

import (
	"context"
	"sync"
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

	mu     sync.Mutex
	placed map[string]bool
}

// New returns a replica.
func New(db *gorm.DB) *Sender { return &Sender{db: db, placed: map[string]bool{}} }

// Place is the local transaction: it writes the order.
func (s *Sender) Place(ctx context.Context, orderNo string) error {
	ctx, cancel := context.WithTimeout(ctx, localTime)
	defer cancel()
	err := s.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		return tx.Exec("INSERT INTO orders (order_no, status) VALUES (?, 'PLACED')", orderNo).Error
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.placed[orderNo] = err == nil
	return err
}

// CheckBack answers without a query: the broker asks about many messages.
func (s *Sender) CheckBack(_ context.Context, orderNo string, age time.Duration) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.placed[orderNo]:
		return Commit, nil
	case age < 2*localTime:
		return Unknown, nil
	}
	return Rollback, nil
}

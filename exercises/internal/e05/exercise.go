// Package e05 checks exercise 5: the fencing claim, by which a row refuses a holder whose lease has ended.
//
// Two holders sell from one row. The second takes the lock when the key of the first has expired. Each statement of the
// learner's Sell is a step, and the expiry can come between any two.
package e05

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
	"holdfast/exercises/internal/trial"
)

//go:embed texts/*.json
var texts embed.FS

// Texts returns the texts of the exercise.
func Texts() fs.FS { return texts }

// Lease is the lock that the caller of Sell has taken.
type Lease interface {
	Token() int64
	Held(ctx context.Context) (bool, error)
}

// Learner is the learner's file.
type Learner struct {
	Sell                    func(ctx context.Context, db *gorm.DB, sku string, qty int, lease Lease) error
	ErrOutOfStock, ErrStale error
}

const (
	schema = `CREATE TABLE stock (
		sku       VARCHAR(32) NOT NULL PRIMARY KEY,
		available INT         NOT NULL,
		fence     BIGINT      NOT NULL DEFAULT 0
	)`
	sku        = "SKU-1"
	plenty     = 10 // units
	lastToken  = 32 // before a run
	firstToken = lastToken + 1
)

// Exercise returns the check of a sale.
func Exercise(l Learner) trial.Exercise {
	return trial.Exercise{Number: 5, Checks: []trial.Check{
		{Name: "e05.lost", Find: explored(l, twoHolders(judgeStock))},
		{Name: "e05.stale", Find: explored(l, twoHolders(judgeRefusals))},
		{Name: "e05.once", Find: explored(l, oneLeaseTwice)},
		{Name: "e05.sold-out", Find: explored(l, soldOut)},
	}}
}

func explored(l Learner, scenario func(w *world) explore.Scenario) func(context.Context, *trial.Servers) (*explore.Finding, error) {
	return func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
		db, err := s.Database(ctx, schema)
		if err != nil {
			return nil, err
		}
		client, prefix, err := s.Redis(ctx)
		if err != nil {
			return nil, err
		}
		w := &world{learner: l, db: db, redis: client, lock: prefix + "lock:" + sku, counter: prefix + "token"}
		return explore.Explore(ctx, scenario(w), explore.Limits{})
	}
}

// world is one stock row, and one lock on it.
type world struct {
	learner       Learner
	db            *gorm.DB      // its statements are no steps
	redis         *redis.Client // as above
	lock, counter string        // keys
	available     int           // units before the run
	sellers       []*seller
}

// row is the stock row.
type row struct {
	Available int
	Fence     int64
}

// reset begins a run: the lock is free, and the row has seen no token.
func (w *world) reset(ctx context.Context, available int) error {
	w.available, w.sellers = available, nil
	db := w.db.WithContext(ctx)
	return errors.Join(
		db.Exec("DELETE FROM stock").Error,
		db.Exec("INSERT INTO stock (sku, available) VALUES (?, ?)", sku, available).Error,
		w.redis.Del(ctx, w.lock).Err(),
		w.redis.Set(ctx, w.counter, lastToken, 0).Err(),
	)
}

func (w *world) look(ctx context.Context) (row, error) {
	var r row
	err := w.db.WithContext(ctx).Raw("SELECT available, fence FROM stock WHERE sku = ?", sku).Scan(&r).Error
	return r, err
}

// seller is a holder of the lock that sells.
type seller struct {
	name  string
	qty   int   // units that it wants to sell
	token int64 // 0: it did not get the lock
	sold  bool  // Sell returned nil
	err   error // of Sell
}

func (w *world) seller(name string, qty int) *seller {
	s := &seller{name: name, qty: qty}
	w.sellers = append(w.sellers, s)
	return s
}

// acquire takes the lock, if it is free, and draws a token. late: the key of the holder before has expired.
func (w *world) acquire(ctx context.Context, h *explore.Handle, s *seller, late bool) error {
	does := fmt.Sprintf("SET %s %s NX; INCR %s", w.lock, s.name, w.counter)
	if late {
		does = fmt.Sprintf("(%s expires) %s", w.lock, does)
	}
	return h.Step(ctx, does, func(ctx context.Context) (string, error) {
		if late {
			if err := w.redis.Del(ctx, w.lock).Err(); err != nil {
				return "", err
			}
		}
		taken, err := w.redis.SetNX(ctx, w.lock, s.name, 0).Result()
		if err != nil || !taken {
			return "nil", err
		}
		s.token, err = w.redis.Incr(ctx, w.counter).Result()
		return fmt.Sprintf("OK, token %d", s.token), err
	})
}

// sell calls the learner's Sell.
func (w *world) sell(ctx context.Context, h *explore.Handle, s *seller) error {
	held := &lease{token: s.token, owner: s.name, key: w.lock, client: h.Redis(w.redis)}
	s.err = w.learner.Sell(ctx, h.DB(w.db), sku, s.qty, held)
	s.sold = s.err == nil
	return s.err
}

// lease implements Lease.
type lease struct {
	token      int64
	owner, key string
	client     *redis.Client
}

// Token implements Lease.
func (l *lease) Token() int64 { return l.token }

// Held implements Lease.
func (l *lease) Held(ctx context.Context) (bool, error) {
	owner, err := l.client.Get(ctx, l.key).Result()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return owner == l.owner, err
}

// args are the values for the placeholders of a text.
type args []any

// finding returns the finding with its three texts.
func finding(id string, what, why, do args) *explore.Finding {
	return judge.FindingIn("e05", id, what, why, do)
}

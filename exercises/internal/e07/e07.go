// Package e07 checks exercise 7, an outbox relay. Broker and writers are actors of the check: the broker refuses
// messages as one that is down or full does, the writers commit in another order than they insert, and the relay is
// killed.
package e07

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"gorm.io/gorm"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/trial"
)

//go:embed texts/*.json
var texts embed.FS

// Texts are the texts of the exercise.
func Texts() fs.FS { return texts }

// Relay is the learner's relay.
type Relay func(ctx context.Context, db *gorm.DB, send func(ctx context.Context, orderNo, body string) error) error

const (
	passes = 2 // of a relay that is not killed

	schema = `CREATE TABLE orders (order_no VARCHAR(16) NOT NULL PRIMARY KEY, status VARCHAR(16) NOT NULL);
CREATE TABLE outbox (
  id       BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  order_no VARCHAR(16) NOT NULL,
  body     VARCHAR(32) NOT NULL,
  sent_at  DATETIME(6) NULL,
  KEY outbox_unsent (sent_at, id))`
)

// message is what an order announces: its number, a space and what happened to it.
type message string

// The messages of a run. The first two are of one order: the broker must have them in this order.
const (
	created message = "ORD-1 created"
	paid    message = "ORD-1 paid"
	other   message = "ORD-2 created"
)

// parts are the columns of a message.
func (m message) parts() (orderNo, body string) {
	orderNo, body, _ = strings.Cut(string(m), " ")
	return orderNo, body
}

// refusal is how often the broker refuses a message.
type refusal map[message]int

const always = 1 << 30

var errRefused = errors.New("the broker has not stored the message")

// check is one situation.
type check struct {
	name     string
	written  []message // committed before the relay starts
	refuses  refusal
	deaths   int
	actors   func(w *world) []explore.Actor
	expected []message
}

// Exercise is the check of a relay.
func Exercise(relay Relay) trial.Exercise {
	all := []message{created, other, paid}
	checks := []check{
		{name: "calm", written: all, expected: all, actors: func(w *world) []explore.Actor { return []explore.Actor{w.relay("R", passes)} }},
		{name: "dies", written: all, expected: all, deaths: 1, actors: func(w *world) []explore.Actor {
			return []explore.Actor{w.relay("R", 1), w.relay("R2", 1, "R")}
		}},
		{name: "late-commit", expected: []message{created, other}, actors: func(w *world) []explore.Actor {
			return []explore.Actor{w.writer("W1", created), w.writer("W2", other), w.relay("R", 1), w.relay("R2", 1, "W1", "W2", "R")}
		}},
		{name: "refused", written: all, expected: all, refuses: refusal{created: 1}, actors: func(w *world) []explore.Actor {
			return []explore.Actor{w.relay("R", passes)}
		}},
		{name: "poison", written: all, expected: []message{other}, refuses: refusal{created: always}, actors: func(w *world) []explore.Actor {
			return []explore.Actor{w.relay("R", passes)}
		}},
	}
	e := trial.Exercise{Number: 7}
	for _, c := range checks {
		e.Checks = append(e.Checks, trial.Check{Name: "check." + c.name, Find: func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
			db, err := s.Database(ctx, schema)
			if err != nil {
				return nil, err
			}
			w := &world{db: db, learner: relay, check: c}
			return explore.Explore(ctx, explore.Scenario{Open: w.open, Judge: w.judge, Deaths: c.deaths}, limits())
		}})
	}
	return e
}

// limits bound each check. The mistakes that are known need one switch or one death; the schedules beyond are for those
// that are not.
func limits() explore.Limits { return explore.Limits{Runs: 60, Switches: 2} }

// world is the database and the broker of one check.
type world struct {
	db      *gorm.DB
	learner Relay
	check   check

	mu      sync.Mutex
	refuse  refusal   // what is left of the check's refusals
	stored  []message // by the broker, in its order; a repeat is there again
	failure error     // of the last pass
}

// open brings the data to the state before the relay starts.
func (w *world) open(ctx context.Context) ([]explore.Actor, error) {
	w.mu.Lock()
	w.refuse, w.stored, w.failure = refusal{}, nil, nil
	for m, n := range w.check.refuses {
		w.refuse[m] = n
	}
	w.mu.Unlock()
	for _, statement := range []string{"DELETE FROM orders", "TRUNCATE TABLE outbox"} { // TRUNCATE: the ids start at 1
		if err := w.db.WithContext(ctx).Exec(statement).Error; err != nil {
			return nil, fmt.Errorf("reset the tables: %w", err)
		}
	}
	for _, m := range w.check.written {
		if err := write(w.db.WithContext(ctx), m); err != nil {
			return nil, err
		}
	}
	return w.check.actors(w), nil
}

func write(db *gorm.DB, m message) error {
	orderNo, body := m.parts()
	err := db.Exec("INSERT INTO outbox (order_no, body) VALUES (?, ?)", orderNo, body).Error
	if err != nil {
		return fmt.Errorf("write the message %s: %w", m, err)
	}
	return nil
}

// writer places an order: the order and its message in one transaction.
func (w *world) writer(name string, m message) explore.Actor {
	return explore.Actor{Name: name, Run: func(ctx context.Context, h *explore.Handle) error {
		return h.DB(w.db).WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			orderNo, _ := m.parts()
			if err := tx.Exec("INSERT INTO orders (order_no, status) VALUES (?, 'PLACED')", orderNo).Error; err != nil {
				return err
			}
			return write(tx, m)
		})
	}}
}

// relay is a process with the learner's relay, which makes so many passes. It starts when the actors after have ended.
func (w *world) relay(name string, passes int, after ...string) explore.Actor {
	return explore.Actor{Name: name, After: after, Run: func(ctx context.Context, h *explore.Handle) error {
		for range passes {
			err := w.learner(ctx, h.DB(w.db), func(ctx context.Context, orderNo, body string) error {
				return w.send(ctx, h, message(orderNo+" "+body))
			})
			if errors.Is(err, explore.ErrDied) {
				return err
			}
			w.mu.Lock()
			w.failure = err
			w.mu.Unlock()
		}
		return nil
	}}
}

// send is the broker.
func (w *world) send(ctx context.Context, h *explore.Handle, m message) error {
	return h.Step(ctx, "SEND "+string(m), func(context.Context) (string, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.refuse[m] > 0 {
			w.refuse[m]--
			return "refused", errRefused
		}
		w.stored = append(w.stored, m)
		return "stored", nil
	})
}

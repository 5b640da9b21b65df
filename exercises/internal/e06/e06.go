// Package e06 checks exercise 6, an idempotent consumer. The broker is an actor of the check: it delivers a message to
// two consumers at the same time, again after a death or an error, and an order that was sent twice as two messages. A
// real broker does all of it.
package e06

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
	"holdfast/exercises/internal/judge"
	"holdfast/exercises/internal/trial"
)

//go:embed texts/*.json
var texts embed.FS

// Texts are the texts of the exercise.
func Texts() fs.FS { return texts }

// Message is what the broker delivers.
type Message = struct {
	ID      string
	OrderNo string
	SKU     string
	Qty     int
}

// Handler is the learner's consumer.
type Handler func(ctx context.Context, db *gorm.DB, m Message, ack func(ctx context.Context) error) error

const (
	inStock = 10
	ordered = 3

	// deliveries is how often a consumer gets the message before the run gives up.
	deliveries = 4

	stock = "CREATE TABLE stock (sku VARCHAR(32) NOT NULL PRIMARY KEY, available INT NOT NULL)"
)

// Exercise is the check of a consumer and of the tables that it needs.
func Exercise(schema string, handle Handler) trial.Exercise {
	check := func(name string, deaths int, consumers func(w *world) []explore.Actor) trial.Check {
		return trial.Check{Name: "check." + name, Find: func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
			w, finding, err := open(ctx, s, schema, handle)
			if err != nil || finding != nil {
				return finding, err
			}
			return explore.Explore(ctx, explore.Scenario{
				Open: func(ctx context.Context) ([]explore.Actor, error) {
					if err := w.reset(ctx); err != nil {
						return nil, err
					}
					return consumers(w), nil
				},
				Judge: w.judge, Deaths: deaths,
			}, limits())
		}}
	}
	m1, m2 := message("M-1"), message("M-2")
	return trial.Exercise{Number: 6, Checks: []trial.Check{
		check("one", 0, func(w *world) []explore.Actor { return []explore.Actor{w.consumer("A", m1)} }),
		check("again", 0, func(w *world) []explore.Actor { return []explore.Actor{w.consumer("A", m1), w.late("B", m1)} }),
		check("both", 0, func(w *world) []explore.Actor { return []explore.Actor{w.consumer("A", m1), w.consumer("B", m1)} }),
		check("dies", 1, func(w *world) []explore.Actor { return []explore.Actor{w.consumer("A", m1), w.consumer("B", m1)} }),
		check("sent-twice", 0, func(w *world) []explore.Actor { return []explore.Actor{w.consumer("A", m1), w.consumer("B", m2)} }),
	}}
}

// limits bound each check. The mistakes that are known need one switch or one death; the schedules beyond are for those
// that are not.
func limits() explore.Limits { return explore.Limits{Runs: 60, Switches: 2} }

func message(id string) Message {
	return Message{ID: id, OrderNo: "ORD-1", SKU: "book", Qty: ordered}
}

// world is the database and the broker of one check.
type world struct {
	db     *gorm.DB
	handle Handler
	others []string // the learner's tables

	mu       sync.Mutex
	sent     map[string]bool // messages by their ID, and whether they are acknowledged
	failures []error         // what the handler returned to the broker
}

// open creates the tables. A finding: those of the learner cannot be created.
func open(ctx context.Context, s *trial.Servers, schema string, handle Handler) (*world, *explore.Finding, error) {
	db, err := s.Database(ctx, stock)
	if err != nil {
		return nil, nil, err
	}
	for statement := range strings.SplitSeq(schema, ";") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if err := db.WithContext(ctx).Exec(statement).Error; err != nil {
			f := judge.Finding("schema", []any{err.Error()}, []any{strings.Join(strings.Fields(statement), " ")})
			f.Steps = []explore.Step{}
			return nil, f, nil
		}
	}
	w := &world{db: db, handle: handle}
	err = db.WithContext(ctx).Raw("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name <> 'stock'").Scan(&w.others).Error
	return w, nil, err
}

// reset brings the data to the state before the first delivery.
func (w *world) reset(ctx context.Context) error {
	w.mu.Lock()
	w.sent, w.failures = map[string]bool{}, nil
	w.mu.Unlock()
	statements := []string{fmt.Sprintf("REPLACE INTO stock (sku, available) VALUES ('book', %d)", inStock)}
	for _, name := range w.others {
		statements = append(statements, "DELETE FROM `"+name+"`")
	}
	for _, s := range statements {
		if err := w.db.WithContext(ctx).Exec(s).Error; err != nil {
			return fmt.Errorf("reset the tables: %w", err)
		}
	}
	return nil
}

// consumer receives a message until it is acknowledged.
func (w *world) consumer(name string, m Message) explore.Actor {
	w.send(m)
	return explore.Actor{Name: name, Run: func(ctx context.Context, h *explore.Handle) error { return w.consume(ctx, h, m) }}
}

// late is a consumer that gets the message once more, after A has handled it: the acknowledgement was lost.
func (w *world) late(name string, m Message) explore.Actor {
	return explore.Actor{Name: name, After: []string{"A"}, Run: func(ctx context.Context, h *explore.Handle) error {
		err := h.Step(ctx, "LOSE the ACK of "+m.ID, func(context.Context) (string, error) {
			w.send(m)
			return "", nil
		})
		if err != nil {
			return err
		}
		return w.consume(ctx, h, m)
	}}
}

func (w *world) consume(ctx context.Context, h *explore.Handle, m Message) error {
	for range deliveries {
		done, err := w.receive(ctx, h, m)
		if err != nil || done {
			return err
		}
		if err := w.deliver(ctx, h, m); errors.Is(err, explore.ErrDied) {
			return err
		}
		if w.acked(m) {
			return nil
		}
	}
	return nil
}

func (w *world) acked(m Message) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent[m.ID]
}

// send has the broker deliver a message until it is acknowledged.
func (w *world) send(m Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent[m.ID] = false
}

// receive asks the broker for the message; done reports that it is acknowledged.
func (w *world) receive(ctx context.Context, h *explore.Handle, m Message) (done bool, err error) {
	err = h.Step(ctx, "RECEIVE "+m.ID, func(context.Context) (string, error) {
		if done = w.acked(m); done {
			return "nothing", nil
		}
		return fmt.Sprintf("%s: %d x %s", m.OrderNo, m.Qty, m.SKU), nil
	})
	return done, err
}

// deliver has the learner's code handle a delivery.
func (w *world) deliver(ctx context.Context, h *explore.Handle, m Message) error {
	ack := func(ctx context.Context) error {
		return h.Step(ctx, "ACK "+m.ID, func(context.Context) (string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.sent[m.ID] = true
			return "", nil
		})
	}
	err := w.handle(ctx, h.DB(w.db), m, ack)
	if err != nil && !errors.Is(err, explore.ErrDied) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failures = append(w.failures, err)
	}
	return err
}

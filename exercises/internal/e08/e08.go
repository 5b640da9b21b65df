// Package e08 checks exercise 8, the check-back of a transactional message. The broker is an actor of the check: it
// asks any replica, at any time, and again when the answer was UNKNOWN. A real broker does so, too.
package e08

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"gorm.io/driver/mysql"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/trial"
)

//go:embed texts/*.json
var texts embed.FS

// Texts are the texts of the exercise.
func Texts() fs.FS { return texts }

// Sender is the learner's service that places orders, one replica of it.
type Sender interface {
	Place(ctx context.Context, orderNo string) error
	CheckBack(ctx context.Context, orderNo string, age time.Duration) (string, error)
}

// The answers to the broker.
const (
	commit   = "COMMIT"
	rollback = "ROLLBACK"
	unknown  = "UNKNOWN"
)

const (
	orderNo = "ORD-1"
	broker  = "broker"

	early = 9 * time.Second  // the age of a half message whose local transaction may still be open
	late  = 60 * time.Second // and of one whose local transaction has ended, by a COMMIT or not

	schema = "CREATE TABLE orders (order_no VARCHAR(16) NOT NULL PRIMARY KEY, status VARCHAR(16) NOT NULL)"
)

// check is one situation.
type check struct {
	name    string
	deaths  int
	written bool // the broker asks early only when A has written the row, committed or not
	actors  func(w *world) []explore.Actor
}

// Exercise is the check of a service whose replicas come from replica.
func Exercise(replica func(db *gorm.DB) Sender) trial.Exercise {
	checks := []check{
		{name: "itself", actors: func(w *world) []explore.Actor { return []explore.Actor{half(), w.places("A", late)} }},
		{name: "another", actors: func(w *world) []explore.Actor {
			return []explore.Actor{half(), w.ended("A", true), w.asked("B", late, "A")}
		}},
		{name: "rolled-back", actors: func(w *world) []explore.Actor {
			return []explore.Actor{half(), w.ended("A", false), w.asked("B", late, "A")}
		}},
		{name: "open", written: true, actors: func(w *world) []explore.Actor {
			return []explore.Actor{half(), w.places("A", 0), w.asked("B", early, broker), w.asked("C", late, "A", "B")}
		}},
		{name: "any-time", deaths: 1, actors: func(w *world) []explore.Actor {
			return []explore.Actor{half(), w.places("A", 0), w.asked("B", early, broker), w.asked("C", late, "A", "B")}
		}},
		{name: "away", actors: func(w *world) []explore.Actor { return []explore.Actor{half(), w.cut("B")} }},
	}
	e := trial.Exercise{Number: 8}
	for _, c := range checks {
		e.Checks = append(e.Checks, trial.Check{Name: "check." + c.name, Find: func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
			db, err := s.Database(ctx, schema)
			if err != nil {
				return nil, err
			}
			w := &world{db: db, replica: replica, check: c}
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
	replica func(db *gorm.DB) Sender
	check   check

	mu      sync.Mutex
	answers []answer
}

// answer is what the broker was answered.
type answer struct {
	actor string
	state string
	err   error
	age   time.Duration
}

// open brings the data to the state before the half message.
func (w *world) open(ctx context.Context) ([]explore.Actor, error) {
	w.mu.Lock()
	w.answers = nil
	w.mu.Unlock()
	if err := w.db.WithContext(ctx).Exec("DELETE FROM orders").Error; err != nil {
		return nil, fmt.Errorf("reset the tables: %w", err)
	}
	return w.check.actors(w), nil
}

// half is the broker, which stores the half message: it is sent before anything else happens.
func half() explore.Actor {
	return explore.Actor{Name: broker, Run: func(ctx context.Context, h *explore.Handle) error {
		return h.Step(ctx, "HALF "+orderNo, func(context.Context) (string, error) { return "stored", nil })
	}}
}

// places is a replica that has sent the half message and executes its local transaction. Unless age is 0 it is then
// asked itself.
func (w *world) places(name string, age time.Duration) explore.Actor {
	return explore.Actor{Name: name, After: []string{broker}, Run: func(ctx context.Context, h *explore.Handle) error {
		s := w.replica(h.DB(w.db))
		if err := s.Place(ctx, orderNo); err != nil || age == 0 {
			return err
		}
		return w.ask(ctx, h, s, name, age)
	}}
}

var errRolledBack = errors.New("rolled back")

// ended is a replica that has ended its local transaction and then died: what it knew is gone. Its statements are the
// check's own.
func (w *world) ended(name string, committed bool) explore.Actor {
	return explore.Actor{Name: name, After: []string{broker}, Run: func(ctx context.Context, h *explore.Handle) error {
		err := h.DB(w.db).WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			err := tx.Exec("INSERT INTO orders (order_no, status) VALUES (?, 'PLACED')", orderNo).Error
			if err == nil && !committed {
				err = errRolledBack
			}
			return err
		})
		if err != nil && !errors.Is(err, errRolledBack) {
			return err
		}
		return h.Step(ctx, "EXIT", func(context.Context) (string, error) { return "", nil })
	}}
}

// asked is another replica that the broker asks.
func (w *world) asked(name string, age time.Duration, after ...string) explore.Actor {
	return explore.Actor{Name: name, After: after, Run: func(ctx context.Context, h *explore.Handle) error {
		if w.decided() {
			return nil // the broker asks no more
		}
		return w.ask(ctx, h, w.replica(h.DB(w.db)), name, age)
	}}
}

// cut is a replica whose database does not answer. Its statements reach nothing, and are no steps.
func (w *world) cut(name string) explore.Actor {
	return explore.Actor{Name: name, After: []string{broker}, Run: func(ctx context.Context, h *explore.Handle) error {
		away, err := gorm.Open(mysql.New(mysql.Config{Conn: sql.OpenDB(refusing{}), SkipInitializeWithVersion: true}),
			&gorm.Config{DisableAutomaticPing: true, Logger: logger.Discard})
		if err != nil {
			return fmt.Errorf("open a database that does not answer: %w", err)
		}
		return w.ask(ctx, h, w.replica(away), name, late)
	}}
}

// refusing is a database server that refuses each connection.
type refusing struct{}

// Connect implements driver.Connector.
func (refusing) Connect(context.Context) (driver.Conn, error) {
	return nil, errors.New("connect: connection refused")
}

// Driver implements driver.Connector.
func (refusing) Driver() driver.Driver { return nil }

func question(age time.Duration) string {
	return "CHECK " + orderNo + ", sent " + seconds(age) + " ago"
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }

// ask is the broker's question: a step, the learner's statements, and a step with the answer.
func (w *world) ask(ctx context.Context, h *explore.Handle, s Sender, name string, age time.Duration) error {
	asked := true
	err := h.Step(ctx, question(age), func(ctx context.Context) (string, error) {
		if !w.check.written || age != early {
			return "", nil
		}
		var err error
		asked, err = w.written(ctx)
		return "", err
	})
	if err != nil || !asked {
		return err
	}
	state, err := s.CheckBack(ctx, orderNo, age)
	if errors.Is(err, explore.ErrDied) {
		return err
	}
	return h.Step(ctx, "ANSWER "+said(state, err), func(context.Context) (string, error) {
		w.note(answer{actor: name, state: state, err: err, age: age})
		return "", nil
	})
}

// written reports whether the order's row is there, committed or not.
func (w *world) written(ctx context.Context) (there bool, err error) {
	tx := w.db.WithContext(ctx).Begin(&sql.TxOptions{Isolation: sql.LevelReadUncommitted})
	defer tx.Rollback()
	if tx.Error != nil {
		return false, tx.Error
	}
	err = tx.Raw("SELECT EXISTS (SELECT 1 FROM orders WHERE order_no = ?)", orderNo).Row().Scan(&there)
	return there, err
}

// said is an answer as the broker gets it: with an error it gets none.
func said(state string, err error) string {
	if err != nil {
		return "none: " + err.Error()
	}
	return state
}

func (w *world) note(a answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers = append(w.answers, a)
}

// decided reports whether the broker has an answer that ends the message.
func (w *world) decided() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.answers {
		if a.err == nil && a.state != unknown {
			return true
		}
	}
	return false
}

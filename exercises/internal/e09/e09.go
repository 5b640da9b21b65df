// Package e09 checks exercise 9, the wallet of a TCC transaction. Coordinator and network are actors of the check: they
// repeat calls, bring a cancellation before its try, and the wallet is killed within a call.
package e09

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
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

// Wallet is the learner's: the three phases, and the errors by which they refuse.
type Wallet struct {
	Try     func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error
	Confirm func(ctx context.Context, db *gorm.DB, orderNo string) error
	Cancel  func(ctx context.Context, db *gorm.DB, orderNo, userID string, cents int64) error

	ErrInsufficientFunds, ErrClosed error
}

const (
	attempts = 4 // of a call that fails without being refused

	before  = "before" // the actor that shows what was called before the others
	user    = "ann"
	opening = 1000
	price   = 300 // of each order

	schema = `CREATE TABLE wallets (user_id VARCHAR(16) NOT NULL PRIMARY KEY, available BIGINT NOT NULL, frozen BIGINT NOT NULL);
CREATE TABLE freezes (order_no VARCHAR(16) NOT NULL PRIMARY KEY, user_id VARCHAR(16) NOT NULL, cents BIGINT NOT NULL, state VARCHAR(16) NOT NULL)`
)

// call is one call to the wallet: a phase of an order.
type call struct{ phase, order string }

// label is the step that shows the call: CALL Try A.
func (c call) label() string { return "CALL " + c.phase + " " + c.order }

func try(order string) call     { return call{"Try", order} }
func confirm(order string) call { return call{"Confirm", order} } //nolint:unparam // a scene names the order of each call
func cancel(order string) call  { return call{"Cancel", order} }  //nolint:unparam // a scene names the order of each call

// actor is a caller: its calls, one after the other.
type actor struct {
	name  string
	calls []call
	after []string
}

// scene is one situation.
type scene struct {
	opens  int64  // what the user has, in cents
	before []call // answered before the actors start
	actors []actor
	deaths int
	judge  func(w *world, r *explore.Run, b balance) *explore.Finding
}

// Exercise is the check of a wallet.
func Exercise(wallet Wallet) trial.Exercise {
	e := trial.Exercise{Number: 9}
	for _, c := range checks() {
		e.Checks = append(e.Checks, trial.Check{Name: "check." + c.name, Find: func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
			db, err := s.Database(ctx, schema)
			if err != nil {
				return nil, err
			}
			for _, scene := range c.scenes {
				w := &world{db: db, wallet: wallet, scene: scene}
				found, err := explore.Explore(ctx, explore.Scenario{Open: w.open, Judge: w.judge, Deaths: scene.deaths}, limits())
				if err != nil || found != nil {
					return found, err
				}
			}
			return nil, nil
		}})
	}
	return e
}

// limits bound each scene. The mistakes that are known need one switch or one death; the schedules beyond are for those
// that are not.
func limits() explore.Limits { return explore.Limits{Runs: 24, Switches: 2} }

// world is the wallet's database and what its callers were answered.
type world struct {
	db     *gorm.DB
	wallet Wallet
	scene  scene

	mu      sync.Mutex
	answers []answer
}

// answer is what a call was answered, after its last attempt.
type answer struct {
	call
	actor string
	err   error
}

// open brings the data to the state before the actors.
func (w *world) open(ctx context.Context) ([]explore.Actor, error) {
	w.mu.Lock()
	w.answers = nil
	w.mu.Unlock()
	for _, statement := range []string{
		"DELETE FROM freezes", fmt.Sprintf("REPLACE INTO wallets (user_id, available, frozen) VALUES ('%s', %d, 0)", user, w.scene.opens),
	} {
		if err := w.db.WithContext(ctx).Exec(statement).Error; err != nil {
			return nil, fmt.Errorf("reset the tables: %w", err)
		}
	}
	for _, c := range w.scene.before {
		// An error shows in the balance, which the judge compares.
		_ = w.call(ctx, w.db, c)
	}
	actors, after := w.before()
	for _, a := range w.scene.actors {
		actors = append(actors, explore.Actor{Name: a.name, After: slices.Concat(after, a.after), Run: func(ctx context.Context, h *explore.Handle) error {
			for _, c := range a.calls {
				if err := w.calls(ctx, h, a.name, c); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return actors, nil
}

// before is an actor that shows, as the first step, what was called before. It has no other purpose.
func (w *world) before() (actors []explore.Actor, after []string) {
	if len(w.scene.before) == 0 {
		return nil, nil
	}
	var done []string
	for _, c := range w.scene.before {
		done = append(done, c.phase+" "+c.order)
	}
	return []explore.Actor{{Name: before, Run: func(ctx context.Context, h *explore.Handle) error {
		return h.Step(ctx, "CALL "+strings.Join(done, ", "), func(context.Context) (string, error) { return "", nil })
	}}}, []string{before}
}

// call executes a phase once.
func (w *world) call(ctx context.Context, db *gorm.DB, c call) error {
	switch c.phase {
	case "Try":
		return w.wallet.Try(ctx, db, c.order, user, price)
	case "Confirm":
		return w.wallet.Confirm(ctx, db, c.order)
	default:
		return w.wallet.Cancel(ctx, db, c.order, user, price)
	}
}

// calls has a caller call until it is answered with success or a refusal, and shows the answer as a step.
func (w *world) calls(ctx context.Context, h *explore.Handle, name string, c call) error {
	var err error
	for range attempts {
		if err := h.Step(ctx, c.label(), func(context.Context) (string, error) { return "", nil }); err != nil {
			return err
		}
		err = w.call(ctx, h.DB(w.db), c)
		if errors.Is(err, explore.ErrDied) {
			return err
		}
		shown := h.Step(ctx, "ANSWER "+answerText(err), func(context.Context) (string, error) { return "", nil })
		if shown != nil {
			return shown
		}
		if err == nil || w.refusal(err) {
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers = append(w.answers, answer{call: c, actor: name, err: err})
	return nil
}

func answerText(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// refusal reports an answer that a repeat would get again.
func (w *world) refusal(err error) bool {
	return errors.Is(err, w.wallet.ErrClosed) || errors.Is(err, w.wallet.ErrInsufficientFunds)
}

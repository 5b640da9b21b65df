package e07_test

import (
	"context"
	"testing"

	"gorm.io/gorm"

	start "holdfast/exercises/07-outbox-relay"
	largestid "holdfast/exercises/07-outbox-relay/attempts/largest-id"
	markfirst "holdfast/exercises/07-outbox-relay/attempts/mark-first"
	overtaking "holdfast/exercises/07-outbox-relay/attempts/overtaking"
	"holdfast/exercises/internal/e07"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/07-outbox-relay"
)

// TestExercise has the start, the three attempts and the solution, each with its own finding.
func TestExercise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		relay e07.Relay
		want  string
	}{
		{"start", start.Relay, "nothing-sent"},
		{"mark-first", markfirst.Relay, "mark-first"},
		{"largest-id", largestid.Relay, "late-commit-skipped"},
		{"overtaking", overtaking.Relay, "overtaken"},
		{"solution", solution.Relay, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e07.Exercise(c.relay), e07.Texts(), c.want)
		})
	}
}

type send = func(ctx context.Context, orderNo, body string) error

type row struct {
	ID            int64
	OrderNo, Body string
}

// relay sends what the query finds, passes each failure to failed, and marks what was sent by the statement.
func relay(query string, failed func(err error) error, mark string) e07.Relay {
	return func(ctx context.Context, db *gorm.DB, send send) error {
		var rows []row
		if err := db.WithContext(ctx).Raw(query).Scan(&rows).Error; err != nil {
			return err
		}
		for _, r := range rows {
			if err := send(ctx, r.OrderNo, r.Body); err != nil {
				if err := failed(err); err != nil {
					return err
				}
			}
			if mark == markOne {
				if err := db.WithContext(ctx).Exec(mark, r.ID).Error; err != nil {
					return err
				}
			}
		}
		if mark == markAll {
			return db.WithContext(ctx).Exec(mark).Error
		}
		return nil
	}
}

const (
	unsent  = "SELECT id, order_no, body FROM outbox WHERE sent_at IS NULL ORDER BY id"
	markOne = "UPDATE outbox SET sent_at = UTC_TIMESTAMP(6) WHERE id = ?"
	markAll = "UPDATE outbox SET sent_at = UTC_TIMESTAMP(6) WHERE sent_at IS NULL"
)

func stop(err error) error { return err }

// ignore goes on after a failure, but not after the death of the process.
func ignore(error) error { return nil }

// TestOtherMistakes has relays that are wrong in other ways than the attempts.
func TestOtherMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want  string
		relay e07.Relay
	}{
		{"sent-again", relay(unsent, stop, "")},
		{"marked-unsent", relay(unsent, stop, markAll)},
		{"failure-ignored", relay(unsent, ignore, markOne)},
		{"wrong-order", relay(unsent+" DESC", stop, markOne)},
		{"one-order-stops-all", relay(unsent, stop, markOne)},
		{"not-sent", relay("SELECT id, order_no, body FROM outbox WHERE sent_at IS NULL AND order_no = 'ORD-1' ORDER BY id", stop, markOne)},
	} {
		t.Run(c.want, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e07.Exercise(c.relay), e07.Texts(), c.want)
		})
	}
}

// TestOtherSolutions has relays that are right in other ways than the solution.
func TestOtherSolutions(t *testing.T) {
	t.Parallel()
	// pass reads, sends in order with the failed orders left out, and returns the ids that were sent.
	pass := func(ctx context.Context, db *gorm.DB, send send, query string) (sent []int64, err error) {
		var rows []row
		if err := db.Raw(query).Scan(&rows).Error; err != nil {
			return nil, err
		}
		failed := map[string]bool{}
		for _, r := range rows {
			if failed[r.OrderNo] {
				continue
			}
			if failed[r.OrderNo] = send(ctx, r.OrderNo, r.Body) != nil; !failed[r.OrderNo] {
				sent = append(sent, r.ID)
			}
		}
		return sent, nil
	}
	for name, relay := range map[string]e07.Relay{
		"marks together": func(ctx context.Context, db *gorm.DB, send send) error {
			sent, err := pass(ctx, db.WithContext(ctx), send, unsent)
			if err != nil || len(sent) == 0 {
				return err
			}
			return db.WithContext(ctx).Exec("UPDATE outbox SET sent_at = UTC_TIMESTAMP(6) WHERE id IN ?", sent).Error
		},
		"deletes, and holds a transaction": func(ctx context.Context, db *gorm.DB, send send) error {
			return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				sent, err := pass(ctx, tx, send, unsent+" FOR UPDATE")
				if err != nil || len(sent) == 0 {
					return err
				}
				return tx.Exec("DELETE FROM outbox WHERE id IN ?", sent).Error
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e07.Exercise(relay), e07.Texts(), "")
		})
	}
}

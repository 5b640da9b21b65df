package e07

import (
	"context"
	"fmt"
	"slices"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
)

// judge compares what the broker has with what the orders have written.
func (w *world) judge(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.check.expected {
		if !slices.Contains(w.stored, m) {
			return w.missing(ctx, r, m)
		}
	}
	if first := slices.Index(w.stored, paid); first >= 0 && !slices.Contains(w.stored[:first], created) {
		return w.overtaken(r), nil
	}
	// Without a death and without a refusal there is no reason to send twice.
	if w.check.deaths == 0 && w.check.refuses == nil {
		for _, m := range w.check.expected {
			if n := w.count(m); n > 1 {
				return judge.Finding("sent-again", []any{string(m), n}, []any{sends(r.Steps, m, 1), sends(r.Steps, m, sends(r.Steps, m, 1)+1)}), nil
			}
		}
	}
	return nil, nil
}

func (w *world) count(m message) (n int) {
	for _, s := range w.stored {
		if s == m {
			n++
		}
	}
	return n
}

// sends is the number of the first step from a number on in which a relay sent the message; 0: none did.
func sends(steps []explore.Step, m message, from int) int {
	return judge.Find(steps, from, func(s explore.Step) bool { return !s.Died && s.Does == "SEND "+string(m) })
}

// missing explains a message that the broker has not got.
func (w *world) missing(ctx context.Context, r *explore.Run, m message) (*explore.Finding, error) {
	var marked []bool
	orderNo, body := m.parts()
	err := w.db.WithContext(ctx).Raw("SELECT sent_at IS NOT NULL FROM outbox WHERE order_no = ? AND body = ?", orderNo, body).Scan(&marked).Error
	if err != nil {
		return nil, fmt.Errorf("read the outbox: %w", err)
	}
	name, what := string(m), []any{string(m)}
	tried := sends(r.Steps, m, 1)
	if len(marked) == 0 || marked[0] { // marked as sent, or deleted
		return w.markedUnsent(r, name, tried), nil
	}
	switch {
	case w.check.name == "poison" && slices.Contains(w.check.expected, m):
		return judge.Finding("one-order-stops-all", what, []any{sends(r.Steps, created, 1)}), nil
	case w.check.name == "late-commit" && tried == 0 && len(w.stored) > 0:
		return w.skipped(r, m), nil
	case len(w.stored) == 0 && tried == 0:
		return judge.Finding("nothing-sent", []any{len(w.check.expected)}, []any{w.failureText()}), nil
	}
	return judge.Finding("not-sent", what, []any{w.failureText()}), nil
}

func (w *world) failureText() string {
	if w.failure == nil {
		return "nil"
	}
	return w.failure.Error()
}

// markedUnsent explains a message that is marked as sent, and was not. tried is the step in which the broker refused
// it.
func (w *world) markedUnsent(r *explore.Run, name string, tried int) *explore.Finding {
	mark := 0 // the last change of the outbox, before the relay could not go on
	died := judge.Died(r.Steps, "R")
	for _, s := range judge.Statements(r.Steps) {
		if s.Table == "outbox" && s.Writes() && (s.Actor == "R" || s.Actor == "R2") && s.Kept > 0 && (died == 0 || s.No < died) && (mark == 0 || tried == 0 || s.No < tried) {
			mark = s.No
		}
	}
	switch {
	case mark == 0:
		return judge.Finding("not-sent", []any{name}, []any{w.failureText()})
	case tried > 0 && mark > tried:
		return judge.Finding("failure-ignored", []any{name}, []any{tried, mark})
	case tried > 0 || died > 0:
		return judge.Finding("mark-first", []any{name}, []any{mark})
	}
	return judge.Finding("marked-unsent", []any{name}, []any{mark})
}

// skipped explains a message that no relay has tried to send, although its transaction has committed.
func (w *world) skipped(r *explore.Run, m message) *explore.Finding {
	insert, commit := 0, 0
	for _, s := range judge.Statements(r.Steps) {
		if s.Table == "outbox" && s.Writes() && (s.Actor == "W1" || s.Actor == "W2") {
			if s.Actor == "W1" == (m == created) {
				insert, commit = s.No, s.Kept
			}
		}
	}
	for _, s := range w.stored {
		if sent := sends(r.Steps, s, 1); insert < sent && sent < commit {
			return judge.Finding("late-commit-skipped", []any{string(m)}, []any{insert, commit, sent, string(s)})
		}
	}
	return judge.Finding("not-sent", []any{string(m)}, []any{w.failureText()})
}

// overtaken explains that the broker has a younger message of an order before the older one.
func (w *world) overtaken(r *explore.Run) *explore.Finding {
	refused, sent := sends(r.Steps, created, 1), sends(r.Steps, paid, 1)
	what := []any{string(paid), string(created)}
	if refused > 0 && refused < sent && r.Steps[refused-1].Err != nil {
		return judge.Finding("overtaken", what, []any{refused, sent})
	}
	return judge.Finding("wrong-order", what, []any{sent})
}

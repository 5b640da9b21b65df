package e08

import (
	"context"
	"fmt"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
)

// judge compares the answers with the order.
func (w *world) judge(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
	var rows int
	err := w.db.WithContext(ctx).Raw("SELECT COUNT(*) FROM orders WHERE order_no = ? AND status = 'PLACED'", orderNo).Row().Scan(&rows)
	if err != nil {
		return nil, fmt.Errorf("read the order: %w", err)
	}
	placed := rows > 0
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := r.Errs["A"]; w.check.name == "itself" && !placed {
		return judge.Finding("place", nil, []any{fmt.Sprint(err)}), nil
	}
	for i, a := range w.answers {
		last := i == len(w.answers)-1
		if f := w.explain(r, a, placed, last); f != nil {
			return f, nil
		}
	}
	return nil, nil
}

// explain returns what is wrong with an answer; nil: nothing. last is false for an answer after which the broker has
// asked again.
func (w *world) explain(r *explore.Run, a answer, placed, last bool) *explore.Finding {
	state := a.state
	if a.err != nil {
		state = unknown // the broker has got no answer
	}
	no := judge.Find(r.Steps, 1, func(s explore.Step) bool { return s.Actor == a.actor && s.Does == "ANSWER "+said(a.state, a.err) })
	looked := judge.Find(r.Steps, 1, func(s explore.Step) bool { return s.Actor == a.actor && s.Kind != explore.Other }) > 0
	switch {
	case state != commit && state != rollback && state != unknown:
		return judge.Finding("no-such-answer", []any{state}, []any{no})
	case w.check.name == "away" && state != unknown:
		return judge.Finding("failure-is-no-answer", []any{state}, []any{no})
	case w.check.name == "away":
		return nil
	case w.check.name == "another" && state != commit && !looked:
		return judge.Finding("from-memory", []any{state}, []any{a.actor, no})
	case state == rollback && placed:
		return w.dropped(r, no)
	case state == commit && !placed:
		return judge.Finding("phantom", nil, []any{no})
	case state == unknown && last && a.age >= late && placed:
		return judge.Finding("never-decides", []any{seconds(a.age)}, []any{no, answerText(a)})
	case state == unknown && last && a.age >= late:
		return judge.Finding("unknown-forever", []any{seconds(a.age)}, []any{no, answerText(a)})
	}
	return nil
}

func answerText(a answer) string { return said(a.state, a.err) }

// dropped explains a rollback of an order that exists: the look came before the order's COMMIT, or there was none.
func (w *world) dropped(r *explore.Run, answer int) *explore.Finding {
	look, actor := answer, r.Steps[answer-1].Actor
	for _, s := range judge.Statements(r.Steps[:answer]) {
		if s.Actor == actor && s.Reads() {
			look = s.No
		}
	}
	for _, s := range judge.Statements(r.Steps) {
		if s.Actor == "A" && s.Table == "orders" && s.Writes() && s.Kept > look {
			return judge.Finding("open-is-not-absent", nil, []any{look, answer, s.Kept})
		}
	}
	return judge.Finding("dropped", nil, []any{answer})
}

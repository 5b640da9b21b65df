package e06

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
	"holdfast/internal/lab/step"
)

// judge compares the units that are gone with the order.
func (w *world) judge(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
	var left int
	if err := w.db.WithContext(ctx).Raw("SELECT available FROM stock WHERE sku = 'book'").Row().Scan(&left); err != nil {
		return nil, fmt.Errorf("read the stock: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	gone, open, failure := inStock-left, "", "nil"
	for id, acked := range w.sent {
		if !acked {
			open = id
		}
	}
	if len(w.failures) > 0 {
		failure = w.failures[len(w.failures)-1].Error()
	}
	run := run{steps: r.Steps, statements: judge.Statements(r.Steps), gone: gone, messages: len(w.sent)}
	switch {
	case gone == ordered && open == "":
		return nil, nil
	case gone == ordered:
		return judge.Finding("never-acked", []any{open, deliveries}, []any{failure}), nil
	case gone == 0 && open != "":
		return judge.Finding("nothing-taken", []any{ordered}, []any{failure}), nil
	case gone == 0:
		return run.lost(), nil
	case gone > ordered && gone%ordered == 0:
		return run.twice(), nil
	}
	return judge.Finding("wrong-count", []any{ordered, gone}, nil), nil
}

// run is what is known of a run that broke.
type run struct {
	steps      []explore.Step
	statements []judge.Statement
	gone       int
	messages   int
}

// lost explains a message that is acknowledged while no unit is gone.
func (r run) lost() *explore.Finding {
	for _, s := range r.steps {
		if no := judge.Died(r.steps, s.Actor); no > 0 {
			if ack := r.ack(s.Actor); ack > 0 {
				return judge.Finding("ack-early", []any{ordered}, []any{s.Actor, ack, no})
			}
			if mark := r.mark(s.Actor); mark != nil && mark.Kept > 0 {
				f := r.markApart(*mark)
				f.Why = step.T("finding.mark-apart.why.lost", s.Actor, mark.No, no)
				return f
			}
		}
	}
	return judge.Finding("acked-untaken", []any{ordered}, nil)
}

// twice explains units that are gone for each of several deliveries.
func (r run) twice() *explore.Finding {
	var takes []judge.Statement
	for _, s := range r.statements {
		if s.Table == "stock" && s.Writes() && s.Kept > 0 {
			takes = append(takes, s)
		}
	}
	if len(takes) < 2 {
		return r.takenTwice()
	}
	first, second := takes[0], takes[1]
	marks := [2]*judge.Statement{r.mark(first.Actor), r.mark(second.Actor)}
	looked, lookedToo := r.look(first), r.look(second)
	switch {
	case r.messages > 1 && marks[0] != nil && marks[1] != nil && r.byMessage(marks):
		return judge.Finding("marks-the-message", []any{r.gone, ordered}, []any{marks[0].No, marks[1].No})
	case marks[0] == nil && marks[1] == nil && looked == 0 && lookedToo == 0:
		return judge.Finding("no-mark", []any{r.gone, ordered}, []any{first.No, second.No})
	case marks[0] != nil && apart(*marks[0], first):
		return r.markApart(*marks[0])
	case looked > 0 && lookedToo > 0 && lookedToo < first.Kept && marks[0] != nil && marks[1] != nil:
		why := []any{first.Actor, looked, second.Actor, lookedToo, marks[0].Kept}
		if lookedToo < looked {
			why = []any{second.Actor, lookedToo, first.Actor, looked, marks[0].Kept}
		}
		return judge.Finding("check-then-insert", []any{r.gone, ordered}, why)
	}
	return r.takenTwice()
}

func (r run) markApart(mark judge.Statement) *explore.Finding {
	return judge.Finding("mark-apart", []any{r.gone, ordered}, []any{mark.Actor, mark.No})
}

func (r run) takenTwice() *explore.Finding {
	return judge.Finding("taken-twice", []any{r.gone, ordered}, nil)
}

// byMessage reports whether the marks have the identifiers of the two messages.
func (r run) byMessage(marks [2]*judge.Statement) bool {
	return strings.Contains(marks[0].Does, "M-1") != strings.Contains(marks[1].Does, "M-1") &&
		!strings.Contains(marks[0].Does, "ORD-1")
}

// apart reports whether the two are not in one transaction.
func apart(mark, take judge.Statement) bool { return mark.Tx == 0 || mark.Tx != take.Tx }

// mark is the first row that an actor wrote into a table of the learner's.
func (r run) mark(actor string) *judge.Statement {
	i := slices.IndexFunc(r.statements, func(s judge.Statement) bool { return s.Actor == actor && s.Table != "stock" && s.Writes() })
	if i < 0 {
		return nil
	}
	return &r.statements[i]
}

// look is the number of the last step before a take in which its actor read a table of the learner's; 0: it did not.
func (r run) look(take judge.Statement) int {
	no := 0
	for _, s := range r.statements {
		if s.Actor == take.Actor && s.Table != "stock" && s.Reads() && s.No < take.No {
			no = s.No
		}
	}
	return no
}

// ack is the step in which an actor acknowledged; 0: it did not.
func (r run) ack(actor string) int {
	return judge.Find(r.steps, 1, func(s explore.Step) bool {
		return s.Actor == actor && !s.Died && strings.HasPrefix(s.Does, "ACK ")
	})
}

package e09

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
)

// check is a part of the exercise.
type check struct {
	name   string
	scenes []scene
}

// checks are the parts, the calm one first.
func checks() []check {
	a, b := "A", "B"
	both := []call{try(a), try(b)}
	return []check{
		{"calm", []scene{
			{opens: opening, actors: one(try(a)), judge: expect("nothing-frozen", opening-price, price)},
			{opens: opening, before: []call{try(a)}, actors: one(confirm(a)), judge: expect("not-paid", opening-price, 0)},
			{opens: opening, before: []call{try(a)}, actors: one(cancel(a)), judge: expect("not-returned", opening, 0)},
			{opens: price - 1, actors: one(try(a)), judge: expect("overdrawn", price-1, 0)},
		}},
		{"repeats", []scene{
			{opens: opening, actors: one(try(a), try(a)), judge: expect("try-twice", opening-price, price)},
			{opens: opening, before: both, actors: one(confirm(a), confirm(a)), judge: expect("confirm-twice", opening-2*price, price)},
			{opens: opening, before: both, actors: one(cancel(a), cancel(a)), judge: expect("cancel-twice", opening-price, price)},
		}},
		{"empty-cancel", []scene{{opens: opening, before: []call{try(b)}, actors: one(cancel(a)), judge: expect("blind-cancel", opening-price, price)}}},
		{"hanging", []scene{{opens: opening, actors: one(cancel(a), try(a)), judge: hanging}}},
		{"late", []scene{
			{opens: opening, before: append(both, cancel(a)), actors: one(confirm(a)), judge: expect("confirm-after-cancel", opening-price, price)},
			{opens: opening, before: append(both, confirm(a)), actors: one(cancel(a)), judge: expect("cancel-after-confirm", opening-2*price, price)},
			{opens: opening, before: append(both, confirm(a)), actors: one(try(a)), judge: expect("try-twice", opening-2*price, price)},
		}},
		{"races", []scene{
			{opens: 2*price - 1, actors: two(try(a), try(b)), judge: expect("overdrawn", price-1, price)},
			{opens: opening, actors: two(try(a), try(a)), judge: expect("try-twice", opening-price, price)},
			{opens: opening, before: both, actors: two(confirm(a), confirm(a)), judge: expect("confirm-twice", opening-2*price, price)},
			{opens: opening, before: both, actors: two(cancel(a), cancel(a)), judge: expect("cancel-twice", opening-price, price)},
			{opens: opening, actors: two(try(a), cancel(a)), judge: hanging},
		}},
		{"dies", []scene{
			{opens: opening, deaths: 1, actors: again(try(a), confirm(a)), judge: expect("half-done", opening-price, 0)},
			{opens: opening, deaths: 1, before: both, actors: again(confirm(a)), judge: expect("half-done", opening-2*price, price)},
			{opens: opening, deaths: 1, before: both, actors: again(cancel(a)), judge: expect("half-done", opening-price, price)},
		}},
	}
}

// one is the coordinator, which makes its calls one after the other.
func one(calls ...call) []actor { return []actor{{name: "W", calls: calls}} }

// two are calls that the wallet executes at the same time.
func two(c, d call) []actor {
	return []actor{{name: "W1", calls: []call{c}}, {name: "W2", calls: []call{d}}}
}

// again is a wallet that may be killed within its first call, and the one that is started after it, at which the
// coordinator repeats the call.
func again(calls ...call) []actor {
	return []actor{{name: "W1", calls: calls[:1]}, {name: "W2", calls: calls, after: []string{"W1"}}}
}

// balance is the user's wallet, in cents.
type balance struct{ available, frozen int64 }

// judge reads the balance and compares it with what the scene expects. It leaves out a run in which the wallet was
// killed within the repeat: the coordinator would call once more.
func (w *world) judge(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
	if w.scene.deaths > 0 && judge.Died(r.Steps, "W1") == 0 && judge.Died(r.Steps, "") > 0 {
		return nil, nil
	}
	var b balance
	err := w.db.WithContext(ctx).Raw("SELECT available, frozen FROM wallets WHERE user_id = ?", user).Row().Scan(&b.available, &b.frozen)
	if err != nil {
		return nil, fmt.Errorf("read the balance: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.scene.judge(w, r, b), nil
}

// expect judges the balance. id names the mistake that changes it in one direction; a change in another one is not
// diagnosed.
func expect(id string, available, frozen int64) func(w *world, r *explore.Run, b balance) *explore.Finding {
	want := balance{available, frozen}
	return func(w *world, r *explore.Run, b balance) *explore.Finding {
		if b == want {
			return w.unexpected(id)
		}
		what := []any{b.available, b.frozen, want.available, want.frozen}
		died := judge.Died(r.Steps, "")
		if !w.means(id, b, want) || id == "half-done" && died == 0 {
			return judge.Finding("wrong-balance", what, []any{w.said()})
		}
		if id == "half-done" {
			return judge.Finding(id, what, []any{died})
		}
		return judge.Finding(id, what, []any{w.moved(r)})
	}
}

// means reports whether the balance is what the mistake makes of it.
func (w *world) means(id string, got, want balance) bool {
	switch id {
	case "nothing-frozen", "not-paid", "not-returned": // nothing was done
		return got.available+got.frozen == w.scene.opens && (id == "nothing-frozen") == (got.frozen == 0)
	case "overdrawn":
		accepted := int64(0)
		for _, a := range w.answers {
			if a.phase == "Try" && a.err == nil {
				accepted += price
			}
		}
		return accepted > w.scene.opens
	case "try-twice":
		return got.frozen > want.frozen
	case "confirm-twice", "confirm-after-cancel":
		return got.frozen < want.frozen && got.available == want.available
	case "cancel-twice", "cancel-after-confirm", "blind-cancel":
		return got.available > want.available
	}
	return true // half-done: the scenes before have shown that the calls are right when the wallet is not killed
}

// hanging judges a Try and a Cancel in the order that the network brings them: the Cancel may come first.
func hanging(w *world, r *explore.Run, b balance) *explore.Finding {
	want := balance{available: opening}
	if b == want {
		if w.scene.actors[0].name == "W" && !errors.Is(w.last("Try"), w.wallet.ErrClosed) {
			return judge.Finding("late-try-accepted", []any{answerText(w.last("Try"))}, nil)
		}
		return nil
	}
	if b.frozen != price || b.available != opening-price {
		return judge.Finding("wrong-balance", []any{b.available, b.frozen, want.available, want.frozen}, []any{w.said()})
	}
	wrote := 0 // the step in which Cancel wrote a row
	inCancel := map[string]bool{}
	for i, s := range r.Steps {
		if strings.HasPrefix(s.Does, "CALL ") {
			inCancel[s.Actor] = s.Does == cancel("A").label()
		}
		if inCancel[s.Actor] && s.Kind == explore.Write && s.Changed > 0 && !strings.Contains(s.Does, "wallets") {
			wrote = i + 1
		}
	}
	if wrote > 0 {
		return judge.Finding("tombstone-ignored", []any{b.frozen}, []any{wrote, w.moved(r)})
	}
	cancelled := judge.Find(r.Steps, 1, func(s explore.Step) bool { return s.Does == cancel("A").label() })
	return judge.Finding("no-tombstone", []any{b.frozen}, []any{cancelled, w.moved(r)})
}

// moved is the last step that changed a balance, or else the last step.
func (w *world) moved(r *explore.Run) int {
	no := len(r.Steps)
	for _, s := range judge.Statements(r.Steps) {
		if s.Table == "wallets" && s.Writes() && s.Kept > 0 {
			no = s.No
		}
	}
	return no
}

// unexpected returns a finding if a call was answered with an error that it must not be answered with.
func (w *world) unexpected(id string) *explore.Finding {
	for _, a := range w.answers {
		switch {
		case a.err == nil:
			if id == "overdrawn" && w.scene.opens < price {
				return judge.Finding("refusal-hidden", []any{a.phase, a.order}, nil)
			}
			if id == "confirm-after-cancel" {
				return judge.Finding("late-confirm-accepted", nil, nil)
			}
		case id == "overdrawn" && errors.Is(a.err, w.wallet.ErrInsufficientFunds),
			(id == "confirm-after-cancel" || a.phase == "Try" && len(w.scene.before) > 0) && errors.Is(a.err, w.wallet.ErrClosed),
			id == "cancel-after-confirm":
		default:
			return judge.Finding("call-fails", []any{a.phase, a.order}, []any{a.err.Error()})
		}
	}
	return nil
}

// last is the answer to the last call of a phase.
func (w *world) last(phase string) error {
	var err error
	for _, a := range w.answers {
		if a.phase == phase {
			err = a.err
		}
	}
	return err
}

// said lists the answers.
func (w *world) said() string {
	var all []string
	for _, a := range w.answers {
		all = append(all, a.phase+" "+a.order+": "+answerText(a.err))
	}
	return strings.Join(all, ", ")
}

package step_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/step"
)

// latch is what virtual actors wait for.
type latch struct {
	mu      sync.Mutex
	open    chan struct{}
	waiting int
}

func newLatch() *latch { return &latch{open: make(chan struct{})} }

// opened returns a latch for which no actor waits.
func opened() *latch {
	l := newLatch()
	l.release()
	return l
}

// wait blocks until release.
func (l *latch) wait(ctx context.Context) error {
	l.mu.Lock()
	l.waiting++
	l.mu.Unlock()
	select {
	case <-l.open:
		l.mu.Lock()
		l.waiting--
		l.mu.Unlock()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// blocked is the server's view: a released waiter does not wait, although its step has not ended.
func (l *latch) blocked(context.Context) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		return false, nil
	default:
		return l.waiting > 0, nil
	}
}

func (l *latch) release() { close(l.open) }

// does is a step that does nothing but f.
func does(label string, f func(ctx context.Context) error) step.Step {
	return step.Step{Label: step.T(label), Do: func(ctx context.Context) (step.Result, error) { return step.Result{}, f(ctx) }}
}

func nothing(context.Context) error { return nil }

// scene returns a scene that opens the stage.
func scene(open func() *step.Stage) step.Scene {
	return step.Scene{Title: step.T("title"), Open: func(context.Context) (*step.Stage, error) { return open(), nil }}
}

// recorder formats events, one a line.
type recorder struct{ lines []string }

func (r *recorder) emit(e step.Event) {
	line := fmt.Sprintf("%s %d.%d %s %s", e.Kind, e.Scene, e.Step, e.Actor, e.Text.Key)
	r.lines = append(r.lines, strings.Join(strings.Fields(line), " "))
}

func (r *recorder) compare(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, r.lines); diff != "" {
		t.Errorf("events, want (-), got (+):\n%s", diff)
	}
}

// blocking returns a stage on which B waits for A's second step, and C for b.
func blocking(b *latch) *step.Stage {
	a := newLatch()
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{does("a1", nothing), does("a2", func(context.Context) error { a.release(); return nil })}},
			{Name: "C", Blocked: b.blocked, Steps: []step.Step{does("c1", b.wait)}},
			{Name: "B", Blocked: a.blocked, Steps: []step.Step{does("b1", a.wait), does("b2", nothing)}},
		},
		Order: []string{"A", "C", "B", "A", "B"},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(true, "claim")
			return nil
		},
	}
}

// TestPlayer_blocked: a step that waits does not stop the others, and its result follows the step that let it go on. C
// waits for B, so C's result needs a second look at the waiting steps.
func TestPlayer_blocked(t *testing.T) {
	t.Parallel()
	var r recorder
	b := newLatch()
	p := step.Player{Emit: func(e step.Event) {
		r.emit(e)
		if e.Kind == step.Done && e.Text.Key == "b1" {
			b.release()
		}
	}}
	if err := p.Play(t.Context(), 1, scene(func() *step.Stage { return blocking(b) })); err != nil {
		t.Fatal(err)
	}
	r.compare(t,
		"opened 1.0 title", "done 1.1 A a1", "waiting 1.2 C c1", "waiting 1.3 B b1",
		"done 1.4 A a2", "done 1.3 B b1", "done 1.2 C c1", "done 1.5 B b2", "claimed 1.0 claim")
}

// TestPlayer_nextStepOfAWaitingActor: a connection executes one statement at a time, so the actor's next step waits for
// the one that runs.
func TestPlayer_nextStepOfAWaitingActor(t *testing.T) {
	t.Parallel()
	var r recorder
	l := newLatch()
	p := step.Player{Emit: r.emit}
	err := p.Play(t.Context(), 1, scene(func() *step.Stage {
		return &step.Stage{
			Actors: []*step.Actor{{Name: "A", Blocked: l.blocked, Steps: []step.Step{does("a1", func(ctx context.Context) error {
				time.AfterFunc(50*time.Millisecond, l.release)
				return l.wait(ctx)
			}), does("a2", nothing)}}},
			Order: []string{"A", "A"},
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	r.compare(t, "opened 1.0 title", "waiting 1.1 A a1", "done 1.1 A a1", "done 1.2 A a2")
}

// TestPlayer_leaves: the remaining steps of an actor that leaves are skipped, and the numbers of the others stay.
func TestPlayer_leaves(t *testing.T) {
	t.Parallel()
	var r recorder
	leaves := step.Step{Label: step.T("a1"), Do: func(context.Context) (step.Result, error) {
		return step.Result{Text: step.T("refused"), Leaves: true}, nil
	}}
	p := step.Player{Emit: r.emit}
	err := p.Play(t.Context(), 1, scene(func() *step.Stage {
		return &step.Stage{
			Actors: []*step.Actor{{Name: "A", Steps: []step.Step{leaves, does("a2", nothing)}}, {Name: "B", Steps: []step.Step{does("b1", nothing)}}},
			Order:  []string{"A", "A", "B"},
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	r.compare(t, "opened 1.0 title", "done 1.1 A refused", "done 1.3 B b1")
}

// TestPlayer_replay: a number replays the scene on a new stage, without pauses before that step.
func TestPlayer_replay(t *testing.T) {
	t.Parallel()
	var r recorder
	opened, closed := 0, 0
	p := step.Player{Emit: r.emit, Pace: step.NewKeyboard(strings.NewReader("\n\n3\n\n\n"))}
	err := p.Play(t.Context(), 2, scene(func() *step.Stage {
		opened++
		return &step.Stage{
			Actors: []*step.Actor{{Name: "A", Steps: []step.Step{does("a1", nothing), does("a2", nothing), does("a3", nothing), does("a4", nothing)}}},
			Order:  []string{"A", "A", "A", "A"},
			Close: func(context.Context) error {
				closed++
				return nil
			},
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if opened != 2 || closed != 2 {
		t.Errorf("opened %d stages and closed %d, want 2", opened, closed)
	}
	r.compare(t,
		"opened 2.0 title", "asked 2.1 A a1", "done 2.1 A a1", "asked 2.2 A a2", "done 2.2 A a2", "asked 2.3 A a3",
		"replayed 2.3 title", "done 2.1 A a1", "done 2.2 A a2", "asked 2.3 A a3", "done 2.3 A a3", "asked 2.4 A a4", "done 2.4 A a4")
}

// TestPlayer_replayWhileBlocked: the steps that wait end with their context before the stage is closed.
func TestPlayer_replayWhileBlocked(t *testing.T) {
	t.Parallel()
	var r recorder
	var running atomic.Int64
	p := step.Player{Emit: r.emit, Pace: step.NewKeyboard(strings.NewReader("\n\n\n1\n" + strings.Repeat("\n", 9)))}
	err := p.Play(t.Context(), 1, scene(func() *step.Stage {
		stage := blocking(opened())
		b := stage.Actors[2]
		do := b.Steps[0].Do
		b.Steps[0].Do = func(ctx context.Context) (step.Result, error) {
			running.Add(1)
			defer running.Add(-1)
			r, err := do(ctx)
			time.Sleep(20 * time.Millisecond) // the server needs a moment to end the statement
			return r, err
		}
		stage.Close = func(context.Context) error {
			if n := running.Load(); n > 0 {
				t.Errorf("%d steps run while the stage is closed", n)
			}
			return nil
		}
		return stage
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.lines[len(r.lines)-1]; got != "claimed 1.0 claim" {
		t.Errorf("the last event is %q", got)
	}
}

// TestPlayer_look: what is stored is shown after each step, if the reader steps.
func TestPlayer_look(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		pace step.Pacer
		want []string
	}{
		"plain":    {nil, []string{"opened 1.0 title", "done 1.1 A a1"}},
		"stepping": {step.NewKeyboard(strings.NewReader("\n")), []string{"opened 1.0 title", "asked 1.1 A a1", "done 1.1 A a1", "looked 1.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r recorder
			p := step.Player{Emit: r.emit, Pace: tt.pace}
			err := p.Play(t.Context(), 1, scene(func() *step.Stage {
				return &step.Stage{
					Actors: []*step.Actor{{Name: "A", Steps: []step.Step{does("a1", nothing)}}},
					Order:  []string{"A"},
					Look:   []step.Looker{func(context.Context) (step.View, error) { return step.View{Rows: []string{"row"}}, nil }},
				}
			}))
			if err != nil {
				t.Fatal(err)
			}
			r.compare(t, tt.want...)
		})
	}
}

// TestPlayer_stopped: the reader stops with q, or his input ends. Nothing of the scene is claimed.
func TestPlayer_stopped(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		in    string
		asked int // how often the third step is announced
	}{
		"q":            {"\n\nq\n", 1},
		"end of input": {"\n\n", 1},
		"unknown":      {"\n\nwhat\n99\n0\nq\n", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var r recorder
			closed := false
			p := step.Player{Emit: r.emit, Pace: step.NewKeyboard(strings.NewReader(tt.in))}
			err := p.Play(t.Context(), 1, scene(func() *step.Stage {
				stage := blocking(opened())
				stage.Close = func(context.Context) error {
					closed = true
					return nil
				}
				return stage
			}))
			if !errors.Is(err, step.ErrStopped) || !strings.Contains(err.Error(), "1.3") || !closed {
				t.Errorf("play = %v, closed %t", err, closed)
			}
			if got := strings.Join(r.lines, "\n"); strings.Contains(got, "claimed") || strings.Count(got, "asked 1.3") != tt.asked {
				t.Errorf("events:\n%s", got)
			}
		})
	}
}

// TestPlayer_choice: a letter chooses one of the step's answers and executes the step, Enter executes it without one,
// and a letter beyond the answers is asked for again.
func TestPlayer_choice(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][]int{"b\n": {1}, "\n": nil, "c\na\n": {0}} {
		var r recorder
		var chosen []int
		p := step.Player{Emit: r.emit, Pace: step.NewKeyboard(strings.NewReader(in))}
		err := p.Play(t.Context(), 1, scene(func() *step.Stage {
			s := does("a1", nothing)
			s.Choices, s.Chosen = []step.Text{step.T("one"), step.T("two")}, func(i int) { chosen = append(chosen, i) }
			return &step.Stage{Actors: []*step.Actor{{Name: "A", Steps: []step.Step{s}}}, Order: []string{"A"}}
		}))
		if err != nil {
			t.Errorf("%q: %v", in, err)
		}
		if diff := cmp.Diff(want, chosen); diff != "" {
			t.Errorf("%q: chosen, want (-), got (+):\n%s", in, diff)
		}
		if got := strings.Count(strings.Join(r.lines, "\n"), "done 1.1 A a1"); got != 1 {
			t.Errorf("%q: the step was executed %d times", in, got)
		}
	}
}

// TestPlayer_interrupted: Ctrl-C ends a pause before a step, and a step that waits.
func TestPlayer_interrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	silent, _ := io.Pipe() // a terminal at which nobody types
	p := step.Player{Pace: step.NewKeyboard(silent), Emit: func(e step.Event) {
		if e.Kind == step.Asked {
			interrupt()
		}
	}}
	if err := p.Play(ctx, 1, scene(func() *step.Stage { return blocking(opened()) })); !errors.Is(err, context.Canceled) {
		t.Errorf("before a step: play = %v", err)
	}

	ctx, interrupt = context.WithCancel(t.Context())
	l := newLatch()
	p = step.Player{Emit: func(e step.Event) {
		if e.Kind == step.Waiting {
			interrupt()
		}
	}}
	err := p.Play(ctx, 1, scene(func() *step.Stage {
		return &step.Stage{
			Actors: []*step.Actor{{Name: "A", Blocked: l.blocked, Steps: []step.Step{does("a1", l.wait)}}},
			Order:  []string{"A"},
		}
	}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("in a step: play = %v", err)
	}
}

// TestPlayer_fails: the error of a step, of a stage or of the order ends the play, and names where.
func TestPlayer_fails(t *testing.T) {
	t.Parallel()
	gone := errors.New("the server is gone")
	fails := func(context.Context) error { return gone }
	for name, tt := range map[string]struct {
		stage step.Stage
		want  string
	}{
		"step":       {step.Stage{Actors: []*step.Actor{{Name: "A", Steps: []step.Step{does("a1", fails)}}}, Order: []string{"A"}}, "step 1, A: the server is gone"},
		"no actor":   {step.Stage{Order: []string{"A"}}, `step 1: the actor "A" has no further step`},
		"no step":    {step.Stage{Actors: []*step.Actor{{Name: "A"}}, Order: []string{"A"}}, `step 1: the actor "A" has no further step`},
		"is blocked": {blockedFails(gone), "is A blocked: the server is gone"},
		"close":      {step.Stage{Close: func(context.Context) error { return gone }}, "the server is gone"},
		"end":        {step.Stage{End: func(context.Context, *step.Ending) error { return gone }}, "the server is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := step.Player{Emit: func(step.Event) {}}
			err := p.Play(t.Context(), 1, scene(func() *step.Stage { return &tt.stage }))
			if err == nil || err.Error() != tt.want {
				t.Errorf("play = %v, want %q", err, tt.want)
			}
		})
	}
}

func blockedFails(err error) step.Stage {
	l := newLatch()
	return step.Stage{
		Actors: []*step.Actor{{
			Name: "A", Steps: []step.Step{does("a1", l.wait)}, Blocked: func(context.Context) (bool, error) { return false, err },
		}},
		Order: []string{"A"},
	}
}

// TestEvent_json: an event that was sent as JSON renders as the one that was not.
func TestEvent_json(t *testing.T) {
	t.Parallel()
	texts := step.Catalogue{"x.sold": "%d sold in %s by %s", "x.who": "buyer %d", "x.head": "units", "step.waits": "%s ..."}
	for _, e := range []step.Event{
		{Kind: step.Done, Scene: 1, Step: 2, Actor: "A", Text: step.T("x.sold", 7, time.Second, step.T("x.who", 1))},
		{Kind: step.Waiting, Scene: 1, Step: 2, Actor: "B", Column: 2, Text: step.T("x.who", int64(2))},
		{Kind: step.Tabled, Scene: 1, Table: step.NewTable([]any{"", step.T("x.head")}, []any{step.T("x.who", 3), 4})},
		{Kind: step.Claimed, Scene: 1, Holds: true, Text: step.T("x.sold", 1, "2s", "C")},
	} {
		sent, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var got step.Event
		if err := json.Unmarshal(sent, &got); err != nil {
			t.Fatal(err)
		}
		if want, got := render(texts, e), render(texts, got); got != want || strings.Contains(got, "%!") {
			t.Errorf("%s is rendered as\n%s\nwant\n%s", sent, got, want)
		}
	}
}

func render(texts step.Catalogue, e step.Event) string {
	var out strings.Builder
	terminal := step.Terminal{Out: &out, Texts: texts}
	terminal.Show(e)
	return out.String()
}

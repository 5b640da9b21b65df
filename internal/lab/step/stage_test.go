package step_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/step"
)

// play plays a stage as scene 1 and returns its events.
func play(t *testing.T, pace step.Pacer, stage *step.Stage) ([]step.Event, error) {
	t.Helper()
	var events []step.Event
	p := step.Player{Pace: pace, Emit: func(e step.Event) { events = append(events, e) }}
	err := p.Play(t.Context(), 1, scene(func() *step.Stage { return stage }))
	return events, err
}

// TestPlayer_sideBySide: each actor with a name has a column of its own, also in its notes; a step without an actor has
// none.
func TestPlayer_sideBySide(t *testing.T) {
	t.Parallel()
	stage := step.Stage{
		SideBySide: true,
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{does("a1", nothing)}},
			{Steps: []step.Step{does("time passes", nothing)}},
			{Name: "B", Steps: []step.Step{does("b1", nothing)}},
		},
		Order: []string{"B", "", "A"},
		Notes: []step.Note{{Actor: "B", Text: step.T("waits")}, {Text: step.T("begins")}, {Actor: "nowhere", Text: step.T("absent")}},
		End: func(_ context.Context, end *step.Ending) error {
			end.Note("ends", 2)
			end.Table([]any{"x"}, []any{1})
			end.Check(false, "claim")
			return nil
		},
	}
	got, err := play(t, nil, &stage)
	if err != nil {
		t.Fatal(err)
	}
	want := []step.Event{
		{Kind: step.Opened, Scene: 1, Text: step.T("title")},
		{Kind: step.Noted, Scene: 1, Actor: "B", Column: 2, Text: step.T("waits")},
		{Kind: step.Noted, Scene: 1, Text: step.T("begins")},
		{Kind: step.Noted, Scene: 1, Actor: "nowhere", Text: step.T("absent")},
		{Kind: step.Done, Scene: 1, Step: 1, Actor: "B", Column: 2, Text: step.T("b1")},
		{Kind: step.Done, Scene: 1, Step: 2, Text: step.T("time passes")},
		{Kind: step.Done, Scene: 1, Step: 3, Actor: "A", Column: 1, Text: step.T("a1")},
		{Kind: step.Noted, Scene: 1, Text: step.T("ends", 2)},
		{Kind: step.Tabled, Scene: 1, Table: step.NewTable([]any{"x"}, []any{1})},
		{Kind: step.Claimed, Scene: 1, Text: step.T("claim")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events, want (-), got (+):\n%s", diff)
	}
}

// TestPlayer_asked: what the reader is asked has all that the step says of itself, and the result can be a table.
func TestPlayer_asked(t *testing.T) {
	t.Parallel()
	table := step.NewTable([]any{"sold"}, []any{1})
	s := step.Step{
		Label: step.T("a1", 7), Ask: "how many?", Statement: "SELECT 1", Choices: []step.Text{step.T("one")}, Chosen: func(int) {},
		Do: func(context.Context) (step.Result, error) { return step.Result{Table: table}, nil },
	}
	got, err := play(t, step.NewKeyboard(strings.NewReader("a\n")), &step.Stage{Actors: []*step.Actor{{Name: "A", Steps: []step.Step{s}}}, Order: []string{"A"}})
	if err != nil {
		t.Fatal(err)
	}
	ask := step.T("how many?")
	want := []step.Event{
		{Kind: step.Opened, Scene: 1, Text: step.T("title")},
		{Kind: step.Asked, Scene: 1, Step: 1, Actor: "A", Text: step.T("a1", 7), Statement: "SELECT 1", Ask: &ask, Choices: []step.Text{step.T("one")}},
		{Kind: step.Done, Scene: 1, Step: 1, Actor: "A", Text: step.T("a1", 7), Table: table},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events, want (-), got (+):\n%s", diff)
	}
}

// TestPlayer_openFails: the error of a scene that cannot open ends the play, also when it is opened for a replay.
func TestPlayer_openFails(t *testing.T) {
	t.Parallel()
	gone := errors.New("the server is gone")
	opened, closed := 0, 0
	s := step.Scene{Title: step.T("title"), Open: func(context.Context) (*step.Stage, error) {
		if opened++; opened == 2 {
			return nil, gone
		}
		return &step.Stage{
			Actors: []*step.Actor{{Name: "A", Steps: []step.Step{does("a1", nothing)}}}, Order: []string{"A"},
			Close: func(context.Context) error { closed++; return nil },
		}, nil
	}}
	p := step.Player{Emit: func(step.Event) {}, Pace: step.NewKeyboard(strings.NewReader("1\n\n"))}
	if err := p.Play(t.Context(), 1, s); !errors.Is(err, gone) || opened != 2 || closed != 1 {
		t.Errorf("play = %v after %d openings and %d closings; want %v, 2, 1", err, opened, closed, gone)
	}
}

// TestPlayer_errorsOfStepAndClose: the error of a step does not hide that of Close. The stage is closed with a
// context that still lives after an interruption.
func TestPlayer_errorsOfStepAndClose(t *testing.T) {
	t.Parallel()
	broken, leak := errors.New("broken"), errors.New("a row is left")
	ctx, interrupt := context.WithCancel(t.Context())
	stage := &step.Stage{
		Actors: []*step.Actor{{Name: "A", Steps: []step.Step{does("a1", func(context.Context) error { interrupt(); return broken })}}},
		Order:  []string{"A"},
		Close: func(ctx context.Context) error {
			if ctx.Err() != nil {
				t.Errorf("the stage is closed with a context that has ended: %v", ctx.Err())
			}
			return leak
		},
	}
	p := step.Player{Emit: func(step.Event) {}}
	err := p.Play(ctx, 1, scene(func() *step.Stage { return stage }))
	if !errors.Is(err, leak) || !errors.Is(err, broken) && !errors.Is(err, context.Canceled) {
		t.Errorf("play = %v, want the error of Close and what ended the steps", err)
	}
}

// TestPlayer_lookFails: a place that cannot be read ends the play, and the error says after which step.
func TestPlayer_lookFails(t *testing.T) {
	t.Parallel()
	gone := errors.New("the server is gone")
	looks := 0
	stage := &step.Stage{
		Actors: []*step.Actor{{Name: "A", Steps: []step.Step{does("a1", nothing), does("a2", nothing), does("a3", nothing)}}},
		Order:  []string{"A", "A", "A"},
		Look: []step.Looker{func(context.Context) (step.View, error) {
			if looks++; looks == 2 {
				return step.View{}, gone
			}
			return step.View{Rows: []string{"row"}}, nil
		}},
	}
	_, err := play(t, step.NewKeyboard(strings.NewReader("\n\n\n")), stage)
	if !errors.Is(err, gone) || err.Error() != "look after step 2: the server is gone" {
		t.Errorf("play = %v, want the error of the look after step 2", err)
	}
}

// TestPlayQuietly: the steps of a stage are executed in its order, and their errors are returned. It neither ends nor
// closes the stage: both belong to the caller.
func TestPlayQuietly(t *testing.T) {
	t.Parallel()
	gone := errors.New("the server is gone")
	for name, tt := range map[string]struct {
		fails error
		want  string
	}{"all": {nil, "b1 a1 b2"}, "to the error": {gone, "b1 a1"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var executed []string
			note := func(label string, err error) step.Step {
				return does(label, func(context.Context) error { executed = append(executed, label); return err })
			}
			mustNot := func(context.Context) error { t.Error("the stage was ended or closed"); return nil }
			err := step.PlayQuietly(t.Context(), &step.Stage{
				Actors: []*step.Actor{
					{Name: "A", Steps: []step.Step{note("a1", tt.fails)}}, {Name: "B", Steps: []step.Step{note("b1", nil), note("b2", nil)}},
				},
				Order: []string{"B", "A", "B"},
				End:   func(ctx context.Context, _ *step.Ending) error { return mustNot(ctx) },
				Close: mustNot,
			})
			if !errors.Is(err, tt.fails) || strings.Join(executed, " ") != tt.want {
				t.Errorf("executed %v, error %v; want %s and %v", executed, err, tt.want, tt.fails)
			}
		})
	}
}

// TestKeyboard_Next reads one line for each step, whatever it is.
func TestKeyboard_Next(t *testing.T) {
	t.Parallel()
	next := step.Event{Kind: step.Asked, Scene: 2, Step: 3, Choices: []step.Text{step.T("one"), step.T("two")}}
	for line, want := range map[string]step.Move{
		"":                     {},
		"  ":                   {},
		"a":                    {Choice: 1},
		" b ":                  {Choice: 2},
		"c":                    {Unknown: true},
		"A":                    {Unknown: true},
		"ab":                   {Unknown: true},
		"`":                    {Unknown: true}, // the character before a
		"1":                    {ReplayTo: 1},
		"12":                   {ReplayTo: 12},
		"0":                    {Unknown: true},
		"-1":                   {Unknown: true},
		"1.5":                  {Unknown: true},
		"99999999999999999999": {Unknown: true},
	} {
		got, err := step.NewKeyboard(strings.NewReader(line+"\n")).Next(t.Context(), next)
		if err != nil || got != want {
			t.Errorf("%q: %+v, error %v; want %+v", line, got, err, want)
		}
	}
	k := step.NewKeyboard(strings.NewReader("q\n"))
	for _, want := range []string{"stopped by the reader before step 2.3", "stopped by the reader before step 2.3: the input has ended"} {
		if _, err := k.Next(t.Context(), next); !errors.Is(err, step.ErrStopped) || err.Error() != want {
			t.Errorf("Next = %v, want %s", err, want)
		}
	}
}

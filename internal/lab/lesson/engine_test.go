package lesson_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/lesson"
	"holdfast/internal/lab/step"
)

// steps returns a lesson with one scene of n steps, which registers what clean does for each of its two functions.
func steps(n int, do func(context.Context) error, clean func(ctx context.Context, name string) error) lesson.Lesson {
	return lesson.Lesson{Name: "naive", Scenes: func(_ context.Context, e *lesson.Env) ([]step.Scene, error) {
		e.Clean(func(ctx context.Context) error { return clean(ctx, "lesson 1") })
		e.Clean(func(ctx context.Context) error { return clean(ctx, "lesson 2") })
		return []step.Scene{{Title: step.T("naive.title"), Open: func(context.Context) (*step.Stage, error) {
			actor, stage := &step.Actor{Name: "A"}, &step.Stage{}
			for range n {
				actor.Steps = append(actor.Steps, step.Step{Label: step.T("naive.title"), Do: func(ctx context.Context) (step.Result, error) {
					return step.Result{}, do(ctx)
				}})
				stage.Order = append(stage.Order, "A")
			}
			stage.Actors = []*step.Actor{actor}
			stage.End = func(_ context.Context, end *step.Ending) error { end.Check(true, "naive.hand.twice"); return nil }
			return stage, nil
		}}}, nil
	}}
}

// TestRun_cleans: what a lesson has registered is cleaned in reverse order at each end of it, with a context that
// lives.
func TestRun_cleans(t *testing.T) {
	t.Parallel()
	gone := errors.New("the server is gone")
	for name, tt := range map[string]struct {
		do    func(interrupt func()) error
		wants error
	}{
		"to the end":  {func(func()) error { return nil }, nil},
		"a failure":   {func(func()) error { return gone }, gone},
		"interrupted": {func(interrupt func()) error { interrupt(); return context.Canceled }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var cleaned []string
			l := steps(1, func(context.Context) error { return tt.do(interrupt) }, func(ctx context.Context, name string) error {
				if ctx.Err() != nil {
					t.Errorf("%s is cleaned with a context that has ended: %v", name, ctx.Err())
				}
				cleaned = append(cleaned, name)
				return nil
			})
			got, err := lesson.Run(ctx, l, lesson.Config{Out: io.Discard})
			if !errors.Is(err, tt.wants) || got.Holds != (tt.wants == nil) {
				t.Errorf("run = %v, holds %t; want %v", err, got.Holds, tt.wants)
			}
			if diff := cmp.Diff([]string{"lesson 2", "lesson 1"}, cleaned); diff != "" {
				t.Errorf("cleaned, want (-), got (+):\n%s", diff)
			}
		})
	}
}

// TestRun_cleanUpFails: a lesson that leaves something behind does not hold, and the other functions still run.
func TestRun_cleanUpFails(t *testing.T) {
	t.Parallel()
	left, cleaned := errors.New("a database is left"), 0
	l := steps(1, func(context.Context) error { return nil }, func(_ context.Context, name string) error {
		cleaned++
		if name == "lesson 2" {
			return left
		}
		return nil
	})
	var out strings.Builder
	got, err := lesson.Run(t.Context(), l, lesson.Config{Out: &out})
	if !errors.Is(err, left) || got.Holds || !strings.Contains(got.Error, "clean up: a database is left") || cleaned != 2 {
		t.Errorf("run = %v, %+v after %d functions; want %v", err, got, cleaned, left)
	}
	if strings.Contains(out.String(), "passed") {
		t.Errorf("the output says that it passed:\n%s", out.String())
	}
}

// TestRun_events: another reader of the events gets what the terminal prints, in the same order, and numbers of scenes
// from 1.
func TestRun_events(t *testing.T) {
	t.Parallel()
	l := steps(1, func(context.Context) error { return nil }, func(context.Context, string) error { return nil })
	one := l.Scenes
	l.Scenes = func(ctx context.Context, e *lesson.Env) ([]step.Scene, error) {
		scenes, err := one(ctx, e)
		return append(scenes, scenes...), err
	}
	var events []step.Event
	var out strings.Builder
	if _, err := lesson.Run(t.Context(), l, lesson.Config{Out: &out, Lang: "zh", Events: func(e step.Event) { events = append(events, e) }}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, string(e.Kind)+" "+strings.Repeat("I", e.Scene))
	}
	if diff := cmp.Diff([]string{"opened I", "done I", "claimed I", "opened II", "done II", "claimed II"}, got); diff != "" {
		t.Errorf("events, want (-), got (+):\n%s", diff)
	}
	if printed := inChinese(t, events); !strings.Contains(out.String(), printed) {
		t.Errorf("printed\n%s\nand the events say\n%s", out.String(), printed)
	}
}

// TestRun_refused: a lesson with a language or a parameter that it does not have is not begun.
func TestRun_refused(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]lesson.Config{
		`language "fr" is unknown; it is one of en, zh`: {Lang: "fr"},
		`language "../en" is unknown`:                   {Lang: "../en"},
		"lesson naive has no parameter ttl":             {Params: lesson.Params{TTL: time.Second}},
	} {
		l := steps(1, func(context.Context) error { return nil }, func(context.Context, string) error { return nil })
		scenes := l.Scenes
		l.Scenes = func(ctx context.Context, e *lesson.Env) ([]step.Scene, error) {
			t.Errorf("%s: it was begun", want)
			return scenes(ctx, e)
		}
		var out strings.Builder
		cfg.Out = &out
		if _, err := lesson.Run(t.Context(), l, cfg); err == nil || !strings.Contains(err.Error(), want) || out.Len() > 0 {
			t.Errorf("run = %v, want %s; printed %q", err, want, out.String())
		}
	}
}

// TestParams_Check: each bound of a parameter, and all faults at once.
func TestParams_Check(t *testing.T) {
	t.Parallel()
	all := lesson.Lesson{Name: "x", Takes: []string{"ttl", "buyers", "pause"}}
	for _, tt := range []struct {
		params lesson.Params
		lesson lesson.Lesson
		want   []string
	}{
		{lesson.Params{}, lesson.Lesson{Name: "x"}, nil},
		{lesson.Params{TTL: 200 * time.Millisecond, Buyers: 21, Pause: time.Nanosecond}, all, nil},
		{lesson.Params{TTL: time.Hour, Buyers: 2000, Pause: time.Hour}, all, nil},
		{lesson.Params{TTL: 200*time.Millisecond - 1}, all, []string{"ttl is 199.999999ms, not between 200ms and 1h0m0s"}},
		{lesson.Params{TTL: -time.Second}, all, []string{"ttl is -1s"}},
		{lesson.Params{TTL: time.Hour + 1}, all, []string{"ttl is 1h0m0.000000001s"}},
		{lesson.Params{Buyers: 20}, all, []string{"buyers is 20, not between 21 and 2000"}},
		{lesson.Params{Buyers: -1}, all, []string{"buyers is -1"}},
		{lesson.Params{Buyers: 2001}, all, []string{"buyers is 2001"}},
		{lesson.Params{Pause: -1}, all, []string{"pause is -1ns, not between 0 and 1h0m0s"}},
		{lesson.Params{Pause: time.Hour + 1}, all, []string{"pause is 1h0m0.000000001s"}},
		{
			lesson.Params{TTL: 1, Buyers: 1, Pause: -1},
			lesson.Lesson{Name: "x", Takes: []string{"buyers"}},
			[]string{"x has no parameter ttl", "x has no parameter pause", "ttl is 1ns", "buyers is 1,", "pause is -1ns"},
		},
	} {
		var got []string
		if err := tt.params.Check(tt.lesson); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if len(got) != len(tt.want) {
			t.Errorf("%+v: faults %q, want %d", tt.params, got, len(tt.want))
			continue
		}
		for i, want := range tt.want {
			if !strings.Contains(got[i], want) {
				t.Errorf("%+v: fault %q, want %q", tt.params, got[i], want)
			}
		}
	}
}

// TestFind: a name finds its lesson and nothing else does. No two lessons have one name.
func TestFind(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, l := range lesson.All() {
		got, ok := lesson.Find(l.Name)
		if !ok || got.Name != l.Name || seen[l.Name] {
			t.Errorf("find %s: %s, %t; seen before %t", l.Name, got.Name, ok, seen[l.Name])
		}
		seen[l.Name] = true
	}
	for _, name := range []string{"", "Naive", "naive ", "naive.md", "../naive"} {
		if got, ok := lesson.Find(name); ok {
			t.Errorf("%q found the lesson %s", name, got.Name)
		}
	}
}

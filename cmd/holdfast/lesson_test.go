package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/lab/lesson"
	"holdfast/internal/lab/step"
)

// oneScene returns a lesson whose only scene has no steps and calls end.
func oneScene(name, title string, end func(ctx context.Context, e *step.Ending) error) lesson.Lesson {
	return lesson.Lesson{Name: name, Scenes: func(context.Context, *lesson.Env) ([]step.Scene, error) {
		return []step.Scene{{Title: step.T(title), Open: func(context.Context) (*step.Stage, error) {
			return &step.Stage{End: end}, nil
		}}}, nil
	}}
}

// TestLesson_sideBySide runs three lessons of which the first waits until the others have ended: their texts still come
// in order, all results are there, and the one that fails stops no other.
func TestLesson_sideBySide(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{}, 2)
	check := func(holds bool) func(context.Context, *step.Ending) error {
		return func(_ context.Context, e *step.Ending) error {
			e.Check(holds, "naive.hand.twice")
			ended <- struct{}{}
			return nil
		}
	}
	lessons := []lesson.Lesson{
		oneScene("naive", "naive.title", func(ctx context.Context, e *step.Ending) error {
			for range 2 {
				select {
				case <-ended:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			e.Check(true, "naive.hand.twice")
			return nil
		}),
		oneScene("optimistic", "optimistic.title", check(false)),
		oneScene("fence", "fence.title", check(true)),
	}
	var out bytes.Buffer
	var held []string
	results, err := (&lessonCmd{All: true}).run(t.Context(), lessons, lesson.Config{Out: &out}, func(name string) { held = append(held, name) })
	if !errors.Is(err, lesson.ErrDoesNotHold) || len(results) != 3 || results[0].Name != "naive" || results[2].Name != "fence" {
		t.Errorf("%+v, error %v", results, err)
	}
	if got := strings.Join(held, " "); got != "fence naive" {
		t.Errorf("held: %s", got)
	}
	first, second, third := strings.Index(out.String(), "Lesson naive"), strings.Index(out.String(), "Lesson optimistic"), strings.Index(out.String(), "Lesson fence")
	if first < 0 || second < first || third < second {
		t.Errorf("printed out of order:\n%s", out.String())
	}
}

// TestLesson_interrupted interrupts lessons that run: no other is begun, and what those have is there.
func TestLesson_interrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var lessons []lesson.Lesson
	for range sideBySide + 2 {
		lessons = append(lessons, oneScene("naive", "naive.title", func(ctx context.Context, _ *step.Ending) error {
			interrupt()
			<-ctx.Done()
			return ctx.Err()
		}))
	}
	var out bytes.Buffer
	results, err := (&lessonCmd{All: true}).run(ctx, lessons, lesson.Config{Out: &out}, func(string) { t.Error("a lesson held") })
	if !errors.Is(err, context.Canceled) || len(results) == 0 || len(results) > sideBySide {
		t.Errorf("%d results, error %v", len(results), err)
	}
}

// TestLesson_step lets a reader step through a lesson whose standard input is a pipe.
func TestLesson_step(t *testing.T) {
	t.Parallel()
	env := append(os.Environ(), asMain+"=1", "LANG=zh_CN.UTF-8", "HOLDFAST_REDIS="+stacktest.Redis(t), "HOLDFAST_MYSQL="+stacktest.MySQL(t))
	for name, tt := range map[string]struct {
		typed  string
		flags  []string
		status int
		want   []string
		not    string
	}{
		"to the end":   {strings.Repeat("\n", 6), nil, 0, []string{"? 第一个买家会读到什么？", "库存行: available=1", "4 项检查全部通过"}, "checks passed"},
		"a replay":     {"\n\n1\n" + strings.Repeat("\n", 6), []string{"--lang", "en"}, 0, []string{"[1.3]", "to step 1", "4 checks passed"}, "项检查"},
		"q":            {"\nq\n", nil, 1, []string{"[1.2]", "stopped by the reader before step 1.2"}, "✓"},
		"end of input": {"\n\n", nil, 1, []string{"[1.3]", "before step 1.3: the input has ended"}, "✓"},
		"parameter":    {"", []string{"--ttl", "1s"}, 2, []string{"lesson naive has no parameter ttl"}, "[1.1]"},
		"buyers":       {"", []string{"--buyers", "20"}, 2, []string{"buyers is 20, not between 21 and 2000"}, "[1.1]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"--dir", t.TempDir(), "lesson", "naive", "--step"}, tt.flags...)...)
			var out bytes.Buffer
			cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, strings.NewReader(tt.typed), &out, &out
			err := cmd.Run()
			status := 0
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				status = e.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if status != tt.status {
				t.Errorf("exit status %d, want %d", status, tt.status)
			}
			says(t, out.String(), tt.want, tt.not)
		})
	}
}

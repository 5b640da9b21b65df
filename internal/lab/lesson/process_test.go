package lesson_test

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/internal/lab/lesson"
	"holdfast/internal/lab/step"
	"holdfast/pkg/mq"
)

// withProcess runs a lesson whose process is a shell script, and calls f with it. The script gets the names of the
// lesson and of the role as $0 and $1. It returns the error of the run.
func withProcess(t *testing.T, script string, f func(ctx context.Context, p *lesson.Process) error) error {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("sh is missing")
	}
	l := lesson.Lesson{Name: "naive", Scenes: func(ctx context.Context, e *lesson.Env) ([]step.Scene, error) {
		p, err := e.Start("buyer", "MUG", "2")
		if err != nil {
			return nil, err
		}
		if err := f(ctx, p); err != nil {
			return nil, err
		}
		return scenes(func(end *step.Ending) error { end.Check(true, "naive.hand.twice"); return nil }).Scenes(ctx, e)
	}}
	_, err := lesson.Run(t.Context(), l, lesson.Config{Out: io.Discard, Self: []string{"sh", "-c", script}})
	return err
}

// TestProcess_orders: a process gets its arguments and the orders of its lesson, and ends by itself with the lesson.
func TestProcess_orders(t *testing.T) {
	t.Parallel()
	err := withProcess(t, `echo args $0 $*; while read order; do echo did "$order" ; done`, func(ctx context.Context, p *lesson.Process) error {
		if got, err := p.Await(ctx, "args"); err != nil || got != "naive buyer MUG 2" {
			t.Errorf("the process was started with %q, error %v", got, err)
		}
		for _, order := range []string{"buy", "buy 2 MUG"} {
			if err := p.Tell(order); err != nil {
				t.Error(err)
			}
			if got, err := p.Await(ctx, "did"); err != nil || got != order {
				t.Errorf("report %q, error %v; want %q", got, err, order)
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("run = %v", err)
	}
}

// TestProcess_Await: a report that was not expected and the end of the process are errors that say so.
func TestProcess_Await(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ script, want string }{
		"another word":   {"echo failed: no stock; read end", `wait for "did" of buyer: got "failed: no stock"`},
		"a longer word":  {"echo didnt; read end", `wait for "did" of buyer: got "didnt"`},
		"an empty line":  {"echo; read end", `wait for "did" of buyer: got ""`},
		"it has ended":   {"exit 0", `wait for "did" of buyer: it has ended`},
		"it has crashed": {"echo it broke >&2; exit 3", "exit status 3\nit broke"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := withProcess(t, tt.script, func(ctx context.Context, p *lesson.Process) error {
				_, err := p.Await(ctx, "did")
				return err
			})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("run = %v, want %q", err, tt.want)
			}
		})
	}
	err := withProcess(t, "read end", func(ctx context.Context, p *lesson.Process) error {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		_, err := p.Await(ctx, "did")
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after an interruption: %v", err)
	}
}

// TestProcess_fails: an error of a process fails a lesson whose checks all hold, unless the lesson has killed it.
func TestProcess_fails(t *testing.T) {
	t.Parallel()
	err := withProcess(t, "read end; echo DATA RACE >&2; exit 66", func(context.Context, *lesson.Process) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "exit status 66\nDATA RACE") || !strings.Contains(err.Error(), "clean up: buyer (process ") {
		t.Errorf("run = %v, want the exit status of the process and what it wrote", err)
	}
	err = withProcess(t, "echo ready; read end; exit 66", func(ctx context.Context, p *lesson.Process) error {
		if _, err := p.Await(ctx, "ready"); err != nil {
			return err
		}
		return p.Kill()
	})
	if err != nil {
		t.Errorf("run = %v, and the lesson has killed the process", err)
	}
}

// TestEnv_Start_missing: a program that cannot be started is an error that names the role.
func TestEnv_Start_missing(t *testing.T) {
	t.Parallel()
	l := lesson.Lesson{Name: "naive", Scenes: func(_ context.Context, e *lesson.Env) ([]step.Scene, error) {
		_, err := e.Start("buyer")
		return nil, err
	}}
	_, err := lesson.Run(t.Context(), l, lesson.Config{Out: io.Discard, Self: []string{"./no-such-program"}})
	if err == nil || !strings.Contains(err.Error(), "start buyer: ") {
		t.Errorf("run = %v, want an error that names the role", err)
	}
}

// TestRunRole: the arguments choose the role, and a role that is unknown is refused.
func TestRunRole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "missing arguments; use lesson-role LESSON ROLE [ARG...]"},
		{[]string{"naive"}, "missing arguments; use lesson-role LESSON ROLE [ARG...]"},
		{[]string{"naive", "nothing"}, `lesson "naive" has no role "nothing"`},
		{[]string{"no-lesson", "buyer"}, `lesson "no-lesson" has no role "buyer"`},
		{[]string{"", ""}, `lesson "" has no role ""`},
	} {
		var out testkit.Buffer
		err := lesson.RunRole(t.Context(), tt.args, strings.NewReader("order\n"), &out)
		if err == nil || err.Error() != tt.want || out.String() != "" {
			t.Errorf("%q: %v, printed %q; want %s", tt.args, err, out.String(), tt.want)
		}
	}
}

// TestEnv_Until waits for a condition, and names it when the wait ends without it.
func TestEnv_Until(t *testing.T) {
	t.Parallel()
	gone := errors.New("the server is gone")
	for name, tt := range map[string]struct {
		condition func(asked int, interrupt func()) (bool, error)
		asked     int
		want      error
	}{
		"at once":     {func(int, func()) (bool, error) { return true, nil }, 1, nil},
		"the third":   {func(asked int, _ func()) (bool, error) { return asked == 3, nil }, 3, nil},
		"an error":    {func(int, func()) (bool, error) { return false, gone }, 1, gone},
		"interrupted": {func(_ int, interrupt func()) (bool, error) { interrupt(); return false, nil }, 1, context.Canceled},
		"busy": {func(asked int, _ func()) (bool, error) { // a service that did not answer in time may answer the next time
			if asked < 3 {
				return false, mq.ErrTimeout
			}
			return true, nil
		}, 3, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			l := lesson.Lesson{Name: "naive", Scenes: func(ctx context.Context, e *lesson.Env) ([]step.Scene, error) {
				ctx, interrupt := context.WithTimeout(ctx, time.Minute)
				defer interrupt()
				return nil, e.Until(ctx, "the lock is free", func(context.Context) (bool, error) {
					asked++
					return tt.condition(asked, interrupt)
				})
			}}
			_, err := lesson.Run(t.Context(), l, lesson.Config{Out: io.Discard})
			if tt.want == nil && !errors.Is(err, lesson.ErrDoesNotHold) { // it makes no check
				t.Errorf("run = %v, want that nothing was checked", err)
			}
			if tt.want != nil && (!errors.Is(err, tt.want) || !strings.Contains(err.Error(), "wait until the lock is free: ")) {
				t.Errorf("run = %v, want %v of a wait for the lock", err, tt.want)
			}
			if asked != tt.asked {
				t.Errorf("the condition was checked %d times, want %d", asked, tt.asked)
			}
		})
	}
}

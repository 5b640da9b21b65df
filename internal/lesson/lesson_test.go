package lesson_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"holdfast/internal/lesson"
	"holdfast/internal/stack"
	"holdfast/internal/stack/stacktest"
	"holdfast/pkg/database/dbtest"
)

// TestMain lets the test's own binary be a lesson's process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == lesson.RoleArg {
		if err := lesson.RunRole(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestLessons runs every lesson: what the pages say must come out.
func TestLessons(t *testing.T) {
	t.Parallel()
	for _, l := range lesson.All() {
		t.Run(l.Name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			err := lesson.Run(t.Context(), l, config(t, &out))
			t.Log("\n" + out.String())
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func config(t *testing.T, out *strings.Builder) lesson.Config {
	t.Helper()
	servers := lesson.NewServers(stack.Vars{Redis: stacktest.Redis(t), MySQL: dbtest.Server(t)}, nil)
	return lesson.Config{Servers: servers, Self: []string{os.Args[0], lesson.RoleArg}, Out: out}
}

func TestRun_DoesNotHold(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(context.Context, *lesson.Env) error{
		"a claim is not true": func(_ context.Context, e *lesson.Env) error {
			e.Check(true, "one")
			e.Check(false, "two")
			return nil
		},
		"nothing is claimed": func(context.Context, *lesson.Env) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			err := lesson.Run(t.Context(), lesson.Lesson{Name: "x", Run: run}, lesson.Config{Out: &out})
			if !errors.Is(err, lesson.ErrDoesNotHold) {
				t.Errorf("run = %v, want ErrDoesNotHold", err)
			}
		})
	}
}

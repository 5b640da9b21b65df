package lesson_test

import (
	"strings"
	"testing"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/lesson"
)

// TestRun_skipped: a lesson that needs what the machine lacks says so and is no failure.
func TestRun_skipped(t *testing.T) {
	t.Setenv("PATH", t.TempDir())           // no Java
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // no jars
	l, _ := lesson.Find("rocketmq-tour")
	var out strings.Builder
	got, err := lesson.Run(t.Context(), l, lesson.Config{Servers: stack.NewOnDemand(stack.Vars{}, nil), Out: &out})
	if err != nil || got.Skipped == "" || got.Holds || len(got.Claims) != 0 {
		t.Errorf("%+v, error %v", got, err)
	}
	if !strings.Contains(out.String(), "Skipped: this lesson needs RocketMQ, and ") {
		t.Errorf("the output does not say what is missing:\n%s", out.String())
	}
}

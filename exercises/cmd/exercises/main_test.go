package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// hint runs the command hint with a record of its own.
func hint(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	args = append([]string{"--dir", dir, "--progress", filepath.Join(dir, "course.json"), "hint"}, args...)
	err := run(t.Context(), args, &out)
	return out.String(), err
}

// TestHint: the real exercises' hints, in both languages, one after the other.
func TestHint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"1", "--lang", "en"}, "Exercise 1, hint 1 of 3: "},
		{[]string{"1", "--lang", "zh"}, "练习 1，第 2 条提示（共 3 条）："},
		{[]string{"1", "1", "--lang", "en"}, "Exercise 1, hint 1 of 3: "},
		{[]string{"2", "--lang", "en"}, "Exercise 2, hint 1 of 3: "},
		{[]string{"1", "--lang", "en"}, "This is the last hint. A solution is in exercises/solutions/01-conditional-update/exercise.go.\n"},
	} {
		got, err := hint(t, dir, tt.args...)
		if err != nil || !strings.Contains(got, tt.want) || strings.Contains(got, "%!") {
			t.Errorf("hint %v: %q, %v; want %q", tt.args, got, err, tt.want)
		}
	}
}

// TestUsage: what does not exist is an error of the command line, with exit status 2.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"0"}, {"11"}, {"1", "4"}, {"x"}, {"1", "--lang", "fr"}} {
		_, err := hint(t, t.TempDir(), args...)
		if e, ok := errors.AsType[exit](err); !ok || e.code != 2 {
			t.Errorf("hint %v: %v, want exit status 2", args, err)
		}
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{"": "make try EX=4", "docker compose run --rm exercises": "docker compose run --rm exercises try 4"} {
		if got := commands(command)("try", 4); got != want {
			t.Errorf("%q: %q, want %q", command, got, want)
		}
	}
}

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/lab/course"
)

// runCourse returns what the command prints.
func runCourse(t *testing.T, dir string, flags ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), append([]string{"--dir", dir, "course"}, flags...), &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestCourse: what is recorded is shown as done in both languages, and forgotten by --reset.
func TestCourse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"naive", "mutex-two-instances"} {
		if err := course.Record(filepath.Join(dir, "course.json"), name, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	says(t, runCourse(t, dir, "--lang", "en"), []string{"    ✓ naive ", "    > optimistic ", "2 of ", "Code to write: exercise 1", "Next: 3. Optimistic locking, holdfast lesson optimistic\n"}, "%!")
	says(t, runCourse(t, dir, "--lang", "zh"), []string{"    ✓ naive ", "读、减、写", "接下来：3. 乐观锁，holdfast lesson optimistic\n"}, "%!")
	says(t, runCourse(t, dir, "--lang", "en", "--reset"), []string{"    > naive ", "0 of "}, "✓")
	says(t, runCourse(t, dir, "--lang", "en"), []string{"0 of "}, "✓")
}

// TestCourse_Damaged: the error names the file and the way out, and --reset is it.
func TestCourse_Damaged(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "mine.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := run(t.Context(), []string{"--progress", file, "course"}, &out)
	if err == nil || out.Len() > 0 {
		t.Fatalf("error %v, output %q", err, out.String())
	}
	says(t, err.Error(), []string{file, "holdfast course --reset"})
	if err := run(t.Context(), []string{"--progress", file, "course", "--reset"}, &out); err != nil {
		t.Error(err)
	}
}

func TestCourse_json(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := course.Record(filepath.Join(dir, "course.json"), "naive", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := course.Record(filepath.Join(dir, "course.json"), "03-optimistic-retry", time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	got := decode[struct {
		Done     int    `json:"done"`
		Passed   int    `json:"passed"`
		Next     string `json:"next"`
		Chapters []struct {
			Title    string `json:"title"`
			Minutes  int    `json:"minutes"`
			Optional bool   `json:"optional"`
			Lessons  []struct {
				Name   string     `json:"name"`
				HeldAt *time.Time `json:"held_at"`
			} `json:"lessons"`
			Exercise *struct {
				Number int        `json:"number"`
				Name   string     `json:"name"`
				HeldAt *time.Time `json:"held_at"`
			} `json:"exercise"`
		} `json:"chapters"`
	}](t, strings.NewReader(runCourse(t, dir, "--lang", "en", "--json")))
	first := got.Chapters[0]
	third := got.Chapters[2].Exercise
	if got.Passed != 1 || first.Exercise.Number != 1 || first.Exercise.HeldAt != nil || got.Chapters[1].Exercise != nil ||
		third.Name != "03-optimistic-retry" || third.HeldAt == nil || !third.HeldAt.Equal(time.Unix(1, 0)) {
		t.Errorf("exercises: %+v, %+v, %+v", got.Passed, first.Exercise, third)
	}
	if got.Done != 1 || got.Next != "mutex-two-instances" || len(got.Chapters) != len(course.Chapters()) || first.Title != "1. Why a lock" ||
		first.Lessons[0].HeldAt == nil || !first.Lessons[0].HeldAt.Equal(time.Unix(0, 0)) || got.Chapters[1].Lessons[0].HeldAt != nil {
		t.Errorf("%+v", got)
	}
}

// TestLesson_recorded runs lessons in processes of their own: one that held is done and names the next one in its last
// line, one that was stopped is not done, and a file that cannot be written does not fail a lesson.
func TestLesson_recorded(t *testing.T) {
	t.Parallel()
	env := append(os.Environ(), asMain+"=1", "HOLDFAST_REDIS="+stacktest.Redis(t), "HOLDFAST_MYSQL="+stacktest.MySQL(t))
	dir := t.TempDir()
	lesson := func(typed string, ok bool, args ...string) string {
		cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"--dir", dir}, args...)...)
		var out bytes.Buffer
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, strings.NewReader(typed), &out, &out
		if err := cmd.Run(); (err == nil) != ok {
			t.Errorf("%v: error %v\n%s", args, err, out.String())
		}
		return out.String()
	}
	says(t, lesson("q\n", false, "lesson", "naive", "--step", "--lang", "en"), []string{"stopped by the reader"}, "Next in the course")
	says(t, runCourse(t, dir, "--lang", "en"), []string{"    > naive "}, "✓")

	const line = "\nFirst write exercise 1: make try EX=1. Next in the course: holdfast lesson mutex-two-instances\n"
	if got := lesson("", true, "lesson", "naive", "--lang", "en"); !strings.HasSuffix(got, line) {
		t.Errorf("the last line does not name the next lesson:\n%s", got)
	}
	says(t, runCourse(t, dir, "--lang", "en"), []string{"    ✓ naive ", "    > mutex-two-instances "})

	file := filepath.Join(dir, "a-file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := lesson("", true, "--progress", filepath.Join(file, "course.json"), "lesson", "naive", "--lang", "en")
	says(t, got, []string{"4 checks passed", "a-file", line})
}

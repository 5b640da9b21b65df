package course_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/course"
	"holdfast/internal/lab/step"
)

// update makes TestLessonPages write the pages: go test ./internal/lab/course -run LessonPages -update.
var update = flag.Bool("update", false, "write the head and the foot of the lessons' pages")

var (
	// top is a page's title, the link to its translation and, if it is there, its head.
	top = regexp.MustCompile(`\A(# .*\n\n(?:中文|English)[：:].*\n\n)(?:(?:> .*\n)+\n)?`)
	// bottom is the line and the foot at a page's end.
	bottom = regexp.MustCompile(`\n---\n\n[^\n]*\n\z`)
	// printed is the end of the example of what a lesson prints, with the line that names the next lesson if it is there.
	printed = regexp.MustCompile("(?m)^(.*(?:Read on: |继续阅读：)docs/lessons/.*\n)(?:.+\n)?^```$")
)

// withCourse returns a lesson's page with the head, the foot and the last line of its example by the order of the
// course.
func withCourse(t *testing.T, text, name, suffix string, names step.Catalogue) string {
	t.Helper()
	if !top.MatchString(text) || len(printed.FindAllString(text, -1)) != 1 {
		t.Fatalf("%s%s has no title with the link to its translation, or not one example of what the lesson prints", name, suffix)
	}
	p := course.PageOf(name, suffix, names)
	text = top.ReplaceAllStringFunc(text, func(found string) string { return top.FindStringSubmatch(found)[1] + p.Head + "\n" })
	text = printed.ReplaceAllStringFunc(text, func(found string) string {
		return printed.FindStringSubmatch(found)[1] + course.Follow(names, name) + "\n```"
	})
	return bottom.ReplaceAllString(text, "") + "\n---\n\n" + p.Foot
}

// TestLessonPages: each lesson's page has the goal, the minutes and the prerequisites of the data at its top, and the
// previous and the next lesson at its end.
func TestLessonPages(t *testing.T) {
	t.Parallel()
	for lang, f := range forms() {
		names := texts(t, lang)
		for _, p := range course.Places() {
			file := filepath.Join(docs, "lessons", p.Lesson.Name+f.suffix)
			got := page(t, filepath.Join("lessons", p.Lesson.Name+f.suffix))
			want := withCourse(t, got, p.Lesson.Name, f.suffix, names)
			if *update {
				if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: by the course (-), and the page (+). go test ./internal/lab/course -run LessonPages -update writes it:\n%s", file, diff)
			}
		}
	}
}

// TestWithCourse: a page that has the head and the foot already does not get a second one.
func TestWithCourse(t *testing.T) {
	t.Parallel()
	names := texts(t, "en")
	plain := "# T\n\n中文：[naive.zh.md](naive.zh.md)\n\nBody.\n\n```\nLesson naive: x\n\n1 checks passed in 1s. Read on: docs/lessons/naive.md\n```\n\nEnd.\n"
	once := withCourse(t, plain, "naive", ".md", names)
	for _, want := range []string{
		"naive.zh.md)\n\n> **Goal.** See two", "\n> **Time.** 15 minutes. **Before you start.** Nothing.\\\n",
		"[1. Why a lock](../course.md#1-why-a-lock), lesson 1 of 1.\n\nBody.", "naive.md\nFirst write exercise 1: make try EX=1. Next in the course: holdfast lesson mutex-two-instances\n```\n",
		"\nEnd.\n\n---\n\nPrevious: none · Next: [mutex-two-instances](mutex-two-instances.md) · [The course](../course.md)\n",
	} {
		if !strings.Contains(once, want) {
			t.Errorf("no %q in\n%s", want, once)
		}
	}
	if diff := cmp.Diff(once, withCourse(t, once, "naive", ".md", names)); diff != "" {
		t.Errorf("the second time (+) differs:\n%s", diff)
	}
}

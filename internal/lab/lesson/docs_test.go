package lesson_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/lesson"
)

const docs = "../../../docs/lessons"

// link is a Markdown link's target.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestPages checks that each lesson has a page in both languages with its command and the title that the lesson
// prints, and that the index links to it.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, suffix := range []string{".md", ".zh.md"} {
		index := page(t, "README"+suffix)
		for _, l := range lesson.All() {
			name := l.Name + suffix
			text := page(t, name)
			for _, want := range []string{"bin/holdfast lesson " + l.Name + "\n", "Lesson " + l.Name + ": " + l.Title + "\n"} {
				if !strings.Contains(text, want) {
					t.Errorf("%s lacks %q", name, want)
				}
			}
			if !strings.Contains(index, "("+name+")") {
				t.Errorf("README%s has no link to %s", suffix, name)
			}
		}
	}
}

// output is a page's example of what its lesson prints.
var output = regexp.MustCompile("(?ms)^```\n(Lesson .*?)^```$")

// step matches the lines of an output that do not depend on timing: titles of steps and passed checks.
var step = regexp.MustCompile(`(?m)^ *(\d+\. .*|✓ .*)$`)

var digits = regexp.MustCompile(`\d+(\.\d+)?`)

// comparePages compares the steps and checks that a lesson printed with those of its pages, whatever their numbers are.
func comparePages(t *testing.T, name, printed string) {
	t.Helper()
	steps := func(text string) (lines []string) {
		for _, m := range step.FindAllStringSubmatch(text, -1) {
			lines = append(lines, digits.ReplaceAllString(m[1], "N"))
		}
		return lines
	}
	for _, suffix := range []string{".md", ".zh.md"} {
		shown := output.FindStringSubmatch(page(t, name+suffix))
		if shown == nil {
			t.Fatalf("%s shows no output", name+suffix)
		}
		if diff := cmp.Diff(steps(printed), steps(shown[1])); diff != "" {
			t.Errorf("the lesson's steps (-) and those of %s (+) differ:\n%s", name+suffix, diff)
		}
	}
}

// TestPages_Links checks that the files to which the pages link exist.
func TestPages_Links(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join(docs, "*.md"))
	if err != nil || len(pages) < 2*len(lesson.All()) {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, path := range pages {
		for _, found := range link.FindAllStringSubmatch(page(t, filepath.Base(path)), -1) {
			target, _, _ := strings.Cut(found[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(docs, target)); err != nil {
				t.Errorf("%s: link to %s: %v", filepath.Base(path), found[1], err)
			}
		}
	}
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

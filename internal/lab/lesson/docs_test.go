package lesson_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/lesson"
	"holdfast/internal/lab/step"
)

const docs = "../../../docs/lessons"

// link is a Markdown link's target.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestPages checks that each lesson has a page in both languages with its command and the title that the lesson
// prints, and that the index links to it.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, lang := range step.Languages() {
		suffix, flag := ".md", ""
		if lang != "en" {
			suffix, flag = "."+lang+".md", " --lang "+lang
		}
		texts, err := lesson.Texts(lang)
		if err != nil {
			t.Fatal(err)
		}
		index := page(t, "README"+suffix)
		for _, l := range lesson.All() {
			name := l.Name + suffix
			text := page(t, name)
			for _, want := range []string{"bin/holdfast lesson " + l.Name + flag + "\n", texts.Say(step.T("lesson.head", l.Name, l.Title(texts))) + "\n"} {
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
var output = regexp.MustCompile("(?ms)^```\n((?:Lesson|实验课) .*?)^```$")

// stable matches the lines of an output that do not depend on timing: titles of scenes and passed checks.
var stable = regexp.MustCompile(`(?m)^ *(\d+\. .*|✓ .*)$`)

var digits = regexp.MustCompile(`\d+(\.\d+)?`)

// comparePage compares the titles and checks that a lesson printed with those of its page, whatever their numbers are.
func comparePage(t *testing.T, name, printed string) {
	t.Helper()
	lines := func(text string) (lines []string) {
		for _, m := range stable.FindAllStringSubmatch(text, -1) {
			lines = append(lines, digits.ReplaceAllString(m[1], "N"))
		}
		return lines
	}
	shown := output.FindStringSubmatch(page(t, name))
	if shown == nil {
		t.Fatalf("%s shows no output", name)
	}
	if diff := cmp.Diff(lines(printed), lines(shown[1])); diff != "" {
		t.Errorf("what the lesson prints (-) and %s (+) differ:\n%s", name, diff)
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

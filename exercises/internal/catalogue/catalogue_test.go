package catalogue_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/exercises/internal/catalogue"
	"holdfast/internal/lab/course"
	"holdfast/internal/lab/step"
)

const root = "../.."

// TestAll: each exercise has its files, and the course has the same number, folder and time for it.
func TestAll(t *testing.T) {
	t.Parallel()
	var want, got []course.Exercise
	for _, c := range course.Exercises() {
		want = append(want, c.Exercise)
	}
	for i, e := range catalogue.All() {
		got = append(got, course.Exercise{Number: e.Number, Dir: e.Dir, Minutes: e.Minutes})
		if e.Number != i+1 || len(e.Servers) == 0 {
			t.Errorf("%+v", e)
		}
		for _, name := range []string{e.Dir + "/exercise.go", e.Dir + "/exercise_test.go", e.Task("en"), e.Task("zh"), e.Solution()} {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Error(err)
			}
		}
		attempts, err := filepath.Glob(filepath.Join(root, e.Dir, "attempts", "*", "*.go"))
		if err != nil || len(attempts) < 3 {
			t.Errorf("%s: attempts %v, %v", e.Dir, attempts, err)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the exercises of the course (-) and of the catalogue (+):\n%s", diff)
	}
}

// TestTexts: each exercise has a title, which is that of the course and of its task, and exactly its hints, in both
// languages.
func TestTexts(t *testing.T) {
	t.Parallel()
	for _, e := range catalogue.All() {
		for _, lang := range step.Languages() {
			texts, err := e.Texts(root, lang)
			if err != nil {
				t.Error(err)
				continue
			}
			names, err := course.Texts(lang)
			if err != nil {
				t.Fatal(err)
			}
			title := e.Title(texts)
			if want := (course.Exercise{Dir: e.Dir}).Title(names); title != want {
				t.Errorf("%s, %s: the title is %q, and %q in the course", e.Dir, lang, title, want)
			}
			task := read(t, e.Task(lang))
			if heading := fmt.Sprintf("# %d. %s\n", e.Number, title); !strings.HasPrefix(task, heading) {
				t.Errorf("%s does not begin with %q", e.Task(lang), heading)
			}
			other := map[string]string{"en": "[中文](task.zh.md)", "zh": "[English](task.md)"}[lang]
			if !strings.Contains(task, "\n"+other+"\n") {
				t.Errorf("%s does not link the other language with %q", e.Task(lang), other)
			}
			for level := 1; level <= e.Hints; level++ {
				if hint := e.Hint(texts, level); hint == "" || strings.Contains(hint, "%!") {
					t.Errorf("%s, %s: hint %d is %q", e.Dir, lang, level, hint)
				}
			}
			for _, stage := range e.Stages {
				if texts[stage] == "" || e.Hints%len(e.Stages) != 0 {
					t.Errorf("%s, %s: stage %q has the title %q, and the stages share %d hints", e.Dir, lang, stage, texts[stage], e.Hints)
				}
			}
			if _, more := texts[fmt.Sprintf("exercise.hint.%d", e.Hints+1)]; more {
				t.Errorf("%s, %s has more than %d hints", e.Dir, lang, e.Hints)
			}
		}
	}
}

// TestTask: a task names its time and its servers, and at most three files to read, in both languages the same ones.
func TestTask(t *testing.T) {
	t.Parallel()
	links := regexp.MustCompile(`(?m)^\* \[[^\]]+\]\(([^)]+\.(?:go|lua|sql))\)`)
	for _, e := range catalogue.All() {
		files := map[string][]string{}
		for lang, minutes := range map[string]string{"en": "%d minutes", "zh": "%d 分钟"} {
			task := read(t, e.Task(lang))
			for _, want := range append([]string{fmt.Sprintf(minutes, e.Minutes)}, e.Servers...) {
				if !strings.Contains(task, want) {
					t.Errorf("%s does not name %q", e.Task(lang), want)
				}
			}
			for _, found := range links.FindAllStringSubmatch(task, -1) {
				files[lang] = append(files[lang], found[1])
			}
		}
		if diff := cmp.Diff(files["en"], files["zh"]); diff != "" {
			t.Errorf("%s: files to read of en (-) and zh (+):\n%s", e.Dir, diff)
		}
		if n := len(files["en"]); n > 3 {
			t.Errorf("%s: %d files to read", e.Dir, n)
		}
	}
}

// TestReadme: the table of each language has the exercises with their chapter, time and servers.
func TestReadme(t *testing.T) {
	t.Parallel()
	chapters := map[string]int{}
	for i, c := range course.Chapters() {
		chapters[c.Exercise.Dir] = i + 1
	}
	for lang, page := range map[string]string{"en": "README.md", "zh": "README.zh.md"} {
		text := read(t, page)
		for _, e := range catalogue.All() {
			texts, err := e.Texts(root, lang)
			if err != nil {
				t.Error(err)
				continue
			}
			row := fmt.Sprintf("| %d | [%s](%s) | %d | %d | %s |\n", e.Number, e.Title(texts), e.Task(lang), chapters[e.Dir], e.Minutes, strings.Join(e.Servers, ", "))
			if !strings.Contains(text, row) {
				t.Errorf("%s has no row %q", page, row)
			}
		}
	}
}

// TestRoot: the module's folder is found from inside it and from the repository.
func TestRoot(t *testing.T) {
	t.Parallel()
	want, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{".", root, "../../.."} {
		if got, err := catalogue.Root(from); err != nil || got != want {
			t.Errorf("from %s: %q, %v, want %q", from, got, err, want)
		}
	}
	if got, err := catalogue.Root(t.TempDir()); err == nil {
		t.Errorf("a folder without the module led to %s", got)
	}
}

// TestFind: the numbers from 1 to the last, and no other.
func TestFind(t *testing.T) {
	t.Parallel()
	for number, ok := range map[int]bool{0: false, 1: true, 10: true, 11: false} {
		if e, err := catalogue.Find(number); (err == nil) != ok || ok && e.Number != number {
			t.Errorf("%d: %+v, %v", number, e, err)
		}
	}
}

// TestFirstHint: each stage's hints follow those of the stage before it.
func TestFirstHint(t *testing.T) {
	t.Parallel()
	e := catalogue.Exercise{Hints: 6, Stages: []string{"a", "b", "c"}}
	for check, want := range map[string]int{"": 1, "a": 1, "b": 3, "c": 5, "other": 1} {
		if got := e.FirstHint(check); got != want {
			t.Errorf("the first hint of %q is %d, want %d", check, got, want)
		}
	}
	if got := (catalogue.Exercise{Hints: 3}).FirstHint("a"); got != 1 {
		t.Errorf("without stages the first hint is %d", got)
	}
}

// TestRunnerTexts: the runner's texts have the same keys and placeholders in both languages.
func TestRunnerTexts(t *testing.T) {
	t.Parallel()
	verbs := regexp.MustCompile(`%[a-z]`)
	shapes := map[string]map[string]int{}
	for _, lang := range step.Languages() {
		var groups map[string]map[string]string
		if err := json.Unmarshal([]byte(read(t, "internal/runner/texts/"+lang+".json")), &groups); err != nil {
			t.Fatal(err)
		}
		shapes[lang] = map[string]int{}
		for key, text := range groups["runner"] {
			shapes[lang][key] = len(verbs.FindAllString(text, -1))
		}
	}
	if diff := cmp.Diff(shapes["en"], shapes["zh"]); diff != "" {
		t.Errorf("texts of en (-) and zh (+):\n%s", diff)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

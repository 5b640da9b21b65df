package course_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/course"
	"holdfast/internal/lab/lesson"
	"holdfast/internal/lab/step"
)

// texts returns the course's texts of a language.
func texts(t *testing.T, lang string) step.Catalogue {
	t.Helper()
	c, err := course.Texts(lang)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestChapters_Lessons: each lesson that can be run belongs to one chapter, and each lesson of a chapter can be run.
func TestChapters_Lessons(t *testing.T) {
	t.Parallel()
	chapters := map[string]int{}
	for _, p := range course.Places() {
		chapters[p.Lesson.Name]++
	}
	for _, l := range lesson.All() {
		if n := chapters[l.Name]; n != 1 {
			t.Errorf("lesson %s belongs to %d chapters of internal/lab/course, not to one", l.Name, n)
		}
		delete(chapters, l.Name)
	}
	for name := range chapters {
		t.Errorf("the course has lesson %s, which cannot be run", name)
	}
}

// TestChapters: what a chapter needs comes before it, its time is at least that of its lessons, and optional chapters
// are the last.
func TestChapters(t *testing.T) {
	t.Parallel()
	var seen []string
	optional := false
	for _, c := range course.Chapters() {
		minutes := 0
		for _, l := range c.Lessons {
			minutes += l.Minutes
			if l.Minutes <= 0 {
				t.Errorf("lesson %s takes %d minutes", l.Name, l.Minutes)
			}
		}
		if c.Minutes <= minutes {
			t.Errorf("chapter %s takes %d minutes, and its lessons %d", c.ID, c.Minutes, minutes)
		}
		for _, id := range c.Needs {
			if !slices.Contains(seen, id) {
				t.Errorf("chapter %s needs %q, which is no chapter before it", c.ID, id)
			}
		}
		if len(c.Needs) == 0 && len(seen) > 0 {
			t.Errorf("chapter %s needs no chapter", c.ID)
		}
		if slices.Contains(seen, c.ID) {
			t.Errorf("two chapters are called %s", c.ID)
		}
		if optional && !c.Optional {
			t.Errorf("chapter %s comes after an optional one", c.ID)
		}
		seen, optional = append(seen, c.ID), c.Optional
	}
}

// TestTexts: the languages have the same texts with the same placeholders, and a title for each chapter and a goal for
// each lesson.
func TestTexts(t *testing.T) {
	t.Parallel()
	var wanted []string
	for _, c := range course.Chapters() {
		wanted = append(wanted, "title."+c.ID)
		if c.Exercise.Number > 0 {
			wanted = append(wanted, "exercise."+c.Exercise.Dir)
		}
		for _, l := range c.Lessons {
			wanted = append(wanted, "goal."+l.Name)
		}
	}
	slices.Sort(wanted)
	english := texts(t, "en")
	verbs := regexp.MustCompile(`%[a-z]`)
	for _, lang := range step.Languages() {
		c := texts(t, lang)
		var found []string
		for _, key := range slices.Sorted(maps.Keys(c)) {
			if slices.Contains([]string{"title", "goal", "exercise"}, key[:strings.Index(key, ".")]) {
				found = append(found, key)
			}
			if c[key] == "" && key != "page.space" {
				t.Errorf("%s: %s is empty", lang, key)
			}
			if diff := cmp.Diff(verbs.FindAllString(english[key], -1), verbs.FindAllString(c[key], -1)); diff != "" {
				t.Errorf("%s: placeholders of en (-) and %s (+):\n%s", key, lang, diff)
			}
		}
		if diff := cmp.Diff(wanted, found); diff != "" {
			t.Errorf("titles and goals of the course (-) and of its texts in %s (+):\n%s", lang, diff)
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(english)), slices.Sorted(maps.Keys(c))); diff != "" {
			t.Errorf("keys of en (-) and %s (+):\n%s", lang, diff)
		}
	}
	if _, err := course.Texts("fr"); err == nil {
		t.Error("a language without texts was accepted")
	}
}

// TestRecord: a lesson keeps the time at which it first held, and what is recorded survives.
func TestRecord(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "course.json")
	first := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for i, name := range []string{"naive", "fence", "naive"} {
		if err := course.Record(path, name, first.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := course.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]time.Time{"naive": first.Truncate(time.Second), "fence": first.Truncate(time.Second).Add(time.Hour)}
	if diff := cmp.Diff(want, got.Held); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("beside the file: %v, %v", left, err)
	}
	for range 2 { // the second one finds no file
		if err := course.Reset(path); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := course.Load(path); err != nil || len(got.Held) != 0 {
		t.Errorf("after a reset: %v, %v", got, err)
	}
}

// TestRecord_Damaged: a file that cannot be read is an error, and is not overwritten.
func TestRecord_Damaged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "course.json")
	if err := os.WriteFile(path, []byte(`{"held":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := course.Record(path, "naive", time.Now()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != `{"held":` {
		t.Errorf("%q, %v", text, err)
	}
}

// TestRecord_Unwritable: what cannot be replaced is an error that leaves nothing behind.
func TestRecord_Unwritable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := course.Record(filepath.Join(dir, "file", "course.json"), "naive", time.Now()); err == nil {
		t.Error("a file was taken for a folder")
	}
}

// TestProgress_Next: the first lesson that has not held is next, also when later ones have.
func TestProgress_Next(t *testing.T) {
	t.Parallel()
	p := course.Progress{Held: map[string]time.Time{}}
	for i, place := range course.Places() {
		next, ok := p.Next()
		if !ok || next.Lesson != place.Lesson {
			t.Fatalf("after %d lessons: next is %v, %v; want %v", i, next.Lesson, ok, place.Lesson)
		}
		p.Held[place.Lesson.Name] = time.Now()
	}
	if next, ok := p.Next(); ok {
		t.Errorf("all have held, and next is %v", next)
	}
	delete(p.Held, "fence")
	if next, _ := p.Next(); next.Lesson.Name != "fence" || next.Chapter.ID != "redlock" || next.Index != 1 {
		t.Errorf("next is %+v", next)
	}
}

// TestExercises: they are numbered without a gap, and their folder's name begins with the number.
func TestExercises(t *testing.T) {
	t.Parallel()
	for i, c := range course.Exercises() {
		e := c.Exercise
		if e.Number != i+1 || !strings.HasPrefix(e.Dir, fmt.Sprintf("%02d-", e.Number)) || e.Minutes <= 0 {
			t.Errorf("place %d: %+v", i, e)
		}
	}
	if n := len(course.Exercises()); n != 10 {
		t.Errorf("%d exercises, not 10", n)
	}
}

// TestProgress_Prepared: an exercise is prepared by all lessons of its chapter, and only until it passes.
func TestProgress_Prepared(t *testing.T) {
	t.Parallel()
	p := course.Progress{Held: map[string]time.Time{}}
	want := func(number int) {
		t.Helper()
		if e, ok := p.Prepared(); e.Number != number || ok != (number > 0) {
			t.Errorf("prepared is exercise %d, %v; want %d", e.Number, ok, number)
		}
	}
	want(0)
	for i, name := range []string{"for-update", "missing-index", "unsorted-locks"} {
		p.Held[name] = time.Now()
		want([]int{0, 0, 2}[i])
	}
	p.Held["naive"] = time.Now()
	want(1) // the first in the course's order
	p.Held["01-conditional-update"] = time.Now()
	want(2)
	for _, place := range course.Places() {
		p.Held[place.Lesson.Name] = time.Now()
	}
	for _, c := range course.Exercises()[:9] {
		p.Held[c.Exercise.Dir] = time.Now()
	}
	want(10) // its chapter has no lesson
	if lessons, exercises := p.Done(); lessons != len(course.Places()) || exercises != 9 {
		t.Errorf("%d lessons and %d exercises done", lessons, exercises)
	}
}

// TestProgress_Print: both languages show what is done, what is next, and the chapters that have no lesson.
func TestProgress_Print(t *testing.T) {
	t.Parallel()
	title := func(name string) string { return "title of " + name }
	for lang, want := range map[string][]string{
		"en": {"Why a lock (25 minutes)\n    ✓ naive ", "    > mutex-two-instances      title of mutex-two-instances\n", "reading, see docs/course.md\n", "\nOptional\n", "1 of ", "0 of 10 exercises", "\n      exercise 1               The conditional update\n", "Code to write: exercise 1, The conditional update: make try EX=1\n", "Next: 2. The mutex, holdfast lesson mutex-two-instances\n"},
		"zh": {"为什么要加锁（25 分钟）\n    ✓ naive ", "    > mutex-two-instances ", "阅读，见 docs/course.zh.md\n", "\n选学\n", "已完成 1 课", "\n      练习 1                   条件更新\n", "该写代码了：练习 1（条件更新），make try EX=1\n", "接下来：2. 互斥锁，holdfast lesson mutex-two-instances\n"},
	} {
		var out strings.Builder
		course.Progress{Held: map[string]time.Time{"naive": time.Now()}}.Print(&out, texts(t, lang), title)
		for _, text := range want {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: no %q in\n%s", lang, text, out.String())
			}
		}
		if strings.Contains(out.String(), "%!") {
			t.Errorf("%s: a text is missing:\n%s", lang, out.String())
		}
	}
	all := course.Progress{Held: map[string]time.Time{}}
	for _, p := range course.Places() {
		all.Held[p.Lesson.Name] = time.Now()
	}
	for _, c := range course.Exercises() {
		all.Held[c.Exercise.Dir] = time.Now()
	}
	var out strings.Builder
	all.Print(&out, texts(t, "en"), title)
	if !strings.HasSuffix(out.String(), "\nAll lessons are done.\n") || strings.Contains(out.String(), " > ") || strings.Contains(out.String(), "Code to write") {
		t.Errorf("all done:\n%s", out.String())
	}
}

// TestFollow: each lesson names the next one, the chapters without a lesson that come before it, and at the end of a
// chapter its exercise.
func TestFollow(t *testing.T) {
	t.Parallel()
	en, places := texts(t, "en"), course.Places()
	chapters := course.Chapters()
	for i, p := range places {
		got := course.Follow(en, p.Lesson.Name)
		if i == len(places)-1 {
			if !strings.Contains(got, "last lesson") {
				t.Errorf("after the last lesson: %q", got)
			}
			continue
		}
		if next := places[i+1].Lesson.Name; !strings.HasSuffix(got, "holdfast lesson "+next) {
			t.Errorf("after %s: %q, want lesson %s", p.Lesson.Name, got, next)
		}
		exercise := fmt.Sprintf("make try EX=%d.", p.Chapter.Exercise.Number)
		if ends := places[i+1].Number > p.Number && p.Chapter.Exercise.Number > 0; strings.Contains(got, exercise) != ends {
			t.Errorf("after %s: %q, names %q should be %t", p.Lesson.Name, got, exercise, ends)
		}
		for n := p.Number + 1; n < places[i+1].Number; n++ {
			if heading := chapters[n-1].Heading(en); !strings.Contains(got, heading) {
				t.Errorf("after %s: %q does not name %q", p.Lesson.Name, got, heading)
			}
		}
	}
	if got := course.Follow(texts(t, "zh"), "naive"); got != "先写练习 1：make try EX=1。下一课：holdfast lesson mutex-two-instances" {
		t.Errorf("%q", got)
	}
}

package course_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/course"
	"holdfast/internal/lab/step"
)

const docs = "../../../docs"

// form is what the pages of a language look like.
type form struct {
	suffix string // of the pages' names
	flag   string // of a lesson's command
	time   string
	labels []string // of a chapter's parts, in order

	exercise string // the label of the part that only chapters with an exercise have, at the end of the part Try
	minutes  string // of the exercise
	choose   string // of the exercise's command: chooses the language
}

func forms() map[string]form {
	return map[string]form{
		"en": {
			suffix: ".md", time: "**Time.** %d minutes. ", exercise: "**Exercise.** ", minutes: ", %d minutes.",
			labels: []string{
				"**Goal.** ", "**Time.** ", "**Before you start.** ", "**Lesson.** ", "**Read.**\n", "**Try.** ", "**Check yourself.** ",
				"<details><summary>Answer</summary>\n", "**In an interview.** ", "**Next.** ",
			},
		},
		"zh": {
			suffix: ".zh.md", flag: " --lang zh", time: "**时间**：%d 分钟。", exercise: "**练习**：", minutes: "，%d 分钟。", choose: " HOLDFAST_LANG=zh",
			labels: []string{
				"**目标**：", "**时间**：", "**先学**：", "**实验课**：", "**阅读**：\n", "**动手**：", "**自测**：",
				"<details><summary>答案</summary>\n", "**面试怎么问**：", "**下一章**：",
			},
		},
	}
}

// The parts of a chapter, by their place in labels.
const (
	partBefore = 2
	partLesson = 3
	partRead   = 4
	partTry    = 5
	partAnswer = 7
	partNext   = 9
)

// chapterParts cuts a chapter's text at its labels. It reports a label that is missing, comes twice or comes too early.
func chapterParts(t *testing.T, name, text string, f form) []string {
	t.Helper()
	var parts []string
	_, rest, ok := strings.Cut(text, f.labels[0])
	for i := range f.labels {
		if !ok || strings.Count(text, f.labels[i]) != 1 {
			t.Fatalf("%s: %q is missing, comes twice, or comes too early", name, f.labels[i])
		}
		part := rest
		if i+1 < len(f.labels) {
			part, rest, ok = strings.Cut(rest, f.labels[i+1])
		}
		if strings.TrimSpace(part) == "" {
			t.Errorf("%s: nothing follows %q", name, f.labels[i])
		}
		parts = append(parts, part)
	}
	return parts
}

// TestPage: both pages have all chapters in the course's order, each with all its parts, and the lessons, times and
// prerequisites of the data.
func TestPage(t *testing.T) {
	t.Parallel()
	for lang, f := range forms() {
		names := texts(t, lang)
		sections := strings.Split(page(t, "course"+f.suffix), "\n## ")[1:]
		chapters := course.Chapters()
		var want, got []string
		for _, c := range chapters {
			want = append(want, c.Heading(names))
		}
		for _, s := range sections {
			title, _, _ := strings.Cut(s, "\n")
			got = append(got, title)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("the chapters of the data (-) and of course%s (+) differ:\n%s", f.suffix, diff)
		}
		for i, c := range chapters {
			name := "course" + f.suffix + ", " + want[i]
			checkChapter(t, name, chapterParts(t, name, sections[i], f), c, f, names)
			if i+1 < len(chapters) && !strings.Contains(sections[i], f.labels[partNext]+course.Links([]string{chapters[i+1].ID}, "", names)) {
				t.Errorf("%s: the next chapter is not linked", name)
			}
			if time := fmt.Sprintf(f.time, c.Minutes) + f.labels[partBefore]; !strings.Contains(sections[i], time) {
				t.Errorf("%s: no %q", name, time)
			}
		}
	}
}

// items are the entries of a list.
var (
	items  = regexp.MustCompile(`(?m)^\* .*`)
	linked = regexp.MustCompile(`\[[^\]]+\]\([^)]+\)`)
	remark = regexp.MustCompile(` +# .*`) // after a command, with a width that depends on the command's
	block  = regexp.MustCompile("(?ms)^```(?:sh|sql)\n(.*?)^```$")
)

func checkChapter(t *testing.T, name string, parts []string, c course.Chapter, f form, names step.Catalogue) {
	t.Helper()
	if len(c.Needs) > 0 && !strings.Contains(parts[partBefore], course.Links(c.Needs, "", names)) {
		t.Errorf("%s: want the chapters %v before it, got %q", name, c.Needs, parts[partBefore])
	}
	var links, commands []string
	for _, l := range c.Lessons {
		links = append(links, fmt.Sprintf("[%s](lessons/%s%s)", l.Name, l.Name, f.suffix))
		commands = append(commands, "bin/holdfast lesson "+l.Name+f.flag)
	}
	if diff := cmp.Diff(links, linked.FindAllString(parts[partLesson], -1)); diff != "" {
		t.Errorf("%s: lessons of the data (-) and of the page (+):\n%s", name, diff)
	}
	var shown []string
	if found := block.FindStringSubmatch(parts[partLesson]); found != nil {
		shown = strings.Split(strings.TrimSpace(found[1]), "\n")
	}
	if diff := cmp.Diff(commands, shown); diff != "" {
		t.Errorf("%s: commands of the lessons (-) and of the page (+):\n%s", name, diff)
	}
	checkExercise(t, name, parts[partTry], c.Exercise, f, names)
	files := items.FindAllString(parts[partRead], -1)
	if len(files) < 1 || len(files) > 3 {
		t.Errorf("%s: %d files to read, not one to three", name, len(files))
	}
	for _, file := range files {
		if len(linked.FindAllString(file, -1)) != 1 {
			t.Errorf("%s: not one link in %q", name, file)
		}
	}
	if !block.MatchString(parts[partTry]) {
		t.Errorf("%s: nothing to type in the exercise", name)
	}
	if !strings.Contains(parts[partAnswer], "\n</details>\n") {
		t.Errorf("%s: the answer is not folded", name)
	}
}

// checkExercise: a chapter with an exercise links its task, which exists and has the exercise's title, and names its
// time and its command. A chapter without one has no such part.
func checkExercise(t *testing.T, name, try string, e course.Exercise, f form, names step.Catalogue) {
	t.Helper()
	before, part, found := strings.Cut(try, f.exercise)
	if found != (e.Number > 0) || strings.Count(try, f.exercise) > 1 {
		t.Errorf("%s: %q is there: %v; the chapter has exercise %d", name, f.exercise, found, e.Number)
	}
	if e.Number == 0 || !found {
		return
	}
	if !block.MatchString(before) {
		t.Errorf("%s: nothing to type before the exercise", name)
	}
	heading := fmt.Sprintf("%d. %s", e.Number, e.Title(names))
	if want := fmt.Sprintf("[%s](../exercises/%s)"+f.minutes, heading, e.Task(f.suffix), e.Minutes); !strings.HasPrefix(part, want) {
		t.Errorf("%s: the exercise begins with %q, want %q", name, part, want)
	}
	if want := fmt.Sprintf("\n\n```sh\nmake try EX=%d%s\n```\n", e.Number, f.choose); !strings.Contains(part, want) {
		t.Errorf("%s: no command %q", name, want)
	}
	if task := page(t, filepath.Join("..", "exercises", e.Task(f.suffix))); !strings.HasPrefix(task, "# "+heading+"\n") {
		t.Errorf("%s: the task begins with %.60q, want the heading %q", name, task, heading)
	}
}

// TestPage_SameCommands: both languages of the course, and of the page for teachers, show the same commands.
func TestPage_SameCommands(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"course", "teaching"} {
		shown := map[string][]string{}
		for lang, f := range forms() {
			for _, found := range block.FindAllStringSubmatch(page(t, name+f.suffix), -1) {
				commands := remark.ReplaceAllString(strings.NewReplacer(f.flag, "", f.choose, "").Replace(found[1]), "")
				shown[lang] = append(shown[lang], strings.TrimSpace(commands))
			}
		}
		if diff := cmp.Diff(shown["en"], shown["zh"]); diff != "" || len(shown["en"]) == 0 {
			t.Errorf("%s: commands of en (-) and zh (+):\n%s", name, diff)
		}
	}
}

// TestPage_SameFiles: both languages of the course link to the same files, each to that of its own language.
func TestPage_SameFiles(t *testing.T) {
	t.Parallel()
	linkedFiles := map[string][]string{}
	for lang, f := range forms() {
		for _, item := range items.FindAllString(page(t, "course"+f.suffix), -1) {
			_, file, _ := strings.Cut(linked.FindString(item), "](")
			file, _, _ = strings.Cut(strings.TrimSuffix(file, ")"), "#") // headings are translated
			linkedFiles[lang] = append(linkedFiles[lang], strings.ReplaceAll(file, ".zh.md", ".md"))
		}
	}
	if diff := cmp.Diff(linkedFiles["en"], linkedFiles["zh"]); diff != "" {
		t.Errorf("files of en (-) and zh (+):\n%s", diff)
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

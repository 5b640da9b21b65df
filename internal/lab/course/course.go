// Package course has the course of Holdfast as data: its chapters in order, the lessons of each, the goal of each
// lesson and what a learner needs before it. docs/course.md is its text. The package also keeps what a learner has
// done.
package course

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/lab/step"
)

// Chapter is a chapter of the course.
type Chapter struct {
	ID       string   // names the chapter in Needs, and in the texts as title.ID
	Minutes  int      // for the lessons, the files to read and what to try together
	Lessons  []Lesson // in order; empty: the chapter has its text in docs/course.md only
	Needs    []string // IDs of the chapters that come before it
	Exercise Exercise // the piece of code to write after the chapter; Number 0: none
	Optional bool     // the course is complete without it
}

// Exercise is an exercise's place in the course: a folder of the module holdfast/exercises. Its title is the text
// exercise.DIR.
type Exercise struct {
	Number  int
	Dir     string // below exercises
	Minutes int    // beside those of the chapter
}

// Lesson is a lesson's place in the course. Its goal is the text goal.NAME.
type Lesson struct {
	Name    string
	Minutes int
}

// Chapters returns the chapters in the course's order.
func Chapters() []Chapter {
	return slices.Concat(locks(), transactions(), messages(), optional())
}

// locks are the chapters about one row of stock and the locks around it.
func locks() []Chapter {
	return []Chapter{
		{
			ID: "why-lock", Minutes: 25, Exercise: Exercise{1, "01-conditional-update", 20},
			Lessons: []Lesson{{"naive", 15}},
		},
		{ID: "mutex", Minutes: 20, Lessons: []Lesson{{"mutex-two-instances", 10}}, Needs: []string{"why-lock"}},
		{
			ID: "optimistic", Minutes: 25, Exercise: Exercise{3, "03-optimistic-retry", 25},
			Lessons: []Lesson{{"optimistic", 15}}, Needs: []string{"why-lock"},
		},
		{
			ID: "for-update", Minutes: 65, Exercise: Exercise{2, "02-for-update-order", 25}, Needs: []string{"why-lock"},
			Lessons: []Lesson{{"for-update", 15}, {"missing-index", 20}, {"unsorted-locks", 15}},
		},
		{
			ID: "redis-lock", Minutes: 90, Exercise: Exercise{4, "04-redis-lock", 60}, Needs: []string{"mutex", "for-update"},
			Lessons: []Lesson{{"set-if-absent", 10}, {"dead-holder", 10}, {"renewal", 15}, {"hung-holder", 15}, {"owner-only-delete", 15}},
		},
		{
			ID: "redsync", Minutes: 65, Needs: []string{"redis-lock"},
			Lessons: []Lesson{{"redsync-source", 20}, {"unlock-before-commit", 20}},
		},
		{
			ID: "redlock", Minutes: 60, Exercise: Exercise{5, "05-fencing-claim", 30},
			Lessons: []Lesson{{"redlock", 15}, {"fence", 25}}, Needs: []string{"redsync"},
		},
	}
}

// transactions are the chapters about an order and its stock in two databases.
func transactions() []Chapter {
	return []Chapter{
		{ID: "inconsistency", Minutes: 35, Lessons: []Lesson{{"two-databases", 20}}, Needs: []string{"why-lock"}},
		{ID: "cap-base", Minutes: 35, Lessons: []Lesson{{"cap-partition", 20}}, Needs: []string{"inconsistency"}},
		{
			ID: "phases", Minutes: 60, Needs: []string{"for-update", "cap-base"},
			Lessons: []Lesson{{"two-phase-commit", 20}, {"three-phase-commit", 10}},
		},
		{
			ID: "tcc", Minutes: 60, Exercise: Exercise{9, "09-tcc", 45}, Needs: []string{"phases"},
			Lessons: []Lesson{{"tcc-empty-cancel", 15}, {"tcc-hanging", 10}, {"tcc-repeat", 15}},
		},
		{
			ID: "local-message-table", Minutes: 45, Exercise: Exercise{7, "07-outbox-relay", 30},
			Lessons: []Lesson{{"local-message-table", 20}}, Needs: []string{"inconsistency"},
		},
		{
			ID: "reliable-message", Minutes: 45, Exercise: Exercise{8, "08-check-back", 30},
			Lessons: []Lesson{{"reliable-message", 20}}, Needs: []string{"local-message-table"},
		},
		{ID: "best-effort", Minutes: 40, Lessons: []Lesson{{"best-effort-notification", 20}}, Needs: []string{"reliable-message"}},
	}
}

// messages are the chapters about message queues and RocketMQ.
func messages() []Chapter {
	return []Chapter{
		{ID: "mq-uses", Minutes: 35, Lessons: []Lesson{{"peak-shaving", 20}}, Needs: []string{"local-message-table"}},
		{ID: "choosing-mq", Minutes: 40, Lessons: []Lesson{{"choosing-an-mq", 20}}, Needs: []string{"mq-uses"}},
		{ID: "rocketmq-install", Minutes: 30, Needs: []string{"choosing-mq"}},
		{
			ID: "rocketmq-concepts", Minutes: 65, Exercise: Exercise{6, "06-idempotent-consumer", 30}, Needs: []string{"rocketmq-install"},
			Lessons: []Lesson{{"rocketmq-tour", 25}, {"duplicates", 20}},
		},
		{ID: "message-types", Minutes: 45, Lessons: []Lesson{{"message-types", 25}}, Needs: []string{"rocketmq-concepts"}},
	}
}

func optional() []Chapter {
	return []Chapter{
		{
			ID: "group-commit", Minutes: 40, Exercise: Exercise{10, "10-own-strategy", 60},
			Needs: []string{"for-update"}, Optional: true,
		},
		{
			ID: "layouts", Minutes: 45, Needs: []string{"for-update"}, Optional: true,
			Lessons: []Lesson{{"empty-bucket", 15}, {"skipped-units", 15}},
		},
		{ID: "redis-lua", Minutes: 45, Lessons: []Lesson{{"lua-loses-memory", 20}}, Needs: []string{"redis-lock"}, Optional: true},
	}
}

// Place is where a lesson stands in the course.
type Place struct {
	Lesson  Lesson
	Number  int // of its chapter, from 1
	Chapter Chapter
	Index   int // among the chapter's lessons, from 0
}

// Places returns the lessons of all chapters in the course's order.
func Places() []Place {
	var all []Place
	for i, c := range Chapters() {
		for j, l := range c.Lessons {
			all = append(all, Place{Lesson: l, Number: i + 1, Chapter: c, Index: j})
		}
	}
	return all
}

// Exercises returns the chapters that have an exercise, by the number of the exercise.
func Exercises() []Chapter {
	var all []Chapter
	for _, c := range Chapters() {
		if c.Exercise.Number > 0 {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b Chapter) int { return a.Exercise.Number - b.Exercise.Number })
	return all
}

// Title returns the exercise's title.
func (e Exercise) Title(texts step.Catalogue) string { return texts.Say(step.T("exercise." + e.Dir)) }

// Task returns the name of the page with the exercise's task, below exercises. suffix is that of the pages in the
// language, such as ".zh.md".
func (e Exercise) Task(suffix string) string { return e.Dir + "/task" + suffix }

// After returns the lesson that follows the named one in the course, and the numbers of the chapters between them that
// have no lesson. ok is false if the name is the last lesson, or none of the course.
func After(name string) (next Place, between []int, ok bool) {
	all := Places()
	i := slices.IndexFunc(all, func(p Place) bool { return p.Lesson.Name == name })
	if i < 0 || i == len(all)-1 {
		return Place{}, nil, false
	}
	next = all[i+1]
	for n := all[i].Number + 1; n < next.Number; n++ {
		between = append(between, n)
	}
	return next, between, true
}

// Prepares returns the exercise that a lesson prepares: that of its chapter, if the lesson is the chapter's last one.
// Number is 0 if none exists.
func Prepares(name string) Exercise {
	for _, c := range Chapters() {
		if n := len(c.Lessons); n > 0 && c.Lessons[n-1].Name == name {
			return c.Exercise
		}
	}
	return Exercise{}
}

//go:embed texts/*.json
var textFiles embed.FS

// Texts returns the texts of the course in a language of [step.Languages].
func Texts(lang string) (step.Catalogue, error) {
	text, err := textFiles.ReadFile("texts/" + lang + ".json")
	if err != nil {
		return nil, fmt.Errorf("the course has no texts in language %q", lang)
	}
	return step.ParseCatalogue(text)
}

// Heading returns a chapter's heading: its number in the course and its title.
func (c Chapter) Heading(texts step.Catalogue) string {
	number := 1 + slices.IndexFunc(Chapters(), func(other Chapter) bool { return other.ID == c.ID })
	return fmt.Sprintf("%d. %s", number, texts.Say(step.T("title."+c.ID)))
}

// Anchor returns the name that GitHub gives to the chapter's heading.
func (c Chapter) Anchor(texts step.Catalogue) string {
	keep := func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case strings.ContainsRune(".,:;()（）、，：/", r):
			return -1
		}
		return r
	}
	return strings.ToLower(strings.Map(keep, c.Heading(texts)))
}

// find returns the chapter with the ID. Tests check that each ID in Needs exists.
func find(id string) Chapter {
	all := Chapters()
	return all[slices.IndexFunc(all, func(c Chapter) bool { return c.ID == id })]
}

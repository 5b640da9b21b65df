package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"holdfast/internal/lab/course"
	"holdfast/internal/lab/lesson"
)

type courseCmd struct {
	Lang  string `help:"Language of the texts: en or zh. Default: that of HOLDFAST_LANG, else of LANG." enum:",en,zh" default:""`
	Reset bool   `help:"Forget which lessons and exercises are done."`
	JSON  bool   `help:"Print one JSON document." name:"json"`
}

// courseResult is the document of course --json.
type courseResult struct {
	Done     int             `json:"done"`   // number of lessons
	Passed   int             `json:"passed"` // number of exercises
	Next     string          `json:"next"`   // name of a lesson; empty: all are done
	Chapters []chapterResult `json:"chapters"`
}

// chapterResult is a chapter of the course.
type chapterResult struct {
	Title    string          `json:"title"`
	Minutes  int             `json:"minutes"`
	Optional bool            `json:"optional"`
	Lessons  []courseLesson  `json:"lessons"`
	Exercise *courseExercise `json:"exercise,omitempty"` // absent: the chapter has none
}

// courseExercise is the exercise of a chapter.
type courseExercise struct {
	Number int        `json:"number"`
	Name   string     `json:"name"` // its folder
	HeldAt *time.Time `json:"held_at,omitempty"`
}

// courseLesson is a lesson of a chapter.
type courseLesson struct {
	Name   string     `json:"name"`
	HeldAt *time.Time `json:"held_at,omitempty"` // when all its checks first held; absent: not done
}

// progressFile returns the file that records which lessons are done.
func (c *cli) progressFile() string { return cmp.Or(c.Progress, filepath.Join(c.Dir, "course.json")) }

// Run prints the chapters of the course with their lessons and exercises, what is done and what is next.
func (k *courseCmd) Run(c *cli, stdout io.Writer) error {
	lang := language(k.Lang)
	texts, err := course.Texts(lang)
	if err != nil {
		return err
	}
	lessons, err := lesson.Texts(lang)
	if err != nil {
		return err
	}
	if k.Reset {
		if err := course.Reset(c.progressFile()); err != nil {
			return err
		}
	}
	progress, err := course.Load(c.progressFile())
	if err != nil {
		return fmt.Errorf("%w; holdfast course --reset removes the file", err)
	}
	if k.JSON {
		return printJSON(stdout, newCourseResult(progress, func(ch course.Chapter) string { return ch.Heading(texts) }))
	}
	progress.Print(stdout, texts, func(name string) string {
		one, _ := lesson.Find(name)
		return one.Title(lessons)
	})
	return nil
}

func newCourseResult(p course.Progress, heading func(course.Chapter) string) courseResult {
	result := courseResult{}
	result.Done, result.Passed = p.Done()
	for _, ch := range course.Chapters() {
		chapter := chapterResult{Title: heading(ch), Minutes: ch.Minutes, Optional: ch.Optional, Lessons: []courseLesson{}}
		for _, l := range ch.Lessons {
			one := courseLesson{Name: l.Name}
			if at, held := p.Held[l.Name]; held {
				one.HeldAt = &at
			}
			chapter.Lessons = append(chapter.Lessons, one)
		}
		if e := ch.Exercise; e.Number > 0 {
			chapter.Exercise = &courseExercise{Number: e.Number, Name: e.Dir}
			if at, held := p.Held[e.Dir]; held {
				chapter.Exercise.HeldAt = &at
			}
		}
		result.Chapters = append(result.Chapters, chapter)
	}
	if next, ok := p.Next(); ok {
		result.Next = next.Lesson.Name
	}
	return result
}

// held records that the lesson held. A file that cannot be written does not fail the lesson.
func (c *cli) held(name string) {
	if err := course.Record(c.progressFile(), name, time.Now()); err != nil {
		fmt.Fprintln(os.Stderr, "holdfast:", err)
	}
}

// follow prints the line that names the next lesson of the course.
func follow(w io.Writer, lang, name string) error {
	texts, err := course.Texts(lang)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, course.Follow(texts, name))
	return err
}

package course

import (
	"fmt"
	"io"
	"strings"

	"holdfast/internal/dev/terminal"
	"holdfast/internal/lab/step"
)

// nameWidth is the width of the column of lessons' names. Names are ASCII, so it fits in every language.
const nameWidth = 24

// Print prints the chapters with their lessons and exercises, those that held with a mark, the next lesson, and the
// exercise that the lessons so far have prepared. title returns the title of a lesson in the language of the texts.
func (p Progress) Print(w io.Writer, texts step.Catalogue, title func(lesson string) string) {
	say := func(key string, args ...any) string { return texts.Say(step.T("course."+key, args...)) }
	next, more := p.Next()
	chapters, minutes := Chapters(), 0
	for _, c := range chapters {
		if !c.Optional {
			minutes += c.Minutes
		}
	}
	fmt.Fprintf(w, "%s\n", say("head", len(chapters), (minutes+30)/60))
	for i, c := range chapters {
		if c.Optional && (i == 0 || !chapters[i-1].Optional) {
			fmt.Fprintf(w, "\n%s\n", say("optional"))
		}
		fmt.Fprintf(w, "\n%s\n", say("chapter", c.Heading(texts), c.Minutes))
		if len(c.Lessons) == 0 {
			fmt.Fprintf(w, "      %s\n", say("reading"))
		}
		for _, l := range c.Lessons {
			mark := p.mark(l.Name)
			if more && l.Name == next.Lesson.Name {
				mark = ">"
			}
			fmt.Fprintf(w, "    %s %-*s %s\n", mark, nameWidth, l.Name, title(l.Name))
		}
		if e := c.Exercise; e.Number > 0 {
			fmt.Fprintf(w, "    %s %s %s\n", p.mark(e.Dir), terminal.Pad(say("exercise", e.Number), nameWidth, false), e.Title(texts))
		}
	}
	lessons, exercises := p.Done()
	fmt.Fprintf(w, "\n%s\n", say("done", lessons, len(Places()), exercises, len(Exercises())))
	if e, ok := p.Prepared(); ok {
		fmt.Fprintf(w, "%s\n", say("write", e.Number, e.Title(texts), e.Number))
	}
	if more {
		fmt.Fprintf(w, "%s\n", say("next", next.Chapter.Heading(texts), next.Lesson.Name))
		return
	}
	fmt.Fprintf(w, "%s\n", say("complete"))
}

// mark is the mark of a lesson or an exercise.
func (p Progress) mark(name string) string {
	if _, held := p.Held[name]; held {
		return "✓"
	}
	return " "
}

// Follow returns the line that follows a lesson that held: the exercise that it prepares, the chapters to read, and the
// next lesson of the course.
func Follow(texts step.Catalogue, lesson string) string {
	next, between, ok := After(lesson)
	if !ok {
		return texts.Say(step.T("course.last"))
	}
	line := texts.Say(step.T("course.follow", next.Lesson.Name))
	if len(between) > 0 {
		var headings []string
		for _, n := range between {
			headings = append(headings, Chapters()[n-1].Heading(texts))
		}
		line = texts.Say(step.T("course.follow.reading", strings.Join(headings, texts.Say(step.T("course.comma"))), line))
	}
	if e := Prepares(lesson); e.Number > 0 {
		line = texts.Say(step.T("course.follow.exercise", e.Number, e.Number, line))
	}
	return line
}

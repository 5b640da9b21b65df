package course

import (
	"fmt"
	"strings"

	"holdfast/internal/lab/step"
)

// Page is the head and the foot of a lesson's page: the text under its title and the one at its end.
type Page struct {
	Head string // a block of lines that begin with ">", with a line feed at its end
	Foot string // one line, with a line feed at its end
}

// PageOf returns the head and the foot of a lesson's page. suffix is that of the pages in the language of the texts,
// such as ".zh.md". It panics for a lesson that is not in the course.
func PageOf(name, suffix string, texts step.Catalogue) Page {
	say := func(key string, args ...any) string { return texts.Say(step.T("page."+key, args...)) }
	all := Places()
	i := 0
	for all[i].Lesson.Name != name {
		i++
	}
	place := all[i]
	chapter := fmt.Sprintf("[%s](../course%s#%s)", place.Chapter.Heading(texts), suffix, place.Chapter.Anchor(texts))
	head := []string{
		say("goal", texts.Say(step.T("goal."+name))),
		say("time", place.Lesson.Minutes) + say("space") + say("needs", needs(place, suffix, texts)),
		say("chapter", chapter, place.Index+1, len(place.Chapter.Lessons)),
	}
	lesson := func(at int) string {
		if at < 0 || at >= len(all) {
			return say("none")
		}
		return fmt.Sprintf("[%s](%s)", all[at].Lesson.Name, all[at].Lesson.Name+suffix)
	}
	return Page{
		Head: "> " + strings.Join(head, "\\\n> ") + "\n",
		Foot: say("foot", lesson(i-1), lesson(i+1), "../course"+suffix) + "\n",
	}
}

// needs returns links to what comes before a lesson: the lesson before it in its chapter, else the chapters that its
// chapter needs.
func needs(place Place, suffix string, texts step.Catalogue) string {
	if place.Index > 0 {
		before := place.Chapter.Lessons[place.Index-1].Name
		return fmt.Sprintf("[%s](%s)", before, before+suffix)
	}
	if len(place.Chapter.Needs) == 0 {
		return texts.Say(step.T("page.nothing"))
	}
	return Links(place.Chapter.Needs, "../course"+suffix, texts)
}

// Links returns links to chapters of a page.
func Links(ids []string, page string, texts step.Catalogue) string {
	var links []string
	for _, id := range ids {
		c := find(id)
		links = append(links, fmt.Sprintf("[%s](%s#%s)", c.Heading(texts), page, c.Anchor(texts)))
	}
	return strings.Join(links, texts.Say(step.T("course.comma")))
}

package trial

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"holdfast/exercises/internal/explore"
	"holdfast/internal/dev/terminal"
	"holdfast/internal/lab/step"
)

const (
	pageWidth = 112 // columns of a terminal
	numbers   = 4   // columns for a step's number
	gap       = 2
	// A run that loops has hundreds of steps, all alike.
	maxShown  = 44
	shownHead = 30
)

// Render prints a finding: its steps in the order in which they happened, a column for each actor, then what came of
// it, which step made it possible, and the rule.
func Render(w io.Writer, f *explore.Finding, c step.Catalogue) {
	t := &table{w: w, c: c}
	for _, s := range f.Steps {
		if !slices.Contains(t.actors, s.Actor) {
			t.actors = append(t.actors, s.Actor)
		}
	}
	slices.Sort(t.actors)
	if len(t.actors) > 0 {
		t.column = (pageWidth-numbers)/len(t.actors) - gap
		t.steps(f.Steps)
		if f.More > 0 {
			fmt.Fprintln(w, c.Say(step.T("trial.more", f.More)))
		}
		fmt.Fprintln(w)
	}
	for _, part := range []struct {
		label string
		text  step.Text
	}{{"trial.what", f.What}, {"trial.why", f.Why}, {"trial.do", f.Do}} {
		if part.text.Key == "" {
			continue
		}
		fmt.Fprintln(w, c.Say(step.T(part.label)))
		for _, line := range wrap(c.Say(part.text), pageWidth-numbers) {
			fmt.Fprintln(w, strings.Repeat(" ", numbers)+line)
		}
	}
}

// table prints steps, each in the column of its actor.
type table struct {
	w      io.Writer
	c      step.Catalogue
	actors []string
	column int
}

func (t *table) steps(steps []explore.Step) {
	var head strings.Builder
	for _, name := range t.actors {
		head.WriteString(terminal.Pad(name, t.column+gap, false))
	}
	fmt.Fprintln(t.w, strings.Repeat(" ", numbers)+strings.TrimRight(head.String(), " "))
	for i, s := range steps {
		t.beginWaits(steps, i)
		hidden := len(steps) > maxShown && i >= shownHead && i < len(steps)-(maxShown-shownHead)
		switch {
		case hidden && i == shownHead:
			fmt.Fprintln(t.w, t.c.Say(step.T("trial.more", len(steps)-maxShown)))
		case !hidden && !s.Unfinished: // one that has not ended was shown where it began
			t.row(fmt.Sprint(i+1), s.Actor, t.cell(s))
		}
	}
}

// beginWaits shows the steps that began before step i ended, and had to wait.
func (t *table) beginWaits(steps []explore.Step, i int) {
	for j := i; j < len(steps); j++ {
		if s := steps[j]; s.Waited && s.Began == i {
			t.row("", s.Actor, []string{s.Does, t.c.Say(step.T("trial.waits"))})
		}
	}
}

// cell returns the paragraphs of a step.
func (t *table) cell(s explore.Step) []string {
	if s.Died {
		return []string{t.c.Say(step.T("trial.killed", s.Does))}
	}
	does := s.Does
	if s.Waited {
		does = t.c.Say(step.T("trial.waited", does))
	}
	result := s.Result
	switch {
	case s.Failed:
	case s.Kind == explore.Write:
		result = t.c.Say(step.T("trial.changed", s.Changed))
	case (s.Kind == explore.Read || s.Kind == explore.LockingRead) && len(s.Rows) == 0:
		result = t.c.Say(step.T("trial.no-row"))
	}
	if result == "" {
		return []string{does}
	}
	return []string{does, "→ " + result}
}

func (t *table) row(number, actor string, paragraphs []string) {
	indent := slices.Index(t.actors, actor) * (t.column + gap)
	for i, paragraph := range paragraphs {
		for j, line := range wrap(paragraph, t.column) {
			first := ""
			if i == 0 && j == 0 {
				first = number
			}
			if j > 0 {
				line = "  " + line
			}
			fmt.Fprintf(t.w, "%2s  %s%s\n", first, strings.Repeat(" ", indent), line)
		}
	}
}

// wrap breaks a text into lines of at most the given columns; what has no place to break is longer. A Chinese text may
// be broken before any character.
func wrap(text string, columns int) []string {
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		line, used := "", 0
		for _, word := range pieces(paragraph) {
			if n := terminal.Width(strings.TrimRight(word, " ")); used > 0 && used+n > columns {
				lines = append(lines, strings.TrimRight(line, " "))
				line, used = "", 0
			}
			line += word
			used += terminal.Width(word)
		}
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return lines
}

// pieces splits a text where a line may be broken.
func pieces(text string) []string {
	var all []string
	begin, previous := 0, ' '
	for i, r := range text {
		if i > begin && breaks(previous, r) {
			all = append(all, text[begin:i])
			begin = i
		}
		previous = r
	}
	return append(all, text[begin:])
}

// breaks reports whether a line may be broken between two characters: after a space, and beside a wide character,
// unless a mark would begin a line or an opening bracket end one.
func breaks(before, after rune) bool {
	switch {
	case after == ' ' || strings.ContainsRune("，。；：！？、）」』》”’", after) || strings.ContainsRune("（「『《“‘", before):
		return false
	case before == ' ':
		return true
	}
	return terminal.IsWide(before) || terminal.IsWide(after)
}

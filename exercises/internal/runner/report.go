package runner

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"strings"

	"holdfast/exercises/internal/catalogue"
	"holdfast/exercises/internal/trial"
	"holdfast/internal/lab/step"
)

//go:embed texts/*.json
var textFiles embed.FS

// say returns a text of the runner in the learner's language.
func (r *Runner) say(key string, args ...any) string {
	text, err := textFiles.ReadFile("texts/" + r.Lang + ".json")
	if err != nil {
		return err.Error()
	}
	c, err := step.ParseCatalogue(text)
	if err != nil {
		return err.Error()
	}
	return c.Say(step.T("runner."+key, args...))
}

// List prints a line for each exercise as soon as its outcome is known, then the progress and what to do next.
func (r *Runner) List(ctx context.Context, again bool) error {
	fmt.Fprintf(r.Out, "%s\n\n", r.say("head", len(r.Exercises)))
	passed, next := 0, -1
	lines, err := r.Statuses(ctx, again, func(s Status) {
		fmt.Fprintln(r.Out, r.line(s))
	})
	if err != nil {
		return err
	}
	for i, s := range lines {
		if s.Outcome.State == Passed {
			passed++
		} else if next < 0 {
			next = i
		}
	}
	fmt.Fprintf(r.Out, "\n%s\n", r.say("done", passed, len(lines)))
	if next < 0 {
		fmt.Fprintln(r.Out, r.say("all"))
		return nil
	}
	e := lines[next].Exercise
	fmt.Fprintln(r.Out, r.say("next", "exercises/"+e.Task(r.Lang), r.Command("try", e.Number), r.Command("hint", e.Number)))
	return nil
}

// line is an exercise's title, and below it the first line of what was found.
func (r *Runner) line(s Status) string {
	e := s.Exercise
	mark, title, found := " ", e.Dir, ""
	if texts, err := e.Texts(r.Root, r.Lang); err == nil {
		title = e.Title(texts)
	}
	if s.Outcome.State == Passed {
		mark = "✓"
	} else {
		found = "\n       " + r.summary(e, s.Outcome)
	}
	return fmt.Sprintf("%s %2d  %s%s", mark, e.Number, title, found)
}

// summary is one line about an exercise that has not passed.
func (r *Runner) summary(e catalogue.Exercise, o Outcome) string {
	switch o.State {
	case Open:
		texts, err := e.Texts(r.Root, r.Lang)
		if err != nil {
			return err.Error()
		}
		line, _, _ := strings.Cut(texts.Say(o.Result.Finding.What), "\n")
		return line
	case NotBuilt:
		return r.say("not-built", firstError(o.Output))
	}
	line, _, _ := strings.Cut(o.Output, "\n")
	return r.say("not-checked", line)
}

// firstError is the first of the compiler's messages.
func firstError(messages string) string {
	for line := range strings.Lines(messages) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line
		}
	}
	return strings.TrimSpace(messages)
}

// PrintOutcome prints all that is known about an exercise's outcome.
func (r *Runner) PrintOutcome(e catalogue.Exercise, o Outcome) error {
	texts, err := e.Texts(r.Root, r.Lang)
	if err != nil {
		return err
	}
	title := e.Title(texts)
	switch o.State {
	case Passed:
		fmt.Fprintf(r.Out, "✓ %s\n", r.say("passed", e.Number, title))
	case Open:
		heading := r.say("open", e.Number, title)
		if o.Result.Check != "" { // of several
			heading = r.say("open-check", e.Number, title, texts.Say(step.T(o.Result.Check)))
		}
		fmt.Fprintf(r.Out, "✗ %s\n\n", heading)
		trial.Render(r.Out, o.Result.Finding, texts)
		fmt.Fprintf(r.Out, "\n%s\n", r.say("help", "exercises/"+e.Task(r.Lang), r.Command("hint", e.Number)))
	case NotBuilt:
		fmt.Fprintf(r.Out, "✗ %s\n%s", r.say("compiler", e.Number, title), o.Output)
	case NotChecked:
		fmt.Fprintf(r.Out, "✗ %s\n%s\n", r.say("unchecked", e.Number, title), o.Output)
	}
	return nil
}

// listResult is the document of list --json.
type listResult struct {
	Passed    int              `json:"passed"`
	Exercises []exerciseResult `json:"exercises"`
}

// exerciseResult is an exercise of list --json, and the document of try --json.
type exerciseResult struct {
	Number  int    `json:"number"`
	Name    string `json:"name"` // the folder
	Title   string `json:"title"`
	Minutes int    `json:"minutes"`
	State   string `json:"state"`
	Finding string `json:"finding,omitempty"` // names the mistake
	Summary string `json:"summary,omitempty"` // one line about it
	Hints   int    `json:"hints"`             // the highest level of the hints that were given
}

// ListJSON prints the exercises and their states as one JSON document.
func (r *Runner) ListJSON(ctx context.Context, again bool) error {
	statuses, err := r.Statuses(ctx, again, func(Status) {})
	if err != nil {
		return err
	}
	doc := listResult{Exercises: []exerciseResult{}}
	for _, s := range statuses {
		one, err := r.result(s.Exercise, s.Outcome)
		if err != nil {
			return err
		}
		if s.Outcome.State == Passed {
			doc.Passed++
		}
		doc.Exercises = append(doc.Exercises, one)
	}
	return r.printJSON(doc)
}

func (r *Runner) result(e catalogue.Exercise, o Outcome) (exerciseResult, error) {
	texts, err := e.Texts(r.Root, r.Lang)
	if err != nil {
		return exerciseResult{}, err
	}
	rec, err := r.load()
	if err != nil {
		return exerciseResult{}, err
	}
	one := exerciseResult{
		Number: e.Number, Name: e.Dir, Title: e.Title(texts), Minutes: e.Minutes, State: o.State, Hints: rec.Hints[e.Dir],
	}
	if o.State != Passed {
		one.Summary = r.summary(e, o)
	}
	if o.State == Open {
		one.Finding = o.Result.Finding.ID
	}
	return one, nil
}

func (r *Runner) printJSON(document any) error {
	enc := json.NewEncoder(r.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(document)
}

// PrintJSON prints an exercise's outcome as one JSON document.
func (r *Runner) PrintJSON(e catalogue.Exercise, o Outcome) error {
	one, err := r.result(e, o)
	if err != nil {
		return err
	}
	return r.printJSON(one)
}

// PrintHint prints the next hint of an exercise, or that of the level if it is not 0.
func (r *Runner) PrintHint(e catalogue.Exercise, level int) error {
	hint, given, err := r.Hint(e, level)
	if err != nil {
		return err
	}
	fmt.Fprintln(r.Out, r.say("hint", e.Number, given, e.Hints, hint))
	if given == e.Hints {
		fmt.Fprintln(r.Out, r.say("last-hint", e.Solution()))
	}
	return nil
}

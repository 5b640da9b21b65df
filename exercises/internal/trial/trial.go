// Package trial runs an exercise's checks in a test, and explains what they find.
package trial

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"strings"
	"testing"

	"holdfast/exercises/internal/explore"
	"holdfast/internal/lab/step"
)

// ResultVar is the environment variable that names the file for the [Result], as JSON.
const ResultVar = "HOLDFAST_EXERCISE_RESULT"

// Exercise is what is checked.
type Exercise struct {
	Number int
	Checks []Check // in order; the first finding ends it
}

// Check is one part of an exercise.
type Check struct {
	Name string // key of its title
	// Find returns what is wrong, or nil. An error: it could not look.
	Find func(ctx context.Context, s *Servers) (*explore.Finding, error)
}

// Result is what came of an exercise.
type Result struct {
	Number  int              `json:"number"`
	Passed  bool             `json:"passed"`
	Check   string           `json:"check,omitempty"`   // the Name of the check that did not pass
	Finding *explore.Finding `json:"finding,omitempty"` // nil with Passed false: the check could not run
	Error   string           `json:"error,omitempty"`   // why it could not run
}

// Run checks the learner's code. The test fails with the rendered finding. texts has texts/en.json and texts/zh.json of
// the exercise. The language follows HOLDFAST_LANG or LANG. If [ResultVar] names a file, the result is written to it,
// also when the check could not run.
func Run(t *testing.T, e Exercise, texts fs.FS) {
	t.Helper()
	c, err := Catalogue(texts, step.Chosen("", os.Getenv))
	if err != nil {
		t.Fatal(err)
	}
	r := Result{Number: e.Number, Error: "the servers did not start; the test's output says why"}
	defer func() { report(t, r) }()
	r = check(t, e)
	switch {
	case r.Passed:
		t.Log(c.Say(step.T("trial.passed")))
	case r.Finding == nil:
		t.Fatal(r.Error)
	default:
		t.Error(explained(r, c))
	}
}

// check runs the checks up to the first that does not pass.
func check(t *testing.T, e Exercise) Result {
	t.Helper()
	r := Result{Number: e.Number}
	for _, c := range e.Checks {
		finding, err := runCheck(t, c)
		if err != nil {
			r.Error = err.Error()
		}
		if finding != nil || err != nil {
			r.Check, r.Finding = c.Name, finding
			return r
		}
	}
	r.Passed = true
	return r
}

func runCheck(t *testing.T, c Check) (*explore.Finding, error) {
	t.Helper()
	s := &Servers{tb: t}
	defer s.close()
	finding, err := c.Find(t.Context(), s)
	if finding != nil && err == nil {
		s.hidePrefixes(finding)
		return finding, nil
	}
	return nil, err
}

// report writes the result for the runner.
func report(t *testing.T, r Result) {
	t.Helper()
	file := os.Getenv(ResultVar)
	if file == "" {
		return
	}
	text, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Errorf("write the result: %v", err)
	}
}

func explained(r Result, c step.Catalogue) string {
	var b strings.Builder
	b.WriteString("\n\n")
	if r.Check != "" {
		b.WriteString(c.Say(step.T(r.Check)) + "\n\n")
	}
	Render(&b, r.Finding, c)
	return b.String()
}

// Prove is for the tests of an exercise's author. It asserts the ID of the finding ("": the code passes), and that its
// texts exist in both languages, and logs both explanations.
func Prove(t *testing.T, e Exercise, texts fs.FS, want string) {
	t.Helper()
	r := check(t, e)
	if r.Error != "" {
		t.Fatal(r.Error)
	}
	got := ""
	if r.Finding != nil {
		got = r.Finding.ID
	}
	if got != want {
		t.Errorf("finding %q, want %q", got, want)
	}
	for _, lang := range step.Languages() {
		c, err := Catalogue(texts, lang)
		if err != nil {
			t.Fatal(err)
		}
		for _, check := range e.Checks {
			if _, ok := c[check.Name]; !ok {
				t.Errorf("%s: no title of the check %q", lang, check.Name)
			}
		}
		if r.Finding == nil {
			continue
		}
		text := explained(r, c)
		if strings.Contains(text, "%!") {
			t.Errorf("%s: a text is missing or has other placeholders", lang)
		}
		t.Log(text)
	}
}

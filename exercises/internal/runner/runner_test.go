package runner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/exercises/internal/catalogue"
	"holdfast/exercises/internal/runner"
	"holdfast/internal/lab/course"
)

// The fake exercise: double a number. Its check imports nothing, so it is compiled quickly, and it counts its runs.
const (
	starts  = "package exercise\n\nfunc Double(n int) int { return n }\n"
	solved  = "package exercise\n\nfunc Double(n int) int { return 2 * n }\n"
	broken  = "package exercise\n\nfunc Double(n int) int { return m }\n"
	exiting = "package exercise\n\nimport \"os\"\n\nfunc Double(n int) int { println(\"bye\"); os.Exit(3); return n }\n"
	checks  = `package exercise

import (
	"fmt"
	"os"
	"testing"
)

func TestExercise(t *testing.T) {
	runs, _ := os.OpenFile("runs", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	fmt.Fprintln(runs, "run")
	runs.Close()
	result := ` + "`" + `{"number": 1, "passed": true}` + "`" + `
	if got := Double(2); got != 4 {
		t.Error("wrong")
		result = fmt.Sprintf(` + "`" + `{"number": 1, "check": "fake.check", "finding": {"id": "not-doubled", "what": {"key": "fake.what", "args": [%d]},
			"why": {"key": "fake.why"}, "do": {"key": "fake.do"}, "steps": [{"actor": "A", "kind": "other", "does": "doubles 2"}]}}` + "`" + `, got)
	}
	os.WriteFile(os.Getenv("HOLDFAST_EXERCISE_RESULT"), []byte(result), 0o600)
}
`
	english = `{"exercise": {"title": "Doubling", "hint.1": "Think.", "hint.2": "Multiply."},
"fake": {"check": "the double", "what": "2 doubled is %d", "why": "step 1 does not double", "do": "return twice the number"}}`
	chinese = `{"exercise": {"title": "加倍", "hint.1": "想一想。", "hint.2": "用乘法。"},
"fake": {"check": "加倍", "what": "2 的两倍算成了 %d", "why": "第 1 步没有加倍", "do": "返回两倍"}}`
)

// fakes returns a runner of fake exercises, one for each learner's file.
func fakes(t *testing.T, files ...string) (*runner.Runner, *output) {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "go.mod"), "module "+catalogue.Module+"\n\ngo 1.26.0\n")
	servers, err := runner.NewServers(t.Context(), t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	state, out := t.TempDir(), &output{}
	r := &runner.Runner{
		Root: root, State: filepath.Join(state, "exercises"), Progress: filepath.Join(state, "course.json"), Lang: "en",
		Servers: servers, Out: out, Notices: io.Discard,
		Command: func(verb string, exercise int) string { return fmt.Sprintf("make %s EX=%d", verb, exercise) },
	}
	for i, file := range files {
		e := catalogue.Exercise{Number: i + 1, Dir: fmt.Sprintf("%02d-double", i+1), Minutes: 5, Hints: 2}
		r.Exercises = append(r.Exercises, e)
		save(t, r, e, file)
		write(t, filepath.Join(root, e.Dir, "exercise_test.go"), checks)
		write(t, filepath.Join(root, e.Checks(), "texts", "en.json"), english)
		write(t, filepath.Join(root, e.Checks(), "texts", "zh.json"), chinese)
	}
	return r, out
}

// save writes the learner's file.
func save(t *testing.T, r *runner.Runner, e catalogue.Exercise, file string) {
	t.Helper()
	write(t, filepath.Join(r.Root, e.Dir, "exercise.go"), file)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runs returns how often the check of an exercise has run.
func runs(t *testing.T, r *runner.Runner, e catalogue.Exercise) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.Root, e.Dir, "runs"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n"))
}

// says fails the test if the text lacks one of the parts.
func says(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in\n%s", part, text)
		}
	}
}

// output is what a runner prints.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// take returns what was printed since the last call.
func (o *output) take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.text.Reset()
	return o.text.String()
}

// TestList: each exercise says what its check found, one that does not compile leaves the others alone, and only a
// check whose code has changed runs again.
func TestList(t *testing.T) {
	t.Parallel()
	r, out := fakes(t, starts, broken, solved)
	list := func(again bool) string {
		t.Helper()
		if err := r.List(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		return out.take()
	}
	says(t, list(false),
		"   1  Doubling\n       2 doubled is 2\n", "   2  Doubling\n       does not compile: ", "exercise.go:3:33: undefined: m\n", "✓  3  Doubling\n",
		"\n1 of 3 exercises done.\n", "exercises/01-double/task.md", "make try EX=1", "make hint EX=1")

	save(t, r, r.Exercises[1], solved)
	r.Lang = "zh"
	says(t, list(false), "   1  加倍\n       2 的两倍算成了 2\n", "✓  2  加倍\n✓  3  加倍\n", "exercises/01-double/task.zh.md")
	for i, want := range []int{1, 1, 1} {
		if got := runs(t, r, r.Exercises[i]); got != want {
			t.Errorf("the check of exercise %d ran %d times, want %d", i+1, got, want)
		}
	}

	save(t, r, r.Exercises[0], solved)
	r.Lang = "en"
	says(t, list(false), "3 of 3 exercises done.\nAll exercises are done.\n")
	list(true)
	for i, want := range []int{3, 2, 2} {
		if got := runs(t, r, r.Exercises[i]); got != want {
			t.Errorf("the check of exercise %d ran %d times, want %d", i+1, got, want)
		}
	}
	progress, err := course.Load(r.Progress)
	if err != nil || len(progress.Held) != 3 {
		t.Errorf("recorded in the course: %v, %v", progress.Held, err)
	}
}

// TestList_usedPackage: a verdict is not reused when a package that the learner's file imports has changed.
func TestList_usedPackage(t *testing.T) {
	t.Parallel()
	r, out := fakes(t, "package exercise\n\nimport \"holdfast/exercises/twice\"\n\nfunc Double(n int) int { return twice.Of(n) }\n")
	for factor, want := range map[int]string{1: "2 doubled is 2", 2: "All exercises are done.", 3: "2 doubled is 6"} {
		write(t, filepath.Join(r.Root, "twice", "twice.go"), fmt.Sprintf("package twice\n\nfunc Of(n int) int { return %d * n }\n", factor))
		if err := r.List(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		says(t, out.take(), want)
	}
}

// TestList_savedMeanwhile: a file that is saved while its check runs leaves no verdict, as it may be that of either
// code.
func TestList_savedMeanwhile(t *testing.T) {
	t.Parallel()
	saving := fmt.Sprintf("package exercise\n\nimport \"os\"\n\nfunc Double(n int) int { os.WriteFile(\"exercise.go\", []byte(%q), 0o600); return n }\n", solved)
	r, out := fakes(t, saving)
	for want := 1; want <= 2; want++ {
		save(t, r, r.Exercises[0], saving)
		if err := r.List(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		says(t, out.take(), "2 doubled is 2")
		if got := runs(t, r, r.Exercises[0]); got != want {
			t.Errorf("the check ran %d times, want %d", got, want)
		}
	}
}

// TestList_json: for programs, with the name of the mistake and the hints that were given.
func TestList_json(t *testing.T) {
	t.Parallel()
	r, out := fakes(t, starts, solved, broken)
	if _, _, err := r.Hint(r.Exercises[0], 2); err != nil {
		t.Fatal(err)
	}
	if err := r.ListJSON(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Passed    int
		Exercises []struct {
			Number, Hints                        int
			Name, Title, State, Finding, Summary string
		}
	}
	if err := json.Unmarshal([]byte(out.take()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Passed != 1 || len(got.Exercises) != 3 {
		t.Fatalf("%+v", got)
	}
	one := got.Exercises[0]
	if one.Number != 1 || one.Hints != 2 || one.Name != "01-double" || one.State != runner.Open || one.Finding != "not-doubled" || one.Summary != "2 doubled is 2" {
		t.Errorf("%+v", one)
	}
	if got.Exercises[1].State != runner.Passed || got.Exercises[1].Summary != "" || got.Exercises[2].State != runner.NotBuilt {
		t.Errorf("%+v", got.Exercises)
	}
}

// TestTry: an outcome of each kind is printed whole, and each try runs the check.
func TestTry(t *testing.T) {
	t.Parallel()
	r, out := fakes(t, starts)
	e := r.Exercises[0]
	try := func(file, state string) string {
		t.Helper()
		save(t, r, e, file)
		outcome, err := r.Try(t.Context(), e)
		if err == nil {
			err = r.PrintOutcome(e, outcome)
		}
		if err != nil || outcome.State != state {
			t.Errorf("outcome %+v, error %v, want %s", outcome, err, state)
		}
		return out.take()
	}
	for range 2 {
		says(t, try(starts, runner.Open), "✗ Exercise 1, Doubling: not yet. Part: the double\n", "doubles 2", "2 doubled is 2",
			"step 1 does not double", "return twice the number", "make hint EX=1")
	}
	if got := runs(t, r, e); got != 2 {
		t.Errorf("two tries ran the check %d times", got)
	}
	says(t, try(broken, runner.NotBuilt), "does not compile", "# holdfast/exercises/01-double", "exercise.go:3:33: undefined: m\n")
	says(t, try(exiting, runner.NotChecked), "the check could not run", "bye", "exit status 3")
	says(t, try(solved, runner.Passed), "✓ Exercise 1, Doubling: all checks hold.\n")
}

// TestHint: the next level each time, the last one again and again, or the level that was asked for.
func TestHint(t *testing.T) {
	t.Parallel()
	r, out := fakes(t, starts)
	e := r.Exercises[0]
	for i, tt := range []struct {
		level int
		want  string
	}{
		{0, "hint 1 of 2: Think.\n"},
		{1, "hint 1 of 2: Think.\n"},
		{0, "hint 2 of 2: Multiply.\nThis is the last hint. A solution is in exercises/solutions/01-double/exercise.go.\n"},
		{0, "hint 2 of 2: Multiply.\n"},
		{1, "hint 1 of 2: Think.\n"},
		{0, "hint 2 of 2: Multiply.\n"},
	} {
		if err := r.PrintHint(e, tt.level); err != nil {
			t.Fatal(err)
		}
		if got := out.take(); !strings.Contains(got, tt.want) {
			t.Errorf("%d: level %d: %q, want %q", i, tt.level, got, tt.want)
		}
	}
	for _, level := range []int{-1, 3} {
		if err := r.PrintHint(e, level); err == nil {
			t.Errorf("level %d was accepted", level)
		}
	}
}

// TestHint_stage: the hints of stages that were passed are left out.
func TestHint_stage(t *testing.T) {
	t.Parallel()
	r, out := fakes(t, starts)
	e := r.Exercises[0]
	e.Stages = []string{"fake.first", "fake.check"}
	if _, err := r.Try(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := r.PrintHint(e, 0); err != nil {
		t.Fatal(err)
	}
	says(t, out.take(), "hint 2 of 2: Multiply.\n")
}

// TestRecord_damaged: a record that cannot be read is a new one.
func TestRecord_damaged(t *testing.T) {
	t.Parallel()
	r, out := fakes(t, starts)
	write(t, filepath.Join(r.State, "record.json"), "{")
	if err := r.PrintHint(r.Exercises[0], 0); err != nil {
		t.Error(err)
	}
	says(t, out.take(), "hint 1 of 2")
}

// TestWatchNext: a saved file is checked, an exercise that passes is followed by the next one, one that has passed
// before is passed over, and the watch ends when all have passed.
func TestWatchNext(t *testing.T) {
	t.Parallel()
	r, out := fakes(t, starts, solved, starts)
	if _, err := r.Try(t.Context(), r.Exercises[1]); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- r.WatchNext(t.Context()) }()
	waitFor(t, out, "2 doubled is 2")
	save(t, r, r.Exercises[0], broken)
	waitFor(t, out, "undefined: m")
	save(t, r, r.Exercises[0], solved)
	waitFor(t, out, "✓ Exercise 1", "03-double/exercise.go", "2 doubled is 2")
	save(t, r, r.Exercises[2], solved)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	says(t, out.take(), "✓ Exercise 3", "All exercises are done.")
	if got := runs(t, r, r.Exercises[1]); got != 1 {
		t.Errorf("the exercise that had passed was checked %d times", got)
	}
}

// TestWatch: one exercise is watched until the context ends, also after it has passed.
func TestWatch(t *testing.T) {
	t.Parallel()
	r, out := fakes(t, solved)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Watch(ctx, r.Exercises[0]) }()
	waitFor(t, out, "✓ Exercise 1")
	save(t, r, r.Exercises[0], starts)
	waitFor(t, out, "2 doubled is 2")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the learner's end of the watch is the error %v", err)
	}
}

// waitFor waits until all parts were printed, in any order. What was printed is used up.
func waitFor(t *testing.T, out *output, parts ...string) {
	t.Helper()
	var seen strings.Builder
	deadline := time.Now().Add(2 * time.Minute)
	for {
		seen.WriteString(out.take())
		missing := ""
		for _, part := range parts {
			if !strings.Contains(seen.String(), part) {
				missing = part
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q in\n%s", missing, seen.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

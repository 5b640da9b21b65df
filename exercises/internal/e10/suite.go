package e10

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"holdfast/exercises/internal/explore"
	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventorylab/strategytest"
)

// suiteTimeout bounds the suite on a slow machine.
const suiteTimeout = 4 * time.Minute

// SkipUnlessAsked skips the conformance suite unless -run names it: the exercise runs it in a process of its own.
func SkipUnlessAsked(t *testing.T) {
	t.Helper()
	if !strings.Contains(flag.Lookup("test.run").Value.String(), t.Name()) {
		t.Skipf("the suite runs only with -run %s", t.Name())
	}
}

// runSuite runs a test of this program that is the conformance suite. It has a process of its own, because its cases
// fail as tests do, and a panic in one of them ends the process.
func runSuite(ctx context.Context, test string) (*explore.Finding, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, suiteTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run", "^"+test+"$", "-test.v", "-test.timeout", suiteTimeout.String())
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil, nil
	}
	if _, failed := errors.AsType[*exec.ExitError](err); !failed || ctx.Err() != nil {
		return nil, fmt.Errorf("run the conformance suite: %w", errors.Join(err, ctx.Err()))
	}
	return suiteFinding(test, out)
}

// suiteFinding explains the first failed case of the suite's output.
func suiteFinding(test string, out []byte) (*explore.Finding, error) {
	failed := failedCases(test, out)
	if len(failed) == 0 {
		return &explore.Finding{
			ID: "suite-panic", Steps: []explore.Step{}, What: step.T("suite.panic.what"), Why: step.T("suite.panic.why", panicText(out)),
			Do: step.T("suite.panic.do", test),
		}, nil
	}
	for _, name := range strategytest.Cases() {
		said, ok := failed[name]
		if !ok {
			continue
		}
		id := slug(name)
		return &explore.Finding{
			ID: "suite-" + id, Steps: []explore.Step{}, What: step.T("suite.what", name, step.T("promise."+id)),
			Why: step.T("suite.why", said), Do: step.T("suite.do", len(failed), len(strategytest.Cases()), test),
		}, nil
	}
	return nil, fmt.Errorf("the conformance suite failed: %s", out)
}

// slug makes a case's name the last part of a key.
func slug(name string) string {
	return strings.Trim(regexp.MustCompile(`[^a-z]+`).ReplaceAllString(strings.ToLower(name), "-"), "-")
}

// maxSaid is how many lines of a message are shown: the difference of two receipts has several.
const maxSaid = 8

// suiteOutput is what the output of a suite has said so far.
type suiteOutput struct {
	test   string
	said   map[string]string // the first message of each case
	failed map[string]bool   // the cases that failed

	current string // the case whose messages come now
	open    int    // lines that its first message may still have
}

// failedCases returns the failed cases with their first message each.
func failedCases(test string, out []byte) map[string]string {
	o := &suiteOutput{test: test, said: map[string]string{}, failed: map[string]bool{}}
	for line := range strings.Lines(string(out)) {
		o.read(strings.TrimRight(line, "\r\n"))
	}
	failed := map[string]string{}
	for name := range o.failed {
		failed[name] = o.said[name]
	}
	return failed
}

// read takes the next line. The testing package indents the messages of a case by four columns and their further lines
// by eight.
func (o *suiteOutput) read(line string) {
	text := strings.TrimSpace(line)
	if o.open > 0 && strings.HasPrefix(line, "        ") {
		o.said[o.current] += "\n" + text
		o.open--
		return
	}
	o.open = 0
	if name, ok := o.caseIn(text, "=== RUN", "=== CONT", "=== NAME"); ok {
		o.current = name
		return
	}
	if name, ok := o.caseIn(text, "--- FAIL:"); ok {
		if name != "" {
			o.failed[name] = true
		}
		return
	}
	file, said, ok := strings.Cut(text, ".go:")
	_, said, _ = strings.Cut(said, ": ")
	if ok && !strings.Contains(file, " ") && o.current != "" && o.said[o.current] == "" && !strings.HasPrefix(said, "runs on ") {
		o.said[o.current], o.open = said, maxSaid
	}
}

// caseIn returns the case that a line with one of the marks names, or "" when it names none. In names, the testing
// package writes blanks as underscores.
func (o *suiteOutput) caseIn(text string, marks ...string) (name string, ok bool) {
	for _, mark := range marks {
		rest, ok := strings.CutPrefix(text, mark)
		if !ok {
			continue
		}
		written, _, _ := strings.Cut(strings.TrimSpace(rest), " ") // after it comes the time
		for _, c := range strategytest.Cases() {
			if written == o.test+"/"+strings.ReplaceAll(c, " ", "_") {
				return c, true
			}
		}
		return "", true
	}
	return "", false
}

// panicText returns the line of a panic, or the end of the output.
func panicText(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, l := range lines {
		if strings.HasPrefix(l, "panic: ") {
			return l
		}
	}
	return lines[len(lines)-1]
}

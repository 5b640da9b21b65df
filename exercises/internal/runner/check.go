package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"holdfast/exercises/internal/catalogue"
	"holdfast/exercises/internal/trial"
	"holdfast/internal/dev/stack"
)

// checkLimit bounds the check of one exercise. It is far above what a check needs: it ends learner code that neither
// acts nor heeds its context.
const checkLimit = 10 * time.Minute

// The states of an exercise.
const (
	Passed     = "passed"      // every check holds
	Open       = "open"        // a check found a mistake
	NotBuilt   = "not-built"   // the learner's file does not compile
	NotChecked = "not-checked" // the check could not run: no server, or the process ended before the check did
)

// Outcome is what came of an exercise.
type Outcome struct {
	State  string       `json:"state"`
	Result trial.Result `json:"result"`           // of Passed and Open
	Output string       `json:"output,omitempty"` // of NotBuilt: the compiler's; of NotChecked: the reason
}

// check builds and runs an exercise's checks.
func (r *Runner) check(ctx context.Context, e catalogue.Exercise) (Outcome, error) {
	binary, messages, err := r.build(ctx, e)
	if err != nil {
		return Outcome{}, err
	}
	if messages != "" {
		return Outcome{State: NotBuilt, Output: messages}, nil
	}
	vars, err := r.need(ctx, e.Servers)
	if err != nil {
		return Outcome{}, err
	}
	return r.execute(ctx, e, binary, vars)
}

// execute runs the test binary and reads the result that it leaves.
func (r *Runner) execute(ctx context.Context, e catalogue.Exercise, binary string, vars stack.Vars) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "holdfast-exercise-")
	if err != nil {
		return Outcome{}, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system empties its temporary folder
	file := filepath.Join(dir, "result.json")
	cmd := exec.CommandContext(ctx, binary, "-test.timeout="+checkLimit.String())
	cmd.Dir = filepath.Join(r.Root, e.Dir)
	cmd.Env = append(os.Environ(), trial.ResultVar+"="+file, "HOLDFAST_MYSQL="+vars.MySQL, "HOLDFAST_REDIS="+vars.Redis)
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	runErr := cmd.Run()
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) { // the process ended before the check did: a fatal error of the learner's code
		if ctx.Err() != nil {
			return Outcome{}, ctx.Err()
		}
		return Outcome{State: NotChecked, Output: strings.TrimSpace(fmt.Sprintf("%s\n%v", out.String(), runErr))}, nil
	}
	if err != nil {
		return Outcome{}, err
	}
	var result trial.Result
	if err := json.Unmarshal(text, &result); err != nil {
		return Outcome{}, fmt.Errorf("read the result of exercise %d: %w", e.Number, err)
	}
	return outcomeOf(result), nil
}

func outcomeOf(result trial.Result) Outcome {
	switch {
	case result.Passed:
		return Outcome{State: Passed, Result: result}
	case result.Finding != nil:
		return Outcome{State: Open, Result: result}
	}
	return Outcome{State: NotChecked, Result: result, Output: result.Error}
}

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"holdfast/internal/dev/stack/stacktest"
)

// TestLesson_step lets a reader step through a lesson whose standard input is a pipe.
func TestLesson_step(t *testing.T) {
	t.Parallel()
	env := append(os.Environ(), asMain+"=1", "LANG=zh_CN.UTF-8", "HOLDFAST_REDIS="+stacktest.Redis(t), "HOLDFAST_MYSQL="+stacktest.MySQL(t))
	for name, tt := range map[string]struct {
		typed  string
		flags  []string
		status int
		want   []string
		not    string
	}{
		"to the end":   {strings.Repeat("\n", 6), nil, 0, []string{"? 第一个买家会读到什么？", "库存行: available=1", "4 项检查全部通过"}, "checks passed"},
		"a replay":     {"\n\n1\n" + strings.Repeat("\n", 6), []string{"--lang", "en"}, 0, []string{"[1.3]", "to step 1", "4 checks passed"}, "项检查"},
		"q":            {"\nq\n", nil, 1, []string{"[1.2]", "stopped by the reader before step 1.2"}, "✓"},
		"end of input": {"\n\n", nil, 1, []string{"[1.3]", "before step 1.3: the input has ended"}, "✓"},
		"parameter":    {"", []string{"--ttl", "1s"}, 2, []string{"lesson naive has no parameter ttl"}, "[1.1]"},
		"buyers":       {"", []string{"--buyers", "20"}, 2, []string{"buyers is 20, not between 21 and 2000"}, "[1.1]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"--dir", t.TempDir(), "lesson", "naive", "--step"}, tt.flags...)...)
			var out bytes.Buffer
			cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, strings.NewReader(tt.typed), &out, &out
			err := cmd.Run()
			status := 0
			if e, ok := errors.AsType[*exec.ExitError](err); ok {
				status = e.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if status != tt.status {
				t.Errorf("exit status %d, want %d", status, tt.status)
			}
			says(t, out.String(), tt.want, tt.not)
		})
	}
}

//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
)

// command is a running holdfast with a process group and a temporary folder of its own.
type command struct {
	cmd  *exec.Cmd
	temp string
	out  *testkit.Buffer
	done chan error
}

// start starts holdfast without the servers that the tests share.
func start(t *testing.T, args ...string) *command {
	t.Helper()
	c := &command{temp: t.TempDir(), out: &testkit.Buffer{}, done: make(chan error, 1)}
	c.cmd = exec.Command(os.Args[0], args...)
	c.cmd.Env = append(os.Environ(), asMain+"=1", "TMPDIR="+c.temp, "HOLDFAST_MYSQL=", "HOLDFAST_REDIS=", "HOLDFAST_NAMESRV=")
	c.cmd.Dir = c.temp
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	if _, err := c.cmd.StdinPipe(); err != nil { // a terminal at which nobody types
		t.Fatal(err)
	}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.WaitDelay = time.Second
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.done <- c.cmd.Wait() }()
	t.Cleanup(func() { // after a failure
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
		for pid := range c.processes(t) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return c
}

// processes returns the processes that holdfast started, by id, with their command lines: they have inherited its
// TMPDIR.
func (c *command) processes(t *testing.T) map[int]string {
	t.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, folder := range folders {
		pid, err := strconv.Atoi(filepath.Base(folder))
		if err != nil || pid == c.cmd.Process.Pid {
			continue
		}
		environ, err := os.ReadFile(filepath.Join(folder, "environ"))
		if err != nil || !strings.Contains("\x00"+string(environ), "\x00TMPDIR="+c.temp+"\x00") { // another user's, or ended
			continue
		}
		line, err := os.ReadFile(filepath.Join(folder, "cmdline"))
		if err == nil && len(line) > 0 { // a process that has ended and is not reaped has none
			found[pid] = strings.ReplaceAll(string(line), "\x00", " ")
		}
	}
	return found
}

// seen returns the output and, each after a line feed, the command lines of the processes.
func (c *command) seen(t *testing.T) string {
	t.Helper()
	return c.out.String() + "\n" + strings.Join(slices.Sorted(maps.Values(c.processes(t))), "\n")
}

// TestInterrupt: Ctrl-C, which the terminal sends to the whole process group, ends the command soon and leaves neither
// processes nor temporary folders.
func TestInterrupt(t *testing.T) {
	stacktest.SkipIfShort(t, "MySQL and Redis")
	for name, tt := range map[string]struct {
		args  []string
		until string // in the output or in the command line of a process
	}{
		"compare":                      {[]string{"compare", "--strategies", "conditional"}, " 1 of "},
		"compare while servers start":  {[]string{"compare"}, "mariadb"},
		"lesson --all":                 {[]string{"lesson", "--all"}, "1. "},
		"lesson that waits for Enter":  {[]string{"lesson", "naive", "--step"}, "[1.1] "},
		"lesson with a frozen process": {[]string{"lesson", "hung-holder"}, "lesson-role"},
		"env":                          {[]string{"env", "--private", "--", "sleep", "1000"}, "\nsleep 1000 "},
		"env whose command ignores it": {[]string{"env", "--private", "--", "sh", "-c", "trap '' INT; exec sleep 1000"}, "\nsleep 1000 "},
		"env while servers start":      {[]string{"env", "--private", "--", "true"}, "mariadb"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, tt.args...)
			testkit.Eventually(t, 2*time.Minute, "the command works", func() error {
				if seen := c.seen(t); !strings.Contains(seen, tt.until) {
					return fmt.Errorf("%q is not in\n%s", tt.until, seen)
				}
				return nil
			})
			begin := time.Now()
			if err := syscall.Kill(-c.cmd.Process.Pid, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-c.done:
				if _, ok := errors.AsType[*exec.ExitError](err); !ok {
					t.Errorf("exit with %v, want a status that is not 0", err)
				}
			case <-time.After(time.Minute):
				t.Fatalf("it still runs a minute after the interruption:\n%s", c.seen(t))
			}
			t.Logf("it ended %v after the interruption", time.Since(begin).Round(time.Millisecond))
			testkit.Eventually(t, 10*time.Second, "no process and no folder is left", func() error {
				left, err := filepath.Glob(filepath.Join(c.temp, "holdfast-*"))
				if err != nil {
					return err
				}
				if running := c.processes(t); len(left)+len(running) > 0 {
					return fmt.Errorf("left: %q, running: %v", left, running)
				}
				return nil
			})
		})
	}
}

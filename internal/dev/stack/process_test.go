package stack_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/testkit"
)

func alive(pid int) bool { return stack.Running(context.Background(), pid, "") }

func sleeper(tb testing.TB, c stack.Command) *stack.Process {
	tb.Helper()
	c.Name, c.Args = "sleeper", []string{"/bin/sleep", "600"}
	p, err := stack.Start(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Kill() })
	return p
}

func TestProcess_Stop(t *testing.T) {
	t.Parallel()
	for _, tie := range []bool{true, false} {
		t.Run("tie="+strconv.FormatBool(tie), func(t *testing.T) {
			t.Parallel()
			p := sleeper(t, stack.Command{Tie: tie})
			if !alive(p.PID) {
				t.Fatal("the process is not running")
			}
			for range 2 {
				if err := p.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if alive(p.PID) {
				t.Error("the process still runs after Stop")
			}
			if err := p.Thaw(); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("Thaw after Stop = %v, want os.ErrProcessDone", err)
			}
		})
	}
}

// A server that ignores SIGTERM is ended by SIGKILL when ctx is done.
func TestProcess_Stop_unwilling(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	p, err := stack.Start(stack.Command{
		Name: "unwilling", Args: []string{"/bin/sh", "-c", "trap '' TERM; echo deaf; exec sleep 600"}, Log: log, Tie: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	deaf := func(context.Context) error {
		if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), "deaf") {
			return errors.Join(err, errors.New("the process does not ignore SIGTERM yet"))
		}
		return nil
	}
	if err := p.Ready(t.Context(), deaf); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() == nil {
		t.Error("it ended by SIGTERM: nothing was tested")
	}
	if alive(p.PID) {
		t.Error("the process survived Stop")
	}
}

func TestProcess_Ready_processEnds(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	p, err := stack.Start(stack.Command{Name: "broken", Args: []string{"/bin/sh", "-c", "echo no such luck; exit 3"}, Log: log, Tie: true})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Ready(t.Context(), func(context.Context) error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "no such luck") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Ready = %v, want the exit status and the log", err)
	}
}

func TestProcess_Ready_deadline(t *testing.T) {
	t.Parallel()
	p := sleeper(t, stack.Command{Tie: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	notYet := errors.New("not yet")
	err := p.Ready(ctx, func(context.Context) error { return notYet })
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, notYet) {
		t.Errorf("Ready = %v, want the deadline and the probe's error", err)
	}
}

func TestStart_missingProgram(t *testing.T) {
	t.Parallel()
	for _, tie := range []bool{true, false} {
		if _, err := stack.Start(stack.Command{Name: "ghost", Args: []string{"/no/such/program"}, Tie: tie}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("tie=%v: Start = %v, want not exist", tie, err)
		}
	}
}

func TestTerminate(t *testing.T) {
	t.Parallel()
	p := sleeper(t, stack.Command{})
	if err := stack.Terminate(t.Context(), p.PID, "another marker"); err != nil || !alive(p.PID) {
		t.Fatalf("Terminate touched a process with another command line: err=%v alive=%v", err, alive(p.PID))
	}
	if err := stack.Terminate(t.Context(), p.PID, "sleep 600"); err != nil || alive(p.PID) {
		t.Errorf("Terminate: err=%v alive=%v, want it gone", err, alive(p.PID))
	}
	if err := stack.Terminate(t.Context(), p.PID, "sleep 600"); err != nil {
		t.Errorf("Terminate of a gone process = %v", err)
	}
}

// helperEnv makes this test binary act as the parent in TestStart_parentKilled.
const helperEnv = "HOLDFAST_STACK_HELPER"

// The parent is killed with SIGKILL. Its tied child must end with it, and its detached child must outlive it.
func TestStart_parentKilled(t *testing.T) {
	if dir := os.Getenv(helperEnv); dir != "" {
		parentOfTwo(t, dir)
		return
	}
	t.Parallel()
	dir := t.TempDir()
	parent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStart_parentKilled$")
	parent.Env = append(os.Environ(), helperEnv+"="+dir)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pids := filepath.Join(dir, "pids")
	testkit.EventuallyTrue(t, 20*time.Second, "both children run", func() bool { _, err := os.Stat(pids); return err == nil })
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	tiedText, detachedText, _ := strings.Cut(string(text), " ")
	tied, err1 := strconv.Atoi(tiedText)
	detached, err2 := strconv.Atoi(detachedText)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	orphan, err := os.FindProcess(detached)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = orphan.Kill() })
	if !alive(tied) || !alive(detached) {
		t.Fatal("the children are not running")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // "signal: killed"
	testkit.EventuallyTrue(t, 10*time.Second, "the tied child is gone", func() bool { return !alive(tied) })
	testkit.EventuallyTrue(t, 10*time.Second, "its folder is gone", func() bool {
		_, err := os.Stat(filepath.Join(dir, "data"))
		return errors.Is(err, os.ErrNotExist)
	})
	if !alive(detached) {
		t.Error("the detached child died with the parent")
	}
}

func parentOfTwo(t *testing.T, dir string) {
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	tied := sleeper(t, stack.Command{Tie: true, Remove: data})
	detached := sleeper(t, stack.Command{})
	text := strconv.Itoa(tied.PID) + " " + strconv.Itoa(detached.PID)
	if err := os.WriteFile(filepath.Join(dir, "pids.new"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "pids.new"), filepath.Join(dir, "pids")); err != nil {
		t.Fatal(err)
	}
	<-tied.Done() // until we are killed
}

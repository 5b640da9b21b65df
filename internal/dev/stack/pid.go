package stack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"holdfast/pkg/wait"
)

// killTimeout bounds the wait for a process to end after SIGKILL.
const killTimeout = 10 * time.Second

// Running reports whether process pid runs and its command line contains marker (a data folder, a port). A recorded
// process id alone is not enough: after a reboot it may belong to another process.
func Running(ctx context.Context, pid int, marker string) bool {
	line := ""
	for try := 0; line == "" && try < 10; try++ {
		if ended(ctx, pid) {
			return false
		}
		if line = commandLine(ctx, pid); line == "" { // the process is executing a new program or ending
			time.Sleep(time.Millisecond)
		}
	}
	return strings.Contains(line, marker)
}

// Terminate ends a detached process that an earlier run of this program started. It sends SIGTERM, sends SIGKILL after
// 10 seconds or when ctx is done, and waits until the process has ended. A process that has ended, or whose command
// line does not contain marker, is left alone; this is no error.
func Terminate(ctx context.Context, pid int, marker string) error {
	uncancelled := context.WithoutCancel(ctx) // the process must be found even after ctx is done
	if !Running(uncancelled, pid, marker) {
		return nil
	}
	if err := signalProcess(pid, syscall.SIGTERM); err != nil && !gone(err) {
		return fmt.Errorf("terminate process %d: %w", pid, err)
	}
	grace, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	if waitEnded(grace, pid) {
		return nil
	}
	if err := signalProcess(pid, syscall.SIGKILL); err != nil && !gone(err) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	killed, cancelKilled := context.WithTimeout(uncancelled, killTimeout)
	defer cancelKilled()
	if !waitEnded(killed, pid) {
		return fmt.Errorf("process %d still runs after SIGKILL", pid)
	}
	return nil
}

// waitEnded waits until pid has ended. It returns false if ctx is done first.
func waitEnded(ctx context.Context, pid int) bool {
	uncancelled := context.WithoutCancel(ctx)
	err := wait.Until(ctx, readyPoll, func(context.Context) (bool, error) { return ended(uncancelled, pid), nil })
	return err == nil
}

// ended is also true for a process that its parent has not reaped: its files and ports are closed.
func ended(ctx context.Context, pid int) bool {
	if pid <= 1 || signalProcess(pid, 0) != nil {
		return true
	}
	switch state(ctx, pid) {
	case 'Z', 'X', 0: // reaped a moment ago
		return true
	}
	return false
}

// Stopped reports whether the process is stopped, for instance by SIGSTOP.
func (p *Process) Stopped(ctx context.Context) bool { return state(ctx, p.PID) == 'T' }

// state returns the operating system's state letter of a process; 0 means that there is no such process.
func state(ctx context.Context, pid int) byte {
	var line string
	if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil {
		_, after, _ := bytes.Cut(stat, []byte(") ")) // the state follows the program's name in brackets
		line = string(after)
	} else { // no /proc, or it was reaped a moment ago
		line = strings.TrimSpace(ps(ctx, pid, "stat="))
	}
	if line == "" {
		return 0
	}
	return line[0]
}

func commandLine(ctx context.Context, pid int) string {
	if line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); err == nil {
		return string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
	}
	return ps(ctx, pid, "command=")
}

// ps is used on systems without /proc. It returns "" if there is no such process.
func ps(ctx context.Context, pid int, column string) string {
	out, err := exec.CommandContext(ctx, "ps", "-ww", "-o", column, "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return string(out)
}

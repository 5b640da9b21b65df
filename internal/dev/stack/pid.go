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

// killPatience is how long a process may take to vanish after SIGKILL.
const killPatience = 10 * time.Second

// Running reports whether process pid runs and its command line contains marker (a data folder, a port). A recorded
// process id alone proves nothing: after a reboot it may belong to somebody else.
func Running(ctx context.Context, pid int, marker string) bool {
	line := ""
	for try := 0; line == "" && try < 10; try++ {
		if ended(ctx, pid) {
			return false
		}
		if line = commandLine(ctx, pid); line == "" { // in the middle of exec, or just ending
			time.Sleep(time.Millisecond)
		}
	}
	return strings.Contains(line, marker)
}

// Terminate ends a detached process that an earlier run of this program started: SIGTERM, then SIGKILL after 10 seconds
// or when ctx is done, and waits until it is gone. A process that is gone, or whose command line does not contain
// marker, is left alone and is no error.
func Terminate(ctx context.Context, pid int, marker string) error {
	look := context.WithoutCancel(ctx) // looking must still work when ctx is what ended our patience
	if !Running(look, pid, marker) {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !gone(err) {
		return fmt.Errorf("terminate process %d: %w", pid, err)
	}
	grace, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	if waitEnded(grace, pid) {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !gone(err) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	patience, cancelPatience := context.WithTimeout(look, killPatience)
	defer cancelPatience()
	if !waitEnded(patience, pid) {
		return fmt.Errorf("process %d does not end, even by SIGKILL", pid)
	}
	return nil
}

// waitEnded waits until pid has ended; false when ctx was done first.
func waitEnded(ctx context.Context, pid int) bool {
	look := context.WithoutCancel(ctx)
	err := wait.Until(ctx, readyPoll, func(context.Context) (bool, error) { return ended(look, pid), nil })
	return err == nil
}

// ended is also true for a process that its parent has not reaped yet: it has closed its files and its ports.
func ended(ctx context.Context, pid int) bool {
	if pid <= 1 || syscall.Kill(pid, 0) != nil {
		return true
	}
	switch state(ctx, pid) {
	case 'Z', 'X', 0: // reaped a moment ago
		return true
	}
	return false
}

// Stopped reports whether the process stands still, by SIGSTOP for instance.
func (p *Process) Stopped(ctx context.Context) bool { return state(ctx, p.PID) == 'T' }

// state is the letter by which the system calls the state of a process; 0: there is no such process.
func state(ctx context.Context, pid int) byte {
	var line string
	if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil {
		_, after, _ := bytes.Cut(stat, []byte(") ")) // after the program's name in brackets
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

// ps asks where there is no /proc. Empty: no such process.
func ps(ctx context.Context, pid int, column string) string {
	out, err := exec.CommandContext(ctx, "ps", "-ww", "-o", column, "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return string(out)
}

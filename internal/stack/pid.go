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
)

// Running reports whether process pid exists and its command line contains marker (a data folder, a port). A recorded
// process id alone proves nothing: after a reboot it may belong to somebody else.
func Running(ctx context.Context, pid int, marker string) bool {
	if pid <= 1 || syscall.Kill(pid, 0) != nil {
		return false
	}
	return strings.Contains(commandLine(ctx, pid), marker)
}

// commandLine is empty for a process that has ended but was not reaped yet.
func commandLine(ctx context.Context, pid int) string {
	if line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); err == nil {
		return string(bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
	}
	line, err := exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return string(line)
}

// Terminate ends a detached process that an earlier run of this program started: SIGTERM, then SIGKILL after 10 seconds
// or when ctx is done, and waits until it is gone. A process that is gone, or whose command line does not contain
// marker, is left alone and is no error.
func Terminate(ctx context.Context, pid int, marker string) error {
	alive := context.WithoutCancel(ctx) // the check must still work when ctx is what ended our patience
	if !Running(alive, pid, marker) {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !gone(err) {
		return fmt.Errorf("terminate process %d: %w", pid, err)
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	kill := ctx.Done()
	for tries := 0; Running(alive, pid, marker); {
		select {
		case <-poll.C:
			if tries++; kill == nil && tries > 500 {
				return fmt.Errorf("process %d does not end, even by SIGKILL", pid)
			}
			continue
		case <-kill:
		case <-grace.C:
		}
		kill, tries = nil, 0
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !gone(err) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	return nil
}

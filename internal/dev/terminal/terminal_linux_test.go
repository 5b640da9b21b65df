package terminal_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/internal/dev/terminal"
)

// pty opens a pseudo terminal.
func pty(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo terminals here:", err)
	}
	t.Cleanup(func() { master.Close() })
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestOverwrites: only a terminal that is not dumb overwrites lines, and NO_COLOR turns only colours off.
func TestOverwrites(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	tty := pty(t)
	for _, tt := range []struct {
		name               string
		w                  io.Writer
		env                map[string]string
		overwrites, colors bool
	}{
		{"terminal", tty, nil, true, true},
		{"dumb terminal", tty, map[string]string{"TERM": "dumb"}, false, false},
		{"NO_COLOR", tty, map[string]string{"NO_COLOR": "1"}, true, false},
		{"file", file, nil, false, false},
		{"buffer", &bytes.Buffer{}, nil, false, false},
	} {
		getenv := func(name string) string { return tt.env[name] }
		if got := terminal.Overwrites(tt.w, getenv); got != tt.overwrites {
			t.Errorf("%s: overwrites %v", tt.name, got)
		}
		if got := terminal.Colors(tt.w, getenv); got != tt.colors {
			t.Errorf("%s: colours %v", tt.name, got)
		}
	}
}

//go:build crashpoint

package crash

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// At ends the process here if it is armed for p and p is not used up. The environment is read at each call, so that
// there is no state that a forgotten call could leave unset.
func At(p Point) {
	armed := strings.Split(os.Getenv(EnvAt), ",")
	if !slices.Contains(armed, string(p)) || !mark(p) {
		return
	}
	how := syscall.SIGKILL
	if os.Getenv(EnvStop) != "" {
		how = syscall.SIGSTOP
	}
	fmt.Fprintf(os.Stderr, "crash point %s: this process gets %v now\n", p, how)
	if err := syscall.Kill(os.Getpid(), how); err != nil {
		panic(fmt.Sprintf("crash point %s: %v", p, err))
	}
	if how == syscall.SIGKILL {
		select {} // the signal is on its way: nothing more must happen
	}
}

// mark uses p up: of all that come to it, in this process and after a restart, one is told so.
func mark(p Point) bool {
	f, err := os.OpenFile(Mark(os.Getenv(EnvMarks), p), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if os.IsExist(err) {
		return false
	}
	if err != nil { // a crash point that silently does not work would prove that nothing can go wrong
		panic(fmt.Sprintf("crash point %s cannot be marked: %v", p, err))
	}
	fmt.Fprintf(f, "process %d, %s\n", os.Getpid(), time.Now().UTC().Format(time.RFC3339Nano))
	if err := f.Close(); err != nil {
		panic(fmt.Sprintf("crash point %s cannot be marked: %v", p, err))
	}
	return true
}

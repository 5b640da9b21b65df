//go:build crashpoint

package crash

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
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
	if os.Getenv(EnvStop) != "" {
		stop(p)
		return
	}
	send(p, syscall.SIGKILL)
	select {} // the signal is on its way: nothing more must happen
}

// AtGroup is At for a point to which a group of orders has come. A group that is smaller than EnvGroup passes.
func AtGroup(p Point, orders int) {
	if least := os.Getenv(EnvGroup); least != "" {
		n, err := strconv.Atoi(least)
		if err != nil {
			panic(fmt.Sprintf("crash point %s: %s is %q, not a number", p, EnvGroup, least))
		}
		if orders < n {
			return
		}
	}
	At(p)
}

// stop stops the process and returns after SIGCONT. The threads stop one after another; stop keeps this one from
// running on until it is stopped too.
func stop(p Point) {
	goOn := make(chan os.Signal, 1)
	signal.Notify(goOn, syscall.SIGCONT)
	defer signal.Stop(goOn)
	send(p, syscall.SIGSTOP)
	<-goOn
}

func send(p Point, s syscall.Signal) {
	fmt.Fprintf(os.Stderr, "crash point %s: this process gets %q now\n", p, s)
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		panic(fmt.Sprintf("crash point %s: %v", p, err))
	}
}

// mark uses p up. It returns true once, in this process and after restarts.
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

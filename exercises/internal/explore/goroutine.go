package explore

import (
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// goroutineID returns how the runtime names the calling goroutine: "goroutine 7 ".
func goroutineID() string {
	buf := make([]byte, 64)
	text := string(buf[:runtime.Stack(buf, false)])
	name, _, _ := strings.Cut(text, "[")
	return name
}

// maxDump bounds the text of all goroutines.
const maxDump = 4 << 20

// waitsForMutex reports whether the goroutine waits for a mutex: a lock in the memory of this process. Asked while no
// other actor runs code of its own, it says that one of them keeps the mutex while it takes a step.
func waitsForMutex(goroutine string) bool {
	buf := make([]byte, 1<<16)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= maxDump {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	_, rest, found := strings.Cut("\n"+string(buf), "\n"+goroutine+"[")
	if !found {
		return false
	}
	reason, _, _ := strings.Cut(rest, "]")
	return strings.HasPrefix(reason, "sync.Mutex.Lock") || strings.HasPrefix(reason, "sync.RWMutex.")
}

// panicked is a panic of the learner's code.
type panicked struct{ text, where string }

// whatPanicked is called by the deferred function that recovered. It looks for the line of the learner's code.
func whatPanicked(v any) *panicked {
	p := &panicked{text: fmt.Sprint(v)}
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	below := false // below the call of panic
	for {
		frame, more := frames.Next()
		switch {
		case frame.Function == "runtime.gopanic":
			below = true
		case !below || strings.HasPrefix(frame.Function, "runtime."):
		case p.where == "" || isLearners(frame.Function):
			p.where = fmt.Sprintf("%s:%d", path.Base(filepath.ToSlash(frame.File)), frame.Line)
		}
		if !more || isLearners(frame.Function) && below {
			return p
		}
	}
}

// isLearners reports a function of a package that learners write.
func isLearners(function string) bool {
	const module = "holdfast/exercises/"
	return strings.HasPrefix(function, module) && !strings.HasPrefix(function, module+"internal/")
}

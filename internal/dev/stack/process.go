package stack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopGrace is the time between SIGTERM and SIGKILL.
const stopGrace = 10 * time.Second

// readyPoll is the pause between two probes of a starting server.
const readyPoll = 20 * time.Millisecond

// tieScript runs a server whose life is bound to a pipe. The script reads the pipe as descriptor 3; the parent holds
// the other end open and never writes to it. When the parent ends for any reason, the pipe closes: the watcher kills
// the server, and the script removes the folder $1. When the server ends first, the script stops the watcher and keeps
// the folder, which contains the log.
//
// The watcher ignores SIGTERM before it kills the server. Its exit status then shows which of the two ended first.
const tieScript = `remove=$1; input=$2; shift 2
"$@" <"$input" 3<&- 4>&- & server=$!
( exec 4>&-; read -r _ <&3; trap '' TERM; kill -9 $server; exit 0 ) & watcher=$!
echo $server >&4; exec 3<&- 4>&-
wait $server; status=$?
kill $watcher 2>/dev/null
if wait $watcher && [ -n "$remove" ]; then rm -rf -- "$remove"; fi
exit $status`

// Command describes what to run. Args must start the server itself, not a script that forks it: signals go to that
// process.
type Command struct {
	Name   string   // for messages, "MariaDB"
	Args   []string // the program's path and its arguments
	Env    []string // added to this process's environment
	Dir    string   // working directory; empty: this process's
	Input  string   // file for standard input; empty: none
	Log    string   // file for standard output and error, appended to; empty: discarded
	Tie    bool     // ends with this process; otherwise the child is detached, in a session of its own
	Remove string   // with Tie: a folder that is removed if this process ends without having stopped the child
}

// Process is a started child process. Its methods are safe for concurrent use.
type Process struct {
	Name string
	PID  int // of the server itself, not of tieScript

	log  string
	tie  *os.File // closing this end of the pipe kills a tied child; nil if detached
	done chan struct{}

	stop sync.Mutex
	err  error // result of the process; read after done is closed
}

// Start runs c and returns immediately; see [Process.Ready]. The error names the program that could not be started. On
// Windows there is always an error.
func Start(c Command) (*Process, error) {
	if err := supported(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	if len(c.Args) == 0 {
		return nil, fmt.Errorf("start %s: no program given", c.Name)
	}
	if c.Input == "" {
		c.Input = os.DevNull
	}
	out, err := openLog(c.Log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	defer out.Close() //nolint:errcheck // the child has its own copy; nothing was written
	if c.Tie {
		return startTied(c, out)
	}
	return startDetached(c, out)
}

func openLog(path string) (*os.File, error) {
	if path == "" {
		path = os.DevNull
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// build prepares a child in a session of its own.
func build(c Command, out *os.File, args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // the child outlives the caller's context
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, out, out
	ownSession(cmd)
	return cmd
}

func startDetached(c Command, out *os.File) (*Process, error) {
	in, err := os.Open(c.Input)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	defer in.Close() //nolint:errcheck // the child has its own copy
	cmd := build(c, out, c.Args...)
	cmd.Stdin = in
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	return watch(c, cmd, cmd.Process.Pid, nil), nil
}

func startTied(c Command, out *os.File) (*Process, error) {
	if _, err := exec.LookPath(c.Args[0]); err != nil { // the shell would report it only in the log
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	tieRead, tieWrite, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	pidRead, pidWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.Name, err), tieRead.Close(), tieWrite.Close())
	}
	cmd := build(c, out, append([]string{"/bin/sh", "-c", tieScript, c.Name, c.Remove, c.Input}, c.Args...)...)
	cmd.ExtraFiles = []*os.File{tieRead, pidWrite} // descriptors 3 and 4
	err = cmd.Start()
	closed := errors.Join(tieRead.Close(), pidWrite.Close())
	if err = errors.Join(err, closed); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.Name, err), tieWrite.Close(), pidRead.Close())
	}
	pid, err := readPID(pidRead)
	if err != nil {
		closing := tieWrite.Close() // kills the child if it was started
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.Name, err), closing, cmd.Wait())
	}
	return watch(c, cmd, pid, tieWrite), nil
}

func readPID(r *os.File) (int, error) {
	defer r.Close() //nolint:errcheck // read only
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("read the process id: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(line))
}

// watch reaps the child when it ends.
func watch(c Command, cmd *exec.Cmd, pid int, tie *os.File) *Process {
	p := &Process{Name: c.Name, PID: pid, log: c.Log, tie: tie, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		if tie != nil {
			p.err = errors.Join(p.err, tie.Close())
		}
		close(p.done)
	}()
	return p
}

// Done returns a channel that is closed when the process has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Ready waits until probe returns nil, ctx is done or the process ends. The error contains the probe's last error and
// the last lines of the log. Ready does not stop the process.
func (p *Process) Ready(ctx context.Context, probe func(context.Context) error) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			ended := p.err
			if ended == nil {
				ended = errors.New("exit status 0")
			}
			return fmt.Errorf("%s ended while starting: %w; its log ends with:\n%s", p.Name, ended, Tail(p.log, 20))
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready in time: %w (%w); its log ends with:\n%s", p.Name, ctx.Err(), err, Tail(p.log, 20))
		case <-tick.C:
		}
	}
}

// Wait waits until the process ends. The error contains the last lines of the log if the exit status is not 0.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", p.Name, ctx.Err())
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w; its log ends with:\n%s", p.Name, p.err, Tail(p.log, 20))
	}
	return nil
}

// Freeze stops the server with SIGSTOP: it keeps its ports and connections and answers nothing. It returns an error if
// the server has ended.
func (p *Process) Freeze() error { return p.signal(sigStop) }

// Thaw resumes a frozen server with SIGCONT. It returns an error if the server has ended.
func (p *Process) Thaw() error { return p.signal(sigCont) }

// Freeze stops a child process of this one, like a long pause of a virtual machine. Windows cannot.
func Freeze(p *os.Process) error { return p.Signal(sigStop) }

// Thaw resumes a frozen process.
func Thaw(p *os.Process) error { return p.Signal(sigCont) }

func (p *Process) signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return fmt.Errorf("signal %s: %w", p.Name, os.ErrProcessDone)
	default:
		return signalProcess(p.PID, sig)
	}
}

// Kill ends the process with SIGKILL and waits until it has ended. Killing an ended process is no error.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil && !gone(err) {
		return err
	}
	<-p.done
	return nil
}

// Stop ends the process with SIGTERM and waits until it has ended. It sends SIGKILL after 10 seconds or when ctx is
// done. Stopping an ended process is no error.
func (p *Process) Stop(ctx context.Context) error {
	p.stop.Lock()
	defer p.stop.Unlock()
	if err := p.signal(syscall.SIGTERM); err != nil && !gone(err) {
		return err
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	case <-grace.C:
	}
	return p.Kill()
}

func gone(err error) bool {
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}

// Tail returns the last n lines of a file, indented, for error messages. If the file cannot be read, it returns a
// note.
func Tail(path string, n int) string {
	if path == "" {
		return "  (no log)"
	}
	f, err := os.Open(path)
	if err != nil {
		return "  (no log: " + err.Error() + ")"
	}
	defer f.Close() //nolint:errcheck // read only
	const last = 64 << 10
	if info, statErr := f.Stat(); statErr == nil && info.Size() > last {
		if _, err = f.Seek(-last, io.SeekEnd); err != nil {
			return "  (no log: " + err.Error() + ")"
		}
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return "  (no log: " + err.Error() + ")"
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}

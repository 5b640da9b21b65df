package lesson

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"holdfast/internal/dev/stack"
)

// Process is the lesson's view of one of its processes.
type Process struct {
	PID int

	role    string
	process *os.Process
	orders  io.WriteCloser
	reports chan string   // closed after the last report
	done    chan struct{} // closed when the process has ended
	err     error         // valid after done is closed
	killed  bool
}

// endGrace is how long a process may take to end by itself at the end of its lesson.
const endGrace = 5 * time.Second

// Start runs a role of this lesson in a separate process, which always ends with the lesson.
func (e *Env) Start(role string, args ...string) (*Process, error) {
	words := slices.Concat(e.cfg.Self, []string{e.lesson.Name, role}, args)
	cmd := exec.Command(words[0], words[1:]...) //nolint:noctx // Env.clean ends the process and first resumes a frozen one.
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	reports, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	p := &Process{
		PID: cmd.Process.Pid, role: role, process: cmd.Process, orders: orders,
		reports: make(chan string, 1000), done: make(chan struct{}), // room for reports that the lesson does not read
	}
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(reports); lines.Scan(); {
			p.reports <- lines.Text()
		}
		close(p.reports)
		if p.err = cmd.Wait(); p.err != nil {
			p.err = fmt.Errorf("%s (process %d): %w\n%s", role, p.PID, p.err, stderr.String())
		}
	}()
	e.Clean(func(context.Context) error { return p.end() })
	return p, nil
}

// Await waits for the process's next report, which must begin with the word, and returns the rest of it.
func (p *Process) Await(ctx context.Context, word string) (string, error) {
	select {
	case line, ok := <-p.reports:
		if !ok {
			<-p.done
			return "", fmt.Errorf("wait for %q of %s: it has ended: %w", word, p.role, p.err)
		}
		first, rest, _ := strings.Cut(line, " ")
		if first != word {
			return "", fmt.Errorf("wait for %q of %s: got %q", word, p.role, line)
		}
		return rest, nil
	case <-ctx.Done():
		return "", fmt.Errorf("wait for %q of %s: %w", word, p.role, ctx.Err())
	}
}

// Tell sends the process an order. A frozen process reads it after Thaw.
func (p *Process) Tell(order string) error {
	_, err := io.WriteString(p.orders, order+"\n")
	return err
}

// Kill ends the process with SIGKILL, without any clean-up.
func (p *Process) Kill() error {
	p.killed = true
	if err := p.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// Freeze stops the process, like a long pause of a virtual machine or of a garbage collector. The process does not
// notice.
func (p *Process) Freeze() error { return stack.Freeze(p.process) }

// Thaw resumes a frozen process.
func (p *Process) Thaw() error { return stack.Thaw(p.process) }

// end waits until the process ends by itself, and kills it after endGrace. An error of the process, such as a data
// race, is an error of the lesson.
func (p *Process) end() error {
	if p.killed {
		return nil
	}
	_ = p.orders.Close() // may already be closed
	_ = p.Thaw()
	grace := time.NewTimer(endGrace)
	defer grace.Stop()
	select {
	case <-p.done:
		return p.err
	case <-grace.C:
		return p.Kill()
	}
}

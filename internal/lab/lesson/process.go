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
	"syscall"
	"time"
)

// Process is one of a lesson's processes, seen from the lesson.
type Process struct {
	PID int

	role    string
	process *os.Process
	orders  io.WriteCloser
	reports chan string   // closed when it says no more
	done    chan struct{} // closed when it has ended
	err     error         // read after done
	killed  bool
}

// endGrace is how long a process gets to end by itself at the end of its lesson.
const endGrace = 5 * time.Second

// Start runs a role of this lesson in a process of its own. It ends with the lesson, however that ends.
func (e *Env) Start(role string, args ...string) (*Process, error) {
	words := slices.Concat(e.cfg.Self, []string{e.lesson.Name, role}, args)
	cmd := exec.Command(words[0], words[1:]...) //nolint:noctx // Ended by the lesson's clean-up, which also wakes a frozen one.
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
		reports: make(chan string, 1000), done: make(chan struct{}), // so many reports that nobody awaits
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
			return "", fmt.Errorf("wait for %q of %s: it says %q", word, p.role, line)
		}
		return rest, nil
	case <-ctx.Done():
		return "", fmt.Errorf("wait for %q of %s: %w", word, p.role, ctx.Err())
	}
}

// Tell gives the process an order. A frozen one finds it when it wakes.
func (p *Process) Tell(order string) error {
	_, err := io.WriteString(p.orders, order+"\n")
	return err
}

// Kill ends the process as kill -9 does: it gets no chance to clean up.
func (p *Process) Kill() error {
	p.killed = true
	if err := p.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// Freeze stops the process as a long pause of a virtual machine or of a garbage collector does: it knows nothing of it.
func (p *Process) Freeze() error { return p.process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on where it was.
func (p *Process) Thaw() error { return p.process.Signal(syscall.SIGCONT) }

// end lets the process end by itself, and else kills it. Its own failure, such as a data race, is the lesson's.
func (p *Process) end() error {
	if p.killed {
		return nil
	}
	_ = p.orders.Close() // it may be gone already
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

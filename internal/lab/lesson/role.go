package lesson

import (
	"bufio"
	"context"
	"fmt"
	"io"
)

// RoleArg is the argument that turns a program into one of a lesson's processes; see [RunRole].
const RoleArg = "lesson-role"

// Role is the function of a lesson's process. The process ends when it returns, or with the lesson.
type Role func(ctx context.Context, c *Child) error

// Child is the process's view of its connection to the lesson, which carries one line per order and per report.
type Child struct {
	Args   []string
	out    io.Writer
	orders <-chan string
}

// RunRole is the main function of a lesson's process. args are the lesson's name, the role's name and the role's
// arguments. The process reads orders from in and writes reports to out. When in ends, the lesson has ended, and
// RunRole cancels the role's context.
func RunRole(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) < 2 {
		return fmt.Errorf("missing arguments; use %s LESSON ROLE [ARG...]", RoleArg)
	}
	l, _ := Find(args[0])
	role, ok := l.Roles[args[1]]
	if !ok {
		return fmt.Errorf("lesson %q has no role %q", args[0], args[1])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	orders := make(chan string, 1)
	go func() { // a read of standard input cannot be interrupted; it ends with the lesson or with this process
		defer cancel()
		for lines := bufio.NewScanner(in); lines.Scan(); {
			orders <- lines.Text()
		}
	}()
	err := role(ctx, &Child{Args: args[2:], out: out, orders: orders})
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(out, "%s %v\n", failed, err)
	}
	return nil
}

// failed is the first word of the report of a role that failed.
const failed = "failed:"

// Report sends a line to the lesson. [Process.Await] expects its first word.
func (c *Child) Report(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

// Order waits for the lesson's next order.
func (c *Child) Order(ctx context.Context) (string, error) {
	select {
	case order := <-c.orders:
		return order, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

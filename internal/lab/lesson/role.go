package lesson

import (
	"bufio"
	"context"
	"fmt"
	"io"
)

// RoleArg is the argument that turns a program into one of a lesson's processes; see [RunRole].
const RoleArg = "lesson-role"

// Role is what a lesson's process does. It ends when it returns, or when its lesson ends.
type Role func(ctx context.Context, c *Child) error

// Child is a process of a lesson, seen from within: a line in each direction.
type Child struct {
	Args   []string
	out    io.Writer
	orders <-chan string
}

// RunRole is the main function of a lesson's process: args are the lesson's name, the role's, and the role's arguments.
// The lesson gives orders on in and hears reports on out. When in ends, the lesson has ended, and so does the role.
func RunRole(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) < 2 {
		return fmt.Errorf("which role? %s LESSON ROLE [ARG...]", RoleArg)
	}
	l, _ := Find(args[0])
	role, ok := l.Roles[args[1]]
	if !ok {
		return fmt.Errorf("lesson %q has no role %q", args[0], args[1])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	orders := make(chan string, 1)
	go func() { // nothing interrupts a read of standard input: it ends with the lesson or with this process
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

// failed is what a child reports when its role cannot go on.
const failed = "failed:"

// Report tells the lesson something; the first word is what [Process.Await] waits for.
func (c *Child) Report(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

// Orders are what the lesson says, a line each.
func (c *Child) Orders() <-chan string { return c.orders }

// Order waits for what the lesson says next.
func (c *Child) Order(ctx context.Context) (string, error) {
	select {
	case order := <-c.orders:
		return order, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

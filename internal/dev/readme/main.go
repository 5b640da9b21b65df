// Command readme runs the commands of README.md in their order, as a reader types them, so that no command of the page
// is without a test. The first argument is native or docker: docker runs the commands that begin with "docker", native
// runs the others.
//
// A command must exit with status 0, or with another one if its comment says "exits non-zero". The lines of output that
// the page shows must appear in the same order in what the commands print, whatever their numbers are.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "readme:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) != 2 || args[0] != "native" && args[0] != "docker" {
		return errors.New("usage: readme native|docker FILE")
	}
	text, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	var output bytes.Buffer
	commands := commandsOf(string(text), args[0] == "docker")
	if len(commands) == 0 {
		return fmt.Errorf("%s has no commands to run", args[1])
	}
	for _, c := range commands {
		if err := c.run(ctx, io.MultiWriter(stdout, &output)); err != nil {
			return err
		}
	}
	return compareOutput(outputOf(string(text)), output.String())
}

// run executes the command in a shell and checks its exit status.
func (c command) run(ctx context.Context, output io.Writer) error {
	fmt.Fprintf(output, "\n$ %s\n", c.line)
	cmd := exec.CommandContext(ctx, "bash", "-c", c.line)
	cmd.Stdout, cmd.Stderr = output, output
	err := cmd.Run()
	var status *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &status):
		return fmt.Errorf("%s: %w", c.line, err)
	case c.fails && err == nil:
		return fmt.Errorf("%s: exited with status 0; the page says that it exits non-zero", c.line)
	case !c.fails && err != nil:
		return fmt.Errorf("%s: %w", c.line, err)
	}
	return nil
}

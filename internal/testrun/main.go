// Command testrun runs `go test -json` with its arguments and reports what people want to know: a line for each package,
// the whole output of each failed test, why tests were skipped, and how many tests ran on which servers. Arguments after
// a "--" are another pass, reported together with the first.
//
// A test says which server it runs on by logging "runs on <name> <version>"; the helpers that hand out servers do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	s := newSummary(stdout)
	var failed error
	for _, pass := range passes(args) {
		failed = errors.Join(failed, s.goTest(ctx, pass))
	}
	s.print()
	return failed
}

// passes splits the arguments at each "--".
func passes(args []string) [][]string {
	i := slices.Index(args, "--")
	if i < 0 {
		return [][]string{args}
	}
	return append([][]string{args[:i]}, passes(args[i+1:])...)
}

func (s *summary) goTest(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := s.read(out)
	return errors.Join(readErr, cmd.Wait())
}

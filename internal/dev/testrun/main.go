// Command testrun runs `go test -json` with its arguments and reports a line for each package, the whole output of
// each failed test, the reasons of skipped tests, and how many tests ran on which servers. Arguments after a "--" are
// another pass, reported together with the first. NAME=value before a pass's arguments sets a variable in its
// environment, and -C DIR after these runs the pass in another module's folder.
//
// A test logs "runs on <name> <version>" to report its server; the test helpers that start servers do so. With
// -require RocketMQ,… as the first argument, the run fails if no test ran on one of these servers. Without it, a
// machine on which RocketMQ stopped working would pass by testing another broker. RocketMQ@holdfast/e2e requires a
// test in that package.
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
	"strings"
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
	var required []string
	if len(args) > 1 && args[0] == "-require" {
		required, args = strings.Split(args[1], ","), args[2:]
	}
	s := newSummary(stdout)
	var failed error
	for _, pass := range passes(args) {
		failed = errors.Join(failed, s.goTest(ctx, pass))
	}
	s.print()
	for _, server := range required {
		failed = errors.Join(failed, s.require(server))
	}
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

// environment splits off the leading variables of a pass.
func environment(pass []string) (env, args []string) {
	for len(pass) > 0 && !strings.HasPrefix(pass[0], "-") && strings.Contains(pass[0], "=") {
		env, pass = append(env, pass[0]), pass[1:]
	}
	return env, pass
}

// goArgs returns the arguments of the go command for those of a pass. go accepts -C only as the first flag.
func goArgs(args []string) []string {
	if len(args) > 1 && args[0] == "-C" {
		return append([]string{"test", "-C", args[1], "-json"}, args[2:]...)
	}
	return append([]string{"test", "-json"}, args...)
}

func (s *summary) goTest(ctx context.Context, pass []string) error {
	env, args := environment(pass)
	cmd := exec.CommandContext(ctx, "go", goArgs(args)...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
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

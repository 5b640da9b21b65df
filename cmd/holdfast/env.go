package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"holdfast/internal/dev/stack"
)

type envCmd struct {
	Private bool     `help:"Start private servers even if the stack is up."`
	Command []string `arg:"" passthrough:"" help:"The command, after --."`
}

// Run runs the command on the stack that is up, or on private servers that live as long as the command. It exits with
// the command's status. A variable that is already set is kept, and its server is not started.
func (e *envCmd) Run(ctx context.Context, c *cli) error {
	command := e.Command
	if len(command) > 0 && command[0] == "--" {
		command = command[1:]
	}
	if len(command) == 0 {
		return exit{2, errors.New("no command given; use holdfast env -- CMD")}
	}
	if slices.Contains(command, "-race") {
		if err := stack.RequireRaceDetector(ctx, os.Stderr); err != nil {
			return err
		}
	}
	vars, stop, err := e.servers(ctx, c.Dir)
	if err != nil {
		return err
	}
	runErr := runCommand(ctx, command, vars)
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := stop(clean); err != nil {
		return errors.Join(runErr, fmt.Errorf("stop the private servers: %w", err))
	}
	return runErr
}

func (e *envCmd) servers(ctx context.Context, dir string) (stack.Vars, func(context.Context) error, error) {
	if !e.Private {
		state, err := stack.Load(dir)
		if err != nil {
			return stack.Vars{}, nil, err
		}
		if state.Up(ctx) {
			return stack.UpVars(os.Getenv), func(context.Context) error { return nil }, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	return stack.StartPrivate(ctx, os.Getenv, os.Stderr)
}

func runCommand(ctx context.Context, command []string, vars stack.Vars) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), vars.Environ()...)
	err := cmd.Run()
	if status, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit{max(1, status.ExitCode()), nil}
	}
	return err
}

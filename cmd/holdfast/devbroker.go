package main

import (
	"context"
	"io"

	"holdfast/internal/dev/stack"
)

type devbrokerCmd struct {
	Addr        string `help:"Address of name server and broker, host:port." default:"127.0.0.1:19876"`
	Differences bool   `help:"Print the differences from RocketMQ and exit."`
}

// Run serves until it is interrupted.
func (d *devbrokerCmd) Run(ctx context.Context, stdout io.Writer) error {
	if d.Differences {
		stack.PrintDifferences(stdout)
		return nil
	}
	return stack.RunDevBroker(ctx, d.Addr, stdout)
}

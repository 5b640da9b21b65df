package main

import (
	"context"
	"io"

	"holdfast/internal/dev/stack"
)

type devbrokerCmd struct {
	Addr        string `help:"Where name server and broker listen, host:port." default:"127.0.0.1:19876"`
	Differences bool   `help:"Only say in what it differs from RocketMQ."`
}

// Run serves until it is interrupted.
func (d *devbrokerCmd) Run(ctx context.Context, stdout io.Writer) error {
	if d.Differences {
		stack.PrintDifferences(stdout)
		return nil
	}
	return stack.RunDevBroker(ctx, d.Addr, stdout)
}

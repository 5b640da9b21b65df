package main

import (
	"context"
	"io"

	"holdfast/internal/stack"
)

type devbrokerCmd struct {
	Addr string `help:"Where name server and broker listen, host:port." default:"127.0.0.1:19876"`
}

// Run serves until it is interrupted.
func (d *devbrokerCmd) Run(ctx context.Context, stdout io.Writer) error {
	return stack.RunDevBroker(ctx, d.Addr, stdout)
}

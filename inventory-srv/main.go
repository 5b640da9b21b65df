// inventory-srv owns products and stock: it reserves, confirms and releases through one of several strategies.
//
//	inventory-srv              serve, after bringing the schema up to date
//	inventory-srv migrate      bring the schema up to date
//	inventory-srv seed         the same, then fill the catalogue; again changes nothing
//	inventory-srv healthcheck  ask the running service whether it is ready
package main

import (
	"context"
	"io"

	"holdfast/inventory-srv/internal/app"
	"holdfast/pkg/server"
)

func main() { server.Main(run) }

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	return app.Run(ctx, args, getenv, stdout)
}

// inventory-srv owns products and stock: it reserves, confirms and releases through one of several strategies.
//
//	inventory-srv              serve, after bringing the schema up to date
//	inventory-srv migrate      bring the schema up to date
//	inventory-srv seed         the same, then fill the catalogue; again changes nothing
//	inventory-srv healthcheck  ask the running service whether it is ready
package main

import (
	"context"
	"errors"
	"io"

	"holdfast/inventory-srv/internal/app"
	"holdfast/pkg/config"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
)

func main() { server.Main(run) }

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) (err error) {
	var cfg app.Settings
	if err := config.Load(getenv, &cfg); err != nil {
		return err
	}
	command, err := server.Command(args, "migrate", "seed", "healthcheck")
	if err != nil {
		return err
	}
	if command == "healthcheck" {
		return server.Healthcheck(ctx, cfg.OpsAddr)
	}
	log, registry := telemetry.NewLogger(stdout, app.Service), telemetry.NewRegistry()
	parts := app.Config{Log: log, DSN: cfg.MySQLDSN.Reveal()} // the database alone
	if command == server.CommandServe {
		log.InfoContext(ctx, "starting", "settings", &cfg)
		parts = cfg.Config(log, registry)
	}
	inventory, err := app.Open(ctx, parts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, inventory.Close()) }()
	switch command {
	case "migrate":
		return nil // Open has done it
	case "seed":
		return inventory.Store.Seed(ctx)
	}
	return inventory.Serve(ctx, &cfg, registry)
}

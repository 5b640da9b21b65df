package app

import (
	"context"
	"errors"
	"io"

	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/config"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
)

// Run is inventory-srv's program: it executes the command of args with the settings that getenv returns. The extra
// strategies can be chosen like those of strategy.List. Errors: settings or arguments that are wrong, servers that
// cannot be reached, and requests that were still running at the end.
func Run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer, extra ...strategy.Strategy) (err error) {
	cfg := Settings{extra: extra}
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
	log, registry := telemetry.NewLogger(stdout, Service), telemetry.NewRegistry()
	parts := Config{Log: log, DSN: cfg.MySQLDSN.Reveal()} // the database alone
	if command == server.CommandServe {
		log.InfoContext(ctx, "starting", "settings", &cfg)
		parts = cfg.Config(log, registry)
	}
	inventory, err := Open(ctx, parts)
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

// order-srv owns orders and their status machine: it places them through one of several flows, sends and receives
// events.
//
//	order-srv              serve, after bringing the schema up to date
//	order-srv migrate      bring the schema up to date
//	order-srv healthcheck  exit with status 0 if the running service is ready
//
//	order-srv wallet       serve the wallet, a process and a database of its own; wallet migrate, wallet healthcheck
package main

import (
	"context"
	"errors"
	"io"

	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/wallet"
	"holdfast/pkg/config"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
)

func main() { server.Main(run) }

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) (err error) {
	if len(args) > 0 && args[0] == wallet.Service {
		return wallet.Main(ctx, args[1:], getenv, stdout)
	}
	cfg := app.Config{Log: telemetry.NewLogger(stdout, app.Service)}
	if err := config.Load(getenv, &cfg.Settings); err != nil {
		return err
	}
	command, err := server.Command(args, "migrate", "healthcheck")
	if err != nil {
		return err
	}
	if command == "healthcheck" {
		return server.Healthcheck(ctx, cfg.OpsAddr, "broker", "inventory")
	}
	a, err := app.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := a.Migrate(ctx); err != nil || command == "migrate" {
		return err
	}
	return a.Run(ctx)
}

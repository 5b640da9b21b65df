// api-gateway is the only public service. It identifies callers, limits the requests in flight and serves the public
// HTTP contract.
//
//	api-gateway              serve
//	api-gateway healthcheck  exit with status 0 if the running gateway is ready
package main

import (
	"context"
	"io"

	"holdfast/api-gateway/internal/app"
	"holdfast/pkg/config"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
)

func main() { server.Main(run) }

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	var settings app.Settings
	if err := config.Load(getenv, &settings); err != nil {
		return err
	}
	command, err := server.Command(args, "healthcheck")
	if err != nil {
		return err
	}
	if command == "healthcheck" {
		return server.Healthcheck(ctx, settings.OpsAddr)
	}
	log := telemetry.NewLogger(stdout, app.Service)
	log.InfoContext(ctx, "starting", "settings", &settings)
	a, err := app.Open(settings, log)
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Run(ctx)
}

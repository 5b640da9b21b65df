// api-gateway is the only public door: identity, limits, request ids, deadlines and the public HTTP contract.
//
//	api-gateway              serve
//	api-gateway healthcheck  ask the running gateway whether it is ready
package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"holdfast/api-gateway/internal/gateway"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/config"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

const service = "api-gateway"

// adminConns are the connections to a service for administrators and readiness checks.
const adminConns = 16

func main() { server.Main(run) }

func run(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error {
	var cfg settings
	if err := config.Load(getenv, &cfg); err != nil {
		return err
	}
	command, err := server.Command(args, "healthcheck")
	if err != nil {
		return err
	}
	if command == "healthcheck" {
		return server.Healthcheck(ctx, cfg.OpsAddr)
	}

	log := telemetry.NewLogger(stdout, service)
	log.InfoContext(ctx, "starting", "settings", &cfg)
	registry := telemetry.NewRegistry()

	orders, ordersErr := rest.New(rest.Config{
		Name: "order", URLs: cfg.OrderURLs, Timeout: cfg.RequestTimeout, Log: log,
		Credential: cfg.SentCredential(),
		MaxConns:   cfg.MaxPlacing + cfg.MaxChanging + cfg.MaxReading + adminConns, // no kind waits for another's connection
	})
	inventory, inventoryErr := rest.New(rest.Config{
		Name: "inventory", URLs: cfg.InventoryURLs, Timeout: cfg.RequestTimeout, Log: log, MaxConns: cfg.MaxReading + adminConns,
		Credential: cfg.SentCredential(),
	})
	if err := errors.Join(ordersErr, inventoryErr); err != nil {
		return err
	}
	defer orders.Close()
	defer inventory.Close()

	limits := admit.NewMetrics(registry)
	return server.Run(ctx, server.Config{
		Service: service, Addr: cfg.HTTPAddr, OpsAddr: cfg.OpsAddr, Registry: registry, Log: log,
		RequestTimeout: cfg.RequestTimeout, DrainDelay: cfg.DrainDelay,
		Handler: gateway.New(gateway.Config{ //nolint:contextcheck // its requests bring their own contexts
			Orders:    orderapi.NewClient(orders),
			Inventory: inventoryapi.NewClient(inventory),
			Tokens:    gateway.NewTokens(cfg.JWTSecret.Reveal(), time.Now),
			DemoLogin: cfg.DemoLogin,
			Lab:       cfg.LabMode,
			// Half of order-srv's target for the same requests: an order that the gateway refuses costs a tenth of one that
			// order-srv refuses.
			Placing: admit.New(admit.Config{
				Kind: "placing", Max: cfg.MaxPlacing, Timeout: cfg.RequestTimeout, ServiceTarget: cfg.RequestTimeout / 12, Metrics: limits,
			}),
			Changing: admit.New(admit.Config{Kind: "changing", Max: cfg.MaxChanging, Timeout: cfg.RequestTimeout, Metrics: limits}),
			Reading:  admit.New(admit.Config{Kind: "reading", Max: cfg.MaxReading, Timeout: cfg.RequestTimeout, Metrics: limits}),
			Engine:   web.EngineConfig{Log: log, Registry: registry, Timeout: cfg.RequestTimeout, MaxBody: gateway.MaxBody},
		}),
		// Optional: a gateway that were taken out of service for a dead back end could not even say so.
		Checks: []server.Check{
			{Name: "order-srv", Probe: reachable(orders), Optional: true},
			{Name: "inventory-srv", Probe: reachable(inventory), Optional: true},
		},
	})
}

// reachable asks for a page that no service has: "not found" in problem details is an answer, and it costs the service
// nothing.
func reachable(c *rest.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		err := c.Do(ctx, http.MethodGet, "/", nil, nil)
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		return err
	}
}

// Package app builds the gateway's parts and connects them.
package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/api-gateway/internal/gateway"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/order-srv/walletapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/batch"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest"
	"holdfast/pkg/server"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/web"
)

// Service is the service's name in logs and metrics.
const Service = "api-gateway"

// adminConns are the connections to a service for administrators and readiness checks.
const adminConns = 16

// App is the gateway's parts. Nothing runs before Run is called.
type App struct {
	settings          Settings
	log               *slog.Logger
	registry          *prometheus.Registry
	orders, inventory *rest.Client
	wallet            *rest.Client
	gatherer          *orderapi.Gatherer // nil unless orders are gathered
}

// Open builds the parts. It connects to nothing. Close the app also when Run is not called.
func Open(s Settings, log *slog.Logger) (*App, error) {
	a := &App{settings: s, log: log, registry: telemetry.NewRegistry()}
	var ordersErr, inventoryErr, walletErr error
	a.orders, ordersErr = rest.New(rest.Config{
		Name: "order", URLs: s.OrderURLs, Timeout: s.RequestTimeout, Log: log, Credential: s.SentCredential(),
		MaxConns: s.MaxPlacing + s.MaxChanging + s.MaxReading + gateway.MaxWaiting + adminConns, // for each kind
	})
	a.inventory, inventoryErr = rest.New(rest.Config{
		Name: "inventory", URLs: s.InventoryURLs, Timeout: s.RequestTimeout, Log: log, Credential: s.SentCredential(),
		MaxConns: s.MaxReading + adminConns,
	})
	a.wallet, walletErr = rest.New(rest.Config{
		Name: "wallet", URLs: s.WalletURLs, Timeout: s.RequestTimeout, Log: log, Credential: s.SentCredential(),
		MaxConns: s.MaxReading + adminConns,
	})
	if err := errors.Join(ordersErr, inventoryErr, walletErr); err != nil {
		a.Close()
		return nil, err
	}
	if s.GatherOrders {
		a.gatherer = orderapi.NewGatherer(orderapi.NewClient(a.orders), s.RequestTimeout, batch.WithObserver(newOrdersPerCall(a.registry)))
	}
	return a, nil
}

// Close lets the calls under way end and closes the connections.
func (a *App) Close() {
	if a.gatherer != nil {
		_ = a.gatherer.Close() // it cannot fail
	}
	for _, c := range []*rest.Client{a.orders, a.inventory, a.wallet} {
		if c != nil {
			c.Close()
		}
	}
}

// Run serves until ctx ends, then drains.
func (a *App) Run(ctx context.Context) error {
	s, metrics := a.settings, admit.NewMetrics(a.registry)
	// Two thirds of order-srv's target for the same requests: an order that the gateway refuses costs a tenth of one that
	// order-srv refuses.
	placing := admit.New(admit.Config{
		Kind: "placing", Max: s.MaxPlacing, Timeout: s.RequestTimeout, ServiceTarget: s.RequestTimeout / 12, Metrics: metrics,
	})
	refuser := gateway.NewRefuser(placing)
	return server.Run(ctx, server.Config{
		Service: Service, Addr: s.HTTPAddr, OpsAddr: s.OpsAddr, Registry: a.registry, Log: a.log,
		RequestTimeout: s.RequestTimeout, DrainDelay: s.DrainDelay,
		Handler: a.handler(placing, refuser, metrics, ctx.Done()), //nolint:contextcheck // its requests bring their own contexts
		Refuse:  refuser.Refuse,
		// A gateway that is out of service because a back end is down cannot report the back end's failure.
		Checks: []server.Check{
			{Name: "order-srv", Probe: reachable(a.orders), Optional: true},
			{Name: "inventory-srv", Probe: reachable(a.inventory), Optional: true},
			{Name: "wallet", Probe: reachable(a.wallet), Optional: true},
		},
	})
}

func (a *App) handler(placing *admit.Limiter, refuser *web.Refuser, metrics *admit.Metrics, stopping <-chan struct{}) http.Handler {
	s := a.settings
	return gateway.New(gateway.Config{
		Orders:    orderapi.NewClient(a.orders),
		Gatherer:  a.gatherer,
		Inventory: inventoryapi.NewClient(a.inventory),
		Wallet:    walletapi.NewClient(a.wallet),
		Tokens:    gateway.NewTokens(s.JWTSecret.Reveal(), time.Now),
		DemoLogin: s.DemoLogin,
		Lab:       s.LabMode,
		Stopping:  stopping,
		Placing:   placing,
		Changing:  admit.New(admit.Config{Kind: "changing", Max: s.MaxChanging, Timeout: s.RequestTimeout, Metrics: metrics}),
		Reading:   admit.New(admit.Config{Kind: "reading", Max: s.MaxReading, Timeout: s.RequestTimeout, Metrics: metrics}),
		Engine: web.EngineConfig{
			Log: a.log, Sampled: !s.LabMode, Registry: a.registry, Timeout: s.RequestTimeout, MaxBody: gateway.MaxBody, Refuser: refuser,
			Waiting: gateway.Waiting(),
		},
	})
}

// reachable requests a page that no service has. Its "not found" shows that the service answers, and costs it nothing.
func reachable(c *rest.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		err := c.Do(ctx, http.MethodGet, "/", nil, nil)
		if fault.KindOf(err) == fault.NotFound {
			return nil
		}
		return err
	}
}

package app

import (
	"context"
	"errors"
	"sync"

	"holdfast/order-srv/internal/flow"
	"holdfast/order-srv/internal/httpapi"
	"holdfast/pkg/database"
	"holdfast/pkg/server"
)

// Run serves until ctx is done.
func (a *App) Run(ctx context.Context) (err error) {
	a.Log.InfoContext(ctx, "starting", "settings", &a.Settings)
	stopBus := a.bus.StartInBackground(ctx)
	defer func() { err = errors.Join(err, stopBus()) }()
	// Stopped before the bus, which the workers use.
	defer background(ctx, a.workers...)()
	// An order whose caller has hung up is decided all the same, while there is a bus.
	defer func() { err = errors.Join(err, a.Intake.Close()) }()
	// A request that waits is answered when the service begins to stop, or it would be broken off.
	defer context.AfterFunc(ctx, a.Waiting.Close)()
	return server.Run(ctx, server.Config{
		Service: Service, Addr: a.HTTPAddr, OpsAddr: a.OpsAddr, Registry: a.Metrics.Registry, Log: a.Log,
		RequestTimeout: a.RequestTimeout, DrainDelay: a.DrainDelay, Started: a.Started,
		Handler: httpapi.New(a.HTTP), //nolint:contextcheck // its requests bring their own contexts
		Checks:  a.checks(),
	})
}

// checks are those of readiness. The wallet is one where an order may be of the flow tcc.
func (a *App) checks() []server.Check {
	checks := []server.Check{
		{Name: "mysql", Probe: database.Probe(a.db)},
		{Name: "broker", Probe: a.bus.Probe, Optional: true}, // without it orders are refused, and read, paid and cancelled
		{Name: "inventory", Probe: a.probeInventory, Optional: true},
	}
	if a.LabMode || a.OrderFlow == flow.NameTCC {
		checks = append(checks, server.Check{Name: "wallet", Probe: a.probeWallet, Optional: true})
	}
	return checks
}

// background runs the workers. They outlive ctx, which ends only the serving of requests: the messages of the last
// requests are still to be sent. The returned function stops the workers and waits.
func background(ctx context.Context, workers ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	for _, w := range workers {
		running.Go(func() { w(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

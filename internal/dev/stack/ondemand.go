package stack

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
)

// OnDemand is a MySQL, a Redis and a broker that lessons, or the checks of exercises, share. A server that is not given
// is started when it is first needed, so what needs only Redis does not wait for MySQL.
type OnDemand struct {
	mu      sync.Mutex // held while a server is being started
	vars    Vars
	options Options
	stops   []func(context.Context) error
}

// NewOnDemand uses the servers that vars names. progress receives a line for each server that is started; nil: none.
func NewOnDemand(vars Vars, progress io.Writer) *OnDemand {
	return &OnDemand{vars: vars, options: Options{Tie: true, Log: progress}}
}

// started registers a server to be stopped, and reports it.
func (d *OnDemand) started(server Server) {
	d.stops = append(d.stops, server.Stop)
	d.options.progress("%s", server.what())
}

// Redis returns the server's host:port.
func (d *OnDemand) Redis(ctx context.Context) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.vars.Redis == "" {
		r, err := StartRedis(ctx, d.options)
		if err != nil {
			return "", err
		}
		d.vars.Redis = r.Addr
		d.started(r.Server)
	}
	return d.vars.Redis, nil
}

// MySQL returns an administrator's DSN without a database.
func (d *OnDemand) MySQL(ctx context.Context) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.vars.MySQL == "" {
		m, err := StartMySQL(ctx, d.options)
		if err != nil {
			return "", err
		}
		d.vars.MySQL = m.AdminDSN()
		d.started(m.Server)
	}
	return d.vars.MySQL, nil
}

// Broker returns the name server's host:port and the broker's name and version. A broker that is started is RocketMQ,
// or the development broker if RocketMQ cannot run here.
func (d *OnDemand) Broker(ctx context.Context) (addr, name string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.vars.Namesrv == "" {
		addr, name, stop, err := StartBroker(ctx, BrokerAuto, d.options)
		if err != nil {
			return "", "", err
		}
		d.vars.Namesrv, d.vars.Broker = addr, name
		d.stops = append(d.stops, stop)
	}
	return d.vars.Namesrv, cmp.Or(d.vars.Broker, "RocketMQ"), nil
}

// Stop ends the servers that were started.
func (d *OnDemand) Stop(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, stop := range d.stops {
		errs = append(errs, stop(ctx))
	}
	d.stops = nil
	return errors.Join(errs...)
}

package lesson

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"holdfast/internal/dev/stack"
)

// Servers are the MySQL, the Redis and the broker that lessons share. A server that is not given is started when a
// lesson first needs it, so a lesson that needs only Redis does not wait for MySQL.
type Servers struct {
	mu       sync.Mutex
	vars     stack.Vars
	progress io.Writer
	stops    []func(context.Context) error
}

// NewServers uses the servers that vars names. progress receives a line for each server that is started; nil: none.
func NewServers(vars stack.Vars, progress io.Writer) *Servers {
	return &Servers{vars: vars, progress: progress}
}

func (s *Servers) options() stack.Options { return stack.Options{Tie: true, Log: s.progress} }

// started registers a server to be stopped, and reports it.
func (s *Servers) started(server stack.Server) {
	s.stops = append(s.stops, server.Stop)
	if s.progress != nil {
		fmt.Fprintf(s.progress, "%s %s on %s\n", server.Name, server.Version, server.Addr)
	}
}

// Redis returns the server's host:port.
func (s *Servers) Redis(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vars.Redis == "" {
		r, err := stack.StartRedis(ctx, s.options())
		if err != nil {
			return "", err
		}
		s.vars.Redis = r.Addr
		s.started(r.Server)
	}
	return s.vars.Redis, nil
}

// MySQL returns an administrator's DSN without a database.
func (s *Servers) MySQL(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vars.MySQL == "" {
		m, err := stack.StartMySQL(ctx, s.options())
		if err != nil {
			return "", err
		}
		s.vars.MySQL = m.AdminDSN()
		s.started(m.Server)
	}
	return s.vars.MySQL, nil
}

// Broker returns the name server's host:port and the broker's name and version. A broker that is started is RocketMQ,
// or the development broker if RocketMQ cannot run here.
func (s *Servers) Broker(ctx context.Context) (addr, name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.vars.Namesrv == "" {
		addr, name, stop, err := stack.StartBroker(ctx, stack.BrokerAuto, s.options())
		if err != nil {
			return "", "", err
		}
		s.vars.Namesrv, s.vars.Broker = addr, name
		s.stops = append(s.stops, stop)
	}
	return s.vars.Namesrv, cmp.Or(s.vars.Broker, "RocketMQ"), nil
}

// Stop ends the servers that were started.
func (s *Servers) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, stop := range s.stops {
		errs = append(errs, stop(ctx))
	}
	s.stops = nil
	return errors.Join(errs...)
}

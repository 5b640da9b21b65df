package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"holdfast/exercises/internal/catalogue"
	"holdfast/internal/dev/stack"
)

// startTimeout bounds the start of a server on a busy machine, including its installation.
const startTimeout = 5 * time.Minute

// Servers are what the checks run on: those of HOLDFAST_MYSQL and HOLDFAST_REDIS, else those of the shop that is up,
// else private ones. A private server is started when an exercise first needs it, and ends with [Servers.Stop].
type Servers struct {
	vars stack.Vars
	log  io.Writer

	mu    sync.Mutex // held while a server is being started
	stops []func(context.Context) error
}

// NewServers finds out which servers run already. dir is the folder of the shop's state. log receives a line for each
// server that is started.
func NewServers(ctx context.Context, dir string, log io.Writer) (*Servers, error) {
	state, err := stack.Load(dir)
	if err != nil {
		return nil, err
	}
	s := &Servers{vars: stack.VarsFrom(os.Getenv), log: log}
	if state.Up(ctx) {
		s.vars = stack.UpVars(os.Getenv)
	}
	return s, nil
}

// need returns the addresses of the servers, after starting those that are missing.
func (s *Servers) need(ctx context.Context, names []string) (stack.Vars, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	o := stack.Options{Tie: true, Log: s.log}
	if slices.Contains(names, catalogue.MySQL) && s.vars.MySQL == "" {
		m, err := stack.StartMySQL(ctx, o)
		if err != nil {
			return stack.Vars{}, fmt.Errorf("start MySQL: %w", err)
		}
		s.vars.MySQL, s.stops = m.AdminDSN(), append(s.stops, m.Stop)
	}
	if slices.Contains(names, catalogue.Redis) && s.vars.Redis == "" {
		r, err := stack.StartRedis(ctx, o)
		if err != nil {
			return stack.Vars{}, fmt.Errorf("start Redis: %w", err)
		}
		s.vars.Redis, s.stops = r.Addr, append(s.stops, r.Stop)
	}
	return s.vars, nil
}

// Stop stops the servers that were started.
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

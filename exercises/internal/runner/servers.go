package runner

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"holdfast/exercises/internal/catalogue"
	"holdfast/internal/dev/stack"
)

// startTimeout bounds the start of a server on a busy machine, including its installation.
const startTimeout = 5 * time.Minute

// NewServers returns what the checks run on: the servers of HOLDFAST_MYSQL and HOLDFAST_REDIS, else those of the shop
// that is up, else private ones. dir is the folder of the shop's state. log receives a line for each server that is
// started.
func NewServers(ctx context.Context, dir string, log io.Writer) (*stack.OnDemand, error) {
	state, err := stack.Load(dir)
	if err != nil {
		return nil, err
	}
	vars := stack.VarsFrom(os.Getenv)
	if state.Up(ctx) {
		vars = stack.UpVars(os.Getenv)
	}
	return stack.NewOnDemand(vars, log), nil
}

// need returns the addresses of the servers, after starting those that are missing.
func (r *Runner) need(ctx context.Context, names []string) (vars stack.Vars, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if slices.Contains(names, catalogue.MySQL) {
		if vars.MySQL, err = r.Servers.MySQL(ctx); err != nil {
			return stack.Vars{}, fmt.Errorf("start MySQL: %w", err)
		}
	}
	if slices.Contains(names, catalogue.Redis) {
		if vars.Redis, err = r.Servers.Redis(ctx); err != nil {
			return stack.Vars{}, fmt.Errorf("start Redis: %w", err)
		}
	}
	return vars, nil
}

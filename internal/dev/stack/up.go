package stack

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver for creating the databases
	"golang.org/x/sync/errgroup"
)

// UpOptions describes the stack to start.
type UpOptions struct {
	Dir      string            // folder for state, data and logs, created if missing
	Bin      string            // folder with the programs: the services and holdfast
	Broker   string            // [BrokerAuto], [BrokerRocketMQ] or [BrokerDev]; default: the running broker, else auto
	Env      map[string]string // added to the environment of every service
	Crash    string            // crash point, "service@point", at which the service dies once; default none
	Progress io.Writer         // receives a line for each part, with its time
	Replicas int               // processes of each service, 1 to 9; 0: one
	Ports    Ports             // default: the ports of `holdfast up`
	Tie      bool              // all processes end with this process, for tests; default: detached

	StoreDisk StoreDisk // how full the partition of RocketMQ's store is; nil: as the system says
}

// Up starts the missing parts of the stack: first the servers, concurrently, then the services, then the catalogue.
// Running parts are kept, with two exceptions: a surplus replica is stopped, and a service whose peers changed is
// restarted. All parts are ready when Up returns.
//
// The error of a part that cannot be started contains the last lines of its log. If no part ran before, Up then stops
// everything it started. If some parts ran, Up leaves all parts running, and the next call starts the missing ones.
// Data in Dir is kept between runs.
func Up(ctx context.Context, o UpOptions) error {
	u, err := newUpRun(o)
	if err != nil {
		return err
	}
	defer u.unlock()
	repairs := u.anyRuns(ctx)
	err = u.up(ctx)
	if err == nil || repairs {
		return err
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return errors.Join(err, u.stopStarted(clean))
}

// upRun is one call of Up.
type upRun struct {
	UpOptions
	begin  time.Time
	unlock func()

	mu      sync.Mutex
	state   State
	started []string // names of the parts that this call started, in order
}

func newUpRun(o UpOptions) (*upRun, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	o.Replicas, o.Ports = max(o.Replicas, 1), o.Ports.withDefaults()
	if o.Replicas > maxReplicas {
		return nil, fmt.Errorf("%d replicas: at most %d of each service are possible", o.Replicas, maxReplicas)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	o.Dir = dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	state, err := Load(dir)
	if err != nil {
		unlock()
		return nil, err
	}
	return &upRun{UpOptions: o, begin: time.Now(), unlock: unlock, state: state}, nil
}

// anyRuns reports whether a part of the stack runs.
func (u *upRun) anyRuns(ctx context.Context) bool {
	return slices.ContainsFunc(u.components(), func(c Component) bool { return Running(ctx, c.PID, c.Marker) })
}

func (u *upRun) up(ctx context.Context) error {
	if err := u.buildCrash(ctx); err != nil { // before any part is started
		return err
	}
	broker, err := u.broker(ctx)
	if err != nil {
		return err
	}
	servers, sctx := errgroup.WithContext(ctx)
	for _, p := range append(u.servers(), broker) {
		servers.Go(func() error { return u.ensure(sctx, p) })
	}
	if err := servers.Wait(); err != nil {
		return err
	}
	if err := u.createDatabases(ctx); err != nil {
		return err
	}
	if err := u.arm(ctx); err != nil {
		return err
	}
	services, vctx := errgroup.WithContext(ctx)
	for _, p := range u.services() {
		services.Go(func() error { return u.ensure(vctx, p) })
	}
	if err := services.Wait(); err != nil {
		return err
	}
	if err := u.reconcileReplicas(ctx); err != nil {
		return err
	}
	return u.seed(ctx)
}

// part is one process of the stack.
type part struct {
	name  string
	ports []int                                        // checked by ensure; the servers check their own ports
	start func(ctx context.Context) (Component, error) // returns when the part is ready
}

// ensure starts p unless it runs.
func (u *upRun) ensure(ctx context.Context, p part) error {
	begin := time.Now()
	if c, ok := u.component(p.name); ok && Running(ctx, c.PID, c.Marker) {
		u.report(p.name, c.What+" runs", begin)
		return nil
	}
	for _, port := range p.ports {
		if err := PortFree(port); err != nil {
			return fmt.Errorf("start %s: %w", p.name, err)
		}
	}
	c, err := p.start(ctx)
	if err != nil {
		return err
	}
	if err := u.record(c); err != nil {
		return err
	}
	u.report(p.name, c.What, begin)
	return nil
}

func (u *upRun) component(name string) (Component, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state.find(name)
}

// components returns a copy of the recorded components.
func (u *upRun) components() []Component {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.state.Components)
}

func (u *upRun) forget(name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.state.remove(name)
	return u.state.save(u.Dir)
}

func (u *upRun) record(c Component) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.started = append(u.started, c.Name)
	u.state.put(c)
	return u.state.save(u.Dir)
}

func (u *upRun) report(name, what string, begin time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	fmt.Fprintf(u.Progress, "%6.1f s  %-15s %-58s %5.1f s\n", time.Since(u.begin).Seconds(), name, what, time.Since(begin).Seconds())
}

func (u *upRun) stopStarted(ctx context.Context) error {
	var errs []error
	for _, name := range slices.Backward(u.started) {
		if c, ok := u.component(name); ok {
			errs = append(errs, Terminate(ctx, c.PID, c.Marker))
			u.state.remove(name)
		}
	}
	return errors.Join(append(errs, u.state.save(u.Dir))...)
}

func (u *upRun) createDatabases(ctx context.Context) error {
	db, err := sql.Open("mysql", u.Ports.mysqlDSN(""))
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing was left to write
	for _, name := range []string{"inventory", "orders", "wallet"} {
		if _, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+name+" CHARACTER SET utf8mb4"); err != nil {
			return fmt.Errorf("create database %s: %w", name, err)
		}
	}
	return nil
}

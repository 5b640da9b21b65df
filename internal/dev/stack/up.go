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

// UpOptions says where the stack lives.
type UpOptions struct {
	Dir      string            // state, data and logs; created
	Bin      string            // folder with the programs: the services and holdfast
	Broker   string            // [BrokerAuto], [BrokerRocketMQ] or [BrokerDev]; default auto, or what runs already
	Env      map[string]string // added to every service's environment
	Crash    string            // a crash point, "service@point", at which the service dies once; default none
	Progress io.Writer         // a line for each part, with its time
	Replicas int               // processes of each service, 1 to 9; 0: one
	Ports    Ports             // where it listens; default `holdfast up`'s own
	Tie      bool              // everything dies with this process, for tests; default detached
}

// Up starts what is missing of the stack: servers first, side by side, then the services, then the catalogue. What runs
// already stays as it is, unless it is a replica too many, which is stopped, or knows other replicas than there are now,
// in which case it is restarted; and everything is ready when Up returns. The error of a part that cannot be started holds
// the last lines of its log. If nothing ran before, everything that this call started is then stopped again. If something
// ran, all parts that run are left running, and the next call starts what is missing. Data in Dir is kept from run to run.
func Up(ctx context.Context, o UpOptions) error {
	u, err := newUpper(o)
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

// upper is one call of Up.
type upper struct {
	UpOptions
	begin  time.Time
	unlock func()

	mu      sync.Mutex
	state   State
	started []string // names of what this call started, in order
}

func newUpper(o UpOptions) (*upper, error) {
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
	return &upper{UpOptions: o, begin: time.Now(), unlock: unlock, state: state}, nil
}

// anyRuns reports whether a part of the stack runs.
func (u *upper) anyRuns(ctx context.Context) bool {
	return slices.ContainsFunc(u.components(), func(c Component) bool { return Running(ctx, c.PID, c.Marker) })
}

func (u *upper) up(ctx context.Context) error {
	if err := u.buildCrash(ctx); err != nil { // before anything is started that would have to be stopped again
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
	if err := u.fit(ctx); err != nil {
		return err
	}
	return u.seed(ctx)
}

// part is one process of the stack.
type part struct {
	name  string
	ports []int                                        // checked here; the servers check their own
	start func(ctx context.Context) (Component, error) // returns when it is ready
}

// ensure starts p unless it runs.
func (u *upper) ensure(ctx context.Context, p part) error {
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

func (u *upper) component(name string) (Component, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state.find(name)
}

// components are those known at this moment.
func (u *upper) components() []Component {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.state.Components)
}

func (u *upper) forget(name string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.state.remove(name)
	return u.state.save(u.Dir)
}

func (u *upper) record(c Component) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.started = append(u.started, c.Name)
	u.state.put(c)
	return u.state.save(u.Dir)
}

func (u *upper) report(name, what string, begin time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	fmt.Fprintf(u.Progress, "%6.1f s  %-15s %-58s %5.1f s\n", time.Since(u.begin).Seconds(), name, what, time.Since(begin).Seconds())
}

func (u *upper) stopStarted(ctx context.Context) error {
	var errs []error
	for _, name := range slices.Backward(u.started) {
		if c, ok := u.component(name); ok {
			errs = append(errs, Terminate(ctx, c.PID, c.Marker))
			u.state.remove(name)
		}
	}
	return errors.Join(append(errs, u.state.save(u.Dir))...)
}

func (u *upper) createDatabases(ctx context.Context) error {
	db, err := sql.Open("mysql", u.Ports.mysqlDSN(""))
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing is lost with it
	for _, name := range []string{"inventory", "orders"} {
		if _, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+name+" CHARACTER SET utf8mb4"); err != nil {
			return fmt.Errorf("create database %s: %w", name, err)
		}
	}
	return nil
}

package stack

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"
)

// Vars are the addresses of the servers for tests and tools. The environment variables HOLDFAST_MYSQL, HOLDFAST_REDIS,
// HOLDFAST_NAMESRV and HOLDFAST_BROKER carry them.
type Vars struct {
	MySQL   string // an administrator's DSN without a database
	Redis   string // host:port
	Namesrv string // host:port
	Broker  string // name and version of the broker, for output: "RocketMQ 5.4.0", "development broker"
}

// Environ returns the variables in the form of exec.Cmd.Env.
func (v Vars) Environ() []string {
	return []string{"HOLDFAST_MYSQL=" + v.MySQL, "HOLDFAST_REDIS=" + v.Redis, "HOLDFAST_NAMESRV=" + v.Namesrv, "HOLDFAST_BROKER=" + v.Broker}
}

// VarsFrom reads the variables from the environment.
func VarsFrom(getenv func(string) string) Vars {
	return Vars{MySQL: getenv("HOLDFAST_MYSQL"), Redis: getenv("HOLDFAST_REDIS"), Namesrv: getenv("HOLDFAST_NAMESRV"), Broker: getenv("HOLDFAST_BROKER")}
}

// UpVars returns the addresses of the stack that is up. Variables that are set take precedence.
func UpVars(getenv func(string) string) Vars {
	v, ports := VarsFrom(getenv), Ports{}.withDefaults()
	for _, d := range []struct {
		set    *string
		server string
	}{{&v.MySQL, ports.mysqlDSN("")}, {&v.Redis, loopback(ports.Redis)}, {&v.Namesrv, loopback(ports.Namesrv)}} {
		if *d.set == "" {
			*d.set = d.server
		}
	}
	return v
}

// QuickTransactions are broker settings for tests: the broker checks an open transaction after three to five seconds.
// An order younger than PENDING_GRACE is then answered with unknown once or twice more.
func QuickTransactions() []string {
	return []string{"transactionTimeOut=3000", "transactionCheckInterval=2000"}
}

// StartPrivate concurrently starts the servers that no variable names, tied to this process. stop ends them. The
// variable BROKER chooses the broker as in [UpOptions].
func StartPrivate(ctx context.Context, getenv func(string) string, progress io.Writer) (v Vars, stop func(context.Context) error, err error) {
	v = VarsFrom(getenv)
	o := Options{Tie: true, Log: progress}
	var stops [3]func(context.Context) error
	g, gctx := errgroup.WithContext(ctx)
	if v.MySQL == "" {
		g.Go(func() error {
			m, err := StartMySQL(gctx, o)
			if err == nil {
				v.MySQL, stops[0] = m.AdminDSN(), m.Stop
				o.progress("%s", m.what())
			}
			return err
		})
	}
	if v.Redis == "" {
		g.Go(func() error {
			r, err := StartRedis(gctx, o)
			if err == nil {
				v.Redis, stops[1] = r.Addr, r.Stop
				o.progress("%s", r.what())
			}
			return err
		})
	}
	if v.Namesrv == "" {
		g.Go(func() error {
			var err error
			v.Namesrv, v.Broker, stops[2], err = StartBroker(gctx, getenv("BROKER"), o)
			return err
		})
	}
	stop = func(ctx context.Context) error {
		var errs []error
		for _, s := range stops {
			if s != nil {
				errs = append(errs, s(ctx))
			}
		}
		return errors.Join(errs...)
	}
	if err := g.Wait(); err != nil {
		return Vars{}, nil, errors.Join(err, stop(context.WithoutCancel(ctx)))
	}
	return v, stop, nil
}

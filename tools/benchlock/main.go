package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"holdfast/internal/dev/stack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchlock:", err)
		os.Exit(1)
	}
}

// config is the load.
type config struct {
	repetitions int
	clients     int           // of each library
	hold        time.Duration // how long each keeps the lock
	busy        float64       // the part of the time in which the lock is held, in the open loop
	arrivals    int           // in the open loop
	burst       int           // how many come at once
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	cfg := config{}
	flags := flag.NewFlagSet("benchlock", flag.ContinueOnError)
	flags.IntVar(&cfg.repetitions, "n", 5, "repetitions")
	flags.IntVar(&cfg.clients, "clients", 4, "clients of each library")
	flags.DurationVar(&cfg.hold, "hold", 5*time.Millisecond, "how long each keeps the lock")
	flags.Float64Var(&cfg.busy, "busy", 0.4, "part of the time in which the lock is held, in the open loop")
	flags.IntVar(&cfg.arrivals, "arrivals", 500, "requests in the open loop")
	flags.IntVar(&cfg.burst, "burst", 40, "requests at once in the burst")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server, err := stack.StartRedis(ctx, stack.Options{Tie: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	r, err := measure(ctx, cfg, server.Addr, os.Stderr)
	if err != nil {
		return err
	}
	return r.print(stdout, server.Version)
}

// measure lets the libraries take turns.
func measure(ctx context.Context, cfg config, addr string, progress io.Writer) (*report, error) {
	meter := newMeter(addr)
	defer meter.close() //nolint:errcheck // nothing was left to write
	r := &report{config: cfg, trips: map[string]float64{}, runs: map[string][]sample{}}
	for _, s := range subjects() {
		trips, err := roundTrips(ctx, s, addr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		r.trips[s.name] = trips
	}
	for n := range cfg.repetitions {
		fmt.Fprintf(progress, "repetition %d of %d\n", n+1, cfg.repetitions)
		arrivals := poisson(uint64(n), cfg.arrivals, time.Duration(float64(cfg.hold)/cfg.busy))
		for _, s := range subjects() {
			one, err := measureOnce(ctx, cfg, s, addr, meter, arrivals)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			r.runs[s.name] = append(r.runs[s.name], one)
		}
	}
	return r, nil
}

// measureOnce runs the open loop and the burst on new clients of one library.
func measureOnce(ctx context.Context, cfg config, s subject, addr string, m *meter, arrivals []time.Duration) (_ sample, err error) {
	lockers, closing, err := s.openAll(addr, cfg.clients)
	if err != nil {
		return sample{}, err
	}
	defer func() { err = errors.Join(err, closing()) }()
	// Connections and subscriptions are made before the clock runs, under contention as they are later.
	if _, err := load(ctx, lockers, burst(2*cfg.clients), time.Millisecond); err != nil {
		return sample{}, err
	}
	if err := m.reset(ctx); err != nil {
		return sample{}, err
	}
	open, err := load(ctx, lockers, arrivals, cfg.hold)
	if err != nil {
		return sample{}, err
	}
	openCommands, err := m.commands(ctx)
	if err != nil {
		return sample{}, err
	}
	if err := m.reset(ctx); err != nil {
		return sample{}, err
	}
	crowd, err := load(ctx, lockers, burst(cfg.burst), cfg.hold)
	if err != nil {
		return sample{}, err
	}
	burstCommands, err := m.commands(ctx)
	return sample{
		p50: open.wait(0.5), p90: open.wait(0.9), p99: open.wait(0.99), drain: crowd.took,
		openCommands: float64(openCommands) / float64(len(arrivals)), burstCommands: float64(burstCommands) / float64(cfg.burst),
		failed: open.failed + crowd.failed,
	}, err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

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
	waiting, err := load(ctx, lockers, burst(cfg.burst), cfg.hold)
	if err != nil {
		return sample{}, err
	}
	burstCommands, err := m.commands(ctx)
	return sample{
		p50: open.wait(0.5), p90: open.wait(0.9), p99: open.wait(0.99), drain: waiting.took,
		openCommands: float64(openCommands) / float64(len(arrivals)), burstCommands: float64(burstCommands) / float64(cfg.burst),
		failed: open.failed + waiting.failed,
	}, err
}

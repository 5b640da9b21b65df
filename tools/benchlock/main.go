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

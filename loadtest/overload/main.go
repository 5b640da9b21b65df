package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"holdfast/internal/lab/load"
	"holdfast/internal/lab/shop"
	"holdfast/order-srv/orderapi"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	missed, err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "overload:", err)
		os.Exit(2)
	case missed > 0:
		os.Exit(1)
	}
}

// run measures, writes the report and returns the number of missed bars.
func run(ctx context.Context, args []string, stdout io.Writer) (missed int, err error) {
	o, err := parse(args)
	if err != nil {
		return 0, err
	}
	if o.own {
		logs, stop, err := startOwn(ctx, &o, stdout)
		if err != nil {
			return 0, fmt.Errorf("start a shop: %w", err)
		}
		defer func() { err = errors.Join(err, stop()) }()
		defer func() { logSizes(stdout, logs) }()
	}
	admin, err := shop.Login(ctx, o.url, "load-admin", orderapi.RoleAdmin)
	if err != nil {
		return 0, err
	}
	target, skus, err := load.Prepare(ctx, admin, load.UniqueName("overload"), o.strategy, 1)
	if err != nil {
		return 0, fmt.Errorf("prepare the product: %w", err)
	}
	target.Baskets = []string{load.Basket(skus...)}
	r, err := measure(ctx, o, admin, target, stdout)
	if err != nil {
		return 0, err
	}
	r.judge()
	if err := r.write(o.out); err != nil {
		return 0, err
	}
	return r.missed(), r.print(stdout)
}

package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/lock"
)

// startCounters makes the counters in Redis, on a client of their own, and has this replica take part in keeping Redis and MySQL
// together. stop ends that.
func startCounters(ctx context.Context, cfg settings, inventory *store.Store, locker redisstock.Locker, log *slog.Logger,
	registry prometheus.Registerer,
) (counters *redisstock.Counters, stop func() error) {
	client := lock.NewClient(cfg.RedisAddrs)
	counters = redisstock.New(redisstock.Config{Client: client, Store: inventory, Locker: locker, Log: log, Registry: registry})
	stopRunning := counters.RunInBackground(ctx)
	return counters, func() error { return errors.Join(stopRunning(), counters.Close(), client.Close()) }
}

// Package stacktest gives tests the servers they need. The tests of one process share a server, which dies with the
// process. HOLDFAST_MYSQL, HOLDFAST_REDIS and HOLDFAST_NAMESRV replace the shared servers by running ones.
package stacktest

import (
	"context"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
)

// Redis returns the address of a Redis that the tests of this process share. Each test uses keys with a prefix of its
// own and never flushes, stops or freezes the server; see [OwnRedis]. With -short the test is skipped.
func Redis(tb testing.TB) string {
	tb.Helper()
	SkipIfShort(tb, "Redis")
	if addr := os.Getenv("HOLDFAST_REDIS"); addr != "" {
		logForeign(tb, addr)
		return addr
	}
	r, err := shared.redis()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Logf("runs on Redis %s", r.Version)
	return r.Addr
}

func startRedis(ctx context.Context) (*stack.Redis, error) {
	return stack.StartRedis(ctx, stack.Options{Tie: true})
}

// RedlockNodes returns the addresses of three independent Redis servers. The tests of this process share them, and
// they are always private.
func RedlockNodes(tb testing.TB) []string {
	tb.Helper()
	SkipIfShort(tb, "Redis")
	addrs, err := shared.nodes()
	if err != nil {
		tb.Fatal(err)
	}
	return addrs
}

func startNodes(ctx context.Context) (addrs []string, err error) {
	for range 3 {
		r, err := startRedis(ctx)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, r.Addr)
	}
	return addrs, nil
}

func logForeign(tb testing.TB, addr string) {
	tb.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close() //nolint:errcheck // nothing was written
	info, err := client.InfoMap(tb.Context(), "server").Result()
	if err != nil {
		tb.Fatalf("HOLDFAST_REDIS=%s: %v", addr, err)
	}
	tb.Logf("runs on Redis %s", info["Server"]["redis_version"])
}

// OwnRedis starts a Redis for this test alone, which may stop, flush, freeze or restart it. settings are additional
// arguments of the server. The server ends with the test.
func OwnRedis(tb testing.TB, settings ...string) *stack.Redis {
	tb.Helper()
	return start(tb, func(ctx context.Context) (*stack.Redis, error) {
		return stack.StartRedis(ctx, stack.Options{Tie: true}, settings...)
	})
}

// SkipIfShort skips a test that needs a server if -short is set.
func SkipIfShort(tb testing.TB, server string) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs " + server + "; -short runs without servers")
	}
}

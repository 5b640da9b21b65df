package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
)

// memoryLimit is that of the Go runtime, in bytes, unless GOMEMLIMIT says otherwise. Without a limit the garbage
// collector lets the heap grow to five times of what is alive.
const memoryLimit = 80 << 20

// gcPercent is how much the heap grows between two collections, unless GOGC says otherwise: a service has little alive
// and much garbage, and memoryLimit bounds the heap.
const gcPercent = 400

// Main is a service's main: it bounds the memory, runs run with a context that ends at SIGINT or SIGTERM, prints its
// error to stderr behind the program's name, and exits with 1 then. A second signal kills at once.
func Main(run func(ctx context.Context, args []string, getenv func(string) string, stdout io.Writer) error) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
		if os.Getenv("GOGC") == "" { // with a limit of another size it is for the operator to say
			debug.SetGCPercent(gcPercent)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // back to the default action
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

// Healthcheck asks /readyz at opsAddr, the address the service was given: without a host it is this machine. It returns
// an error that holds the answer unless the service is ready and these optional checks are ok, too: a container is
// healthy when the shop can be used. It is what a container's health check runs, in an image that has no curl.
func Healthcheck(ctx context.Context, opsAddr string, checks ...string) error {
	host, port, err := net.SplitHostPort(opsAddr)
	if err != nil {
		return fmt.Errorf("read the address %q: %w", opsAddr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask for readiness: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err != nil {
		return fmt.Errorf("read the readiness: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", strings.TrimSpace(string(body)))
	}
	var ready Readiness
	if err := json.Unmarshal(body, &ready); err != nil {
		return fmt.Errorf("decode the readiness: %w", err)
	}
	for _, name := range checks {
		if ready.Checks[name] != "ok" {
			return fmt.Errorf("without %s: %s", name, strings.TrimSpace(string(body)))
		}
	}
	return nil
}

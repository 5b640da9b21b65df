package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check is one dependency of the service.
type Check struct {
	Name     string
	Probe    func(ctx context.Context) error // nil is well; ctx ends after a second
	Optional bool                            // reported by /readyz, but its failure does not make the service unready
}

// probeTimeout is shorter than the timeouts of those that call /readyz: the answer names the slow dependency.
const probeTimeout = time.Second

// Readiness is the answer of /readyz, with status 200 when Status is "ok" and 503 otherwise.
type Readiness struct {
	Status string            `json:"status"` // ok, unavailable, or draining: going down
	Checks map[string]string `json:"checks"` // "ok" or the error, by dependency
}

func opsHandler(cfg Config, draining *atomic.Bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK) // no dependency in here: a restart would not bring it back
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ready := readiness(r.Context(), cfg.Checks)
		if draining.Load() {
			ready.Status = "draining"
		}
		w.Header().Set("Content-Type", "application/json")
		if ready.Status != "ok" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(ready) // the client has closed the connection
	})
	if cfg.Registry != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Registry, promhttp.HandlerOpts{}))
	}
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// readiness runs all probes at once, so that it takes no longer than the slowest.
func readiness(ctx context.Context, checks []Check) Readiness {
	results := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() { results[i] = probe(ctx, check) })
	}
	wg.Wait()
	ready := Readiness{Status: "ok", Checks: make(map[string]string, len(checks))}
	for i, check := range checks {
		if results[i] == nil {
			ready.Checks[check.Name] = "ok"
			continue
		}
		ready.Checks[check.Name] = results[i].Error()
		if !check.Optional {
			ready.Status = "unavailable"
		}
	}
	return ready
}

// probe bounds a check. One that ignores its context is left behind rather than waited for: a dependency that hangs
// must not make /readyz hang, which is how one would find out.
func probe(ctx context.Context, check Check) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- runProbe(ctx, check) }()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer within %s", probeTimeout)
	}
}

func runProbe(ctx context.Context, check Check) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the check panicked: %v", v)
		}
	}()
	return check.Probe(ctx)
}

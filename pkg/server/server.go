// Package server runs a process: it serves until its context ends, then stops without losing a request. It reports
// health, readiness and metrics on a port of its own.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what Run needs.
type Config struct {
	Service  string
	Addr     string // of the service, "host:port"
	OpsAddr  string // of /livez, /readyz, /metrics and /debug/pprof/; not for the public
	Handler  http.Handler
	Registry *prometheus.Registry // nil: no /metrics
	Checks   []Check
	Log      *slog.Logger

	Refuse          Refuse        // nil: net/http reads each request
	MaxConns        int           // open connections to Addr at most; one beyond is answered with 429. Default 3072
	MaxBusy         int           // connections with a request at most; others wait for up to 5 s, then 429. Default 1536
	RequestTimeout  time.Duration // of the handler; reading and writing get a little more. Default 5 s
	DrainDelay      time.Duration // how long to serve after /readyz says draining, for load balancers. Default 0
	ShutdownTimeout time.Duration // how long requests under way may take after that. Default RequestTimeout + 1 s

	// Started, if set, is called once with the addresses that are listened on, which tells port 0's real number.
	Started func(addr, opsAddr net.Addr)
}

const (
	defaultRequestTimeout = 5 * time.Second
	defaultMaxConns       = 3072
	defaultMaxBusy        = 1536 // the gateway's 1,000 that wait for a decision, and what its limiters let in
	headerTimeout         = 5 * time.Second
	transferTime          = 5 * time.Second // for a body to come and an answer to go, beside the handler's time
	maxHeader             = 64 << 10        // bytes

	// idleTimeout is longer than pkg/rest's: the client closes idle connections. If the server closed one while the client
	// sends on it, the request's outcome would be unknown.
	idleTimeout = 2 * time.Minute
)

// Run serves until ctx is done and then stops in this order: /readyz says draining, answers ask their connections to
// close, for DrainDelay; no new connections; requests under way get ShutdownTimeout; the operations port goes last. It
// returns nil after a clean stop. Errors: an address cannot be listened on (the error names it), or requests were still
// running after ShutdownTimeout and were broken off.
func Run(ctx context.Context, cfg Config) error {
	if cfg.RequestTimeout == 0 {
		cfg.RequestTimeout = defaultRequestTimeout
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = defaultMaxConns
	}
	if cfg.MaxBusy == 0 {
		cfg.MaxBusy = defaultMaxBusy
	}
	if cfg.ShutdownTimeout == 0 {
		cfg.ShutdownTimeout = cfg.RequestTimeout + time.Second
	}
	ln, err := listen(ctx, cfg.Addr)
	if err != nil {
		return err
	}
	opsLn, err := listen(ctx, cfg.OpsAddr)
	if err != nil {
		_ = ln.Close()
		return err
	}
	s := newServers(ctx, cfg)
	connections := newLobby(ln, cfg, s.draining)
	s.main.ConnState = follow
	failed := make(chan error, 2)
	go func() { failed <- s.main.Serve(connections) }()
	go func() { failed <- s.ops.Serve(opsLn) }()
	cfg.Log.InfoContext(ctx, "serving", "addr", ln.Addr().String(), "ops_addr", opsLn.Addr().String())
	if cfg.Started != nil {
		cfg.Started(ln.Addr(), opsLn.Addr())
	}

	var served error
	waitFor := 2
	select {
	case <-ctx.Done():
	case served = <-failed: // a listener broke; whatever works still stops in good order
		waitFor--
	}
	stopped := s.stop(context.WithoutCancel(ctx), cfg)
	for range waitFor {
		if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
			served = errors.Join(served, err)
		}
	}
	connections.running.Wait() // refuseTime at most
	return errors.Join(served, stopped)
}

// registerer is r, or none: a nil pointer in an interface is not nil.
func registerer(r *prometheus.Registry) prometheus.Registerer {
	if r == nil {
		return nil
	}
	return r
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve: %w", err) // net's error names the address
	}
	return ln, nil
}

// servers are the two ports of a process.
type servers struct {
	main, ops *http.Server
	draining  *atomic.Bool
	abort     context.CancelFunc // ends the contexts of requests that outlive the stop
}

func newServers(ctx context.Context, cfg Config) servers {
	draining := &atomic.Bool{}
	// A request under way must survive the signal that stops us, so its context is not ctx.
	base, abort := context.WithCancel(context.WithoutCancel(ctx))
	baseContext := func(net.Listener) context.Context { return base }
	errorLog := slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)
	return servers{
		draining: draining,
		abort:    abort,
		main: &http.Server{
			Handler:           closeWhileDraining(cfg.Handler, draining),
			BaseContext:       baseContext,
			ErrorLog:          errorLog,
			ReadHeaderTimeout: headerTimeout,
			// At least the time that the handler may take: net/http ends the request's context after ReadTimeout.
			ReadTimeout:    cfg.RequestTimeout + transferTime,
			WriteTimeout:   cfg.RequestTimeout + 2*transferTime,
			IdleTimeout:    idleTimeout,
			MaxHeaderBytes: maxHeader,
		},
		ops: &http.Server{
			Handler:           opsHandler(cfg, draining),
			BaseContext:       baseContext,
			ErrorLog:          errorLog,
			ReadHeaderTimeout: headerTimeout, // no WriteTimeout: a CPU profile takes as long as one asks
			IdleTimeout:       idleTimeout,
		},
	}
}

// closeWhileDraining asks clients to give up their connections with the next answer. A connection that is merely cut
// when idle may be cut while a request is on its way.
func closeWhileDraining(next http.Handler, draining *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func (s servers) stop(ctx context.Context, cfg Config) error {
	defer s.abort()
	s.draining.Store(true)
	cfg.Log.InfoContext(ctx, "stopping", "drain_delay", cfg.DrainDelay)
	time.Sleep(cfg.DrainDelay)

	ctx, cancel := context.WithTimeout(ctx, cfg.ShutdownTimeout)
	defer cancel()
	err := s.main.Shutdown(ctx)
	if err != nil {
		err = fmt.Errorf("requests were still running after %s: %w", cfg.ShutdownTimeout, err)
		s.abort()
		_ = s.main.Close()
	}
	_ = s.ops.Close() // its answers may be lost
	cfg.Log.InfoContext(ctx, "stopped")
	return err
}

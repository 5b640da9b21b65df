// Package rest is the HTTP client between services. It carries request id and deadline, goes round all replicas of a
// service, and turns whatever happens into a fault that says whether the operation may have been executed.
//
// That last point is its reason to exist. A request on a refused connection was not executed; a request without an
// answer may have been. The client tries the next address only if the request was not executed: it was not sent, or the
// replica answers that it cannot serve and has done nothing. In all other cases the caller decides, because it knows
// whether the request may be repeated.
package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"strings"
	"time"

	"holdfast/pkg/config"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/wire"
)

// Config is what a client needs.
type Config struct {
	URLs    []string      // base URLs of the replicas, http only: "http://order-srv:8081"; each may have several addresses
	Timeout time.Duration // upper bound of one call; default 5 s
	Name    string        // of the service called; its faults are <name>_unavailable and <name>_timeout
	Log     *slog.Logger  // default: slog.Default

	// MaxConns bounds the connections to each address; default 256. A call beyond it waits for one, and as nothing is sent
	// meanwhile, it was not executed when its time ends.
	MaxConns int

	// Credential is sent with each call as X-Service-Credential; empty: none is sent.
	Credential config.Secret

	// Lookup finds a host's addresses; nil asks the system's resolver. Tests give their own.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Client calls one service. It is safe for concurrent use, and one per process and service is right: it owns the
// connections.
type Client struct {
	http        *http.Client
	addresses   *addresses
	timeout     time.Duration
	unavailable *fault.Error
	timedOut    *fault.Error
	header      http.Header
	authorize   func(http.Header) // sets the service credential
}

const (
	defaultTimeout  = 5 * time.Second
	defaultMaxConns = 256
	dialTimeout     = time.Second

	// idleTimeout is shorter than pkg/server's: the client closes idle connections. If the server closed one while the
	// client sends on it, the request's outcome would be unknown.
	idleTimeout = 30 * time.Second
)

// New returns a client. It returns an error when there is no URL or one is invalid; it does not try to reach them.
func New(cfg Config) (*Client, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = defaultMaxConns
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	addresses, err := newAddresses(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of %s: %w", cfg.Name, err)
	}
	code := strings.ReplaceAll(cfg.Name, "-", "_")
	dialer := &net.Dialer{Timeout: dialTimeout}
	return &Client{
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:         dialer.DialContext,
				MaxConnsPerHost:     cfg.MaxConns,
				MaxIdleConnsPerHost: cfg.MaxConns, // the default of 2 would open and close connections all the time
				IdleConnTimeout:     idleTimeout,
				DisableCompression:  true, // small bodies, near neighbours
			},
			// Followed redirects would send a POST a second time.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		addresses:   addresses,
		timeout:     cfg.Timeout,
		unavailable: fault.New(fault.Unavailable, code+"_unavailable", cfg.Name+" does not answer"),
		timedOut:    fault.New(fault.Timeout, code+"_timeout", cfg.Name+" did not answer in time"),
		header:      http.Header{},
		authorize:   authorize(cfg.Credential),
	}, nil
}

// CallOption changes what a client sends.
type CallOption func(*Client)

// Header adds a header to each call. It panics on Idempotency-Key: Go's transport takes that header as leave to send a
// POST again by itself when a connection breaks.
func Header(name, value string) CallOption {
	name = textproto.CanonicalMIMEHeaderKey(name)
	if name == header.IdempotencyKey || name == "X-"+header.IdempotencyKey {
		panic("rest: " + name + " has the transport send a POST twice; put it into the body")
	}
	return func(c *Client) { c.header.Set(name, value) }
}

// Timeout is another upper bound of each call.
func Timeout(d time.Duration) CallOption {
	return func(c *Client) { c.timeout = d }
}

// Longer gives each call that much more time.
func Longer(d time.Duration) CallOption {
	return func(c *Client) { c.timeout += d }
}

// With returns a client that differs by the options and shares the connections.
func (c *Client) With(opts ...CallOption) *Client {
	d := *c
	d.header = c.header.Clone()
	for _, opt := range opts {
		opt(&d)
	}
	return &d
}

// Close closes idle connections. Calls under way go on.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do calls the service: in, unless nil, is sent as JSON, a 2xx answer is decoded into out, unless nil. The error is a
// fault:
//
//   - the service's own, rebuilt from its problem details; unavailable and not ambiguous only when all replicas say so;
//   - <name>_unavailable when there was no clear answer: ambiguous, except when nothing was sent;
//   - <name>_timeout when the deadline of ctx or the client's timeout passed: likewise;
//   - canceled when the caller gave up: likewise.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var body []byte
	if in != nil {
		var err error
		if body, err = wire.Marshal(in); err != nil {
			return fault.ErrInternal.NotExecuted().Wrap(fmt.Errorf("encode the request %s %s: %w", method, path, err))
		}
	}
	return c.everywhere(ctx, func(a *address) (bool, error) { return c.try(ctx, a, method, path, body, out) })
}

// attempt sends a request to one address. sent is false when nothing can have reached the service.
type attempt func(a *address) (sent bool, err error)

// everywhere attempts one address after the other, and the addresses that are new after that, until one has answered
// for good or may have executed the request. The error is a fault.
func (c *Client) everywhere(ctx context.Context, try attempt) error {
	candidates, err := c.addresses.next(ctx)
	for again := true; len(candidates) > 0; again = false {
		var over bool
		if over, err = c.tryEach(ctx, candidates, try); over {
			return err
		}
		if !again {
			break
		}
		candidates = c.addresses.moved(ctx, candidates)
	}
	return c.toFault(err, false)
}

// tryEach attempts one address after the other, until one has answered for good or may have executed the request: then
// the call has ended. Otherwise nothing was executed.
func (c *Client) tryEach(ctx context.Context, candidates []*address, try attempt) (over bool, err error) {
	for _, a := range candidates {
		var sent bool
		sent, err = try(a)
		f, answered := errors.AsType[*fault.Error](err)
		if err == nil || answered && (f.Kind != fault.Unavailable || f.Ambiguous) {
			return true, err
		}
		if !errors.Is(ctx.Err(), context.Canceled) { // a caller that gave up says nothing about the replica
			c.addresses.avoid(ctx, a, err)
		}
		if sent && !answered || ctx.Err() != nil {
			return true, c.toFault(err, sent)
		}
	}
	return false, err
}

// Unanswered is the fault of a call that ended without an answer because of err, such as the end of its context. sent:
// the service may have got it.
func (c *Client) Unanswered(err error, sent bool) error { return c.toFault(err, sent) }

// toFault leaves faults as they are and makes one of everything else, where there was no clear answer.
func (c *Client) toFault(err error, sent bool) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	f := c.unavailable
	switch netErr, isNet := errors.AsType[net.Error](err); {
	case errors.Is(err, context.Canceled):
		f = fault.ErrCanceled
	case errors.Is(err, context.DeadlineExceeded), isNet && netErr.Timeout() && sent:
		f = c.timedOut
	}
	if !sent {
		f = f.NotExecuted()
	}
	return f.Wrap(err)
}

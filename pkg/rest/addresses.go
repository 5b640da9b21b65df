package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	resolveEvery  = 5 * time.Second // how late a new replica is noticed
	lookupTimeout = time.Second     // a slow name server must not cost a call its whole deadline
	avoidFor      = time.Second     // how long an address that gave no answer, or is going away, is tried last
	resolveAgain  = time.Second     // time between two lookups while no address executes a request
)

// addresses are all replicas of a service: every address of every URL's host. A kept-alive connection is bound to an
// address, so a client that knew only a name would stay with the one replica it met first.
type addresses struct {
	hosts  []*host
	lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	log    *slog.Logger
	name   string

	mu   sync.Mutex
	turn int
}

// host is one URL. Its fields below are guarded by addresses.mu.
type host struct {
	name, port, prefix string
	fixed              bool // the URL has an IP address, there is nothing to resolve

	known     []*address
	expires   time.Time
	resolving bool
}

// address is one replica. avoidUntil is guarded by addresses.mu.
type address struct {
	base       string // "http://10.0.0.7:8081", with the URL's path
	host       string // what the Host header says
	avoidUntil time.Time
}

func newAddresses(cfg Config) (*addresses, error) {
	if len(cfg.URLs) == 0 {
		return nil, errors.New("no URL")
	}
	a := &addresses{lookup: cfg.Lookup, log: cfg.Log, name: cfg.Name}
	if a.lookup == nil {
		a.lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	for _, text := range cfg.URLs {
		h, err := parseHost(text)
		if err != nil {
			return nil, err
		}
		a.hosts = append(a.hosts, h)
	}
	return a, nil
}

func parseHost(text string) (*host, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse the URL: %w", err)
	}
	if u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the URL %q is not like http://host:port", u.Redacted())
	}
	h := &host{name: u.Hostname(), port: u.Port(), prefix: u.EscapedPath()}
	if h.prefix == "/" {
		h.prefix = ""
	}
	if h.port == "" {
		h.port = "80"
	}
	if ip, err := netip.ParseAddr(h.name); err == nil {
		h.fixed = true
		h.known = []*address{h.address(ip)}
	}
	return h, nil
}

func (h *host) address(ip netip.Addr) *address {
	return &address{
		base: "http://" + net.JoinHostPort(ip.Unmap().String(), h.port) + h.prefix,
		host: net.JoinHostPort(h.name, h.port),
	}
}

// next returns all addresses, beginning with the one whose turn it is; those to be avoided come last. The error, with
// no addresses at all, is the resolver's.
func (a *addresses) next(ctx context.Context) ([]*address, error) {
	var failed error
	for _, h := range a.hosts {
		if err := a.refresh(ctx, h); err != nil {
			failed = err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*address
	for _, h := range a.hosts {
		all = append(all, h.known...)
	}
	if len(all) == 0 {
		return nil, failed
	}
	a.turn++
	first := a.turn % len(all)
	all = slices.Concat(all[first:], all[:first])
	now := time.Now()
	slices.SortStableFunc(all, func(x, y *address) int {
		return boolToInt(now.Before(x.avoidUntil)) - boolToInt(now.Before(y.avoidUntil))
	})
	return all, nil
}

// moved resolves the names again, because no address that was tried has executed the request, and returns the others: a
// container that was replaced has another address. It looks up a name at most once in a resolveAgain.
func (a *addresses) moved(ctx context.Context, tried []*address) []*address {
	a.mu.Lock()
	for _, h := range a.hosts {
		if looked := h.expires.Add(-resolveEvery); !h.fixed && time.Since(looked) >= resolveAgain {
			h.expires = time.Time{}
		}
	}
	a.mu.Unlock()
	all, err := a.next(ctx)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(one *address) bool { return slices.Contains(tried, one) })
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// avoid has bad be tried last for a while. Its replica is gone, going, stuck, or not there yet.
func (a *addresses) avoid(ctx context.Context, bad *address, why error) {
	a.mu.Lock()
	bad.avoidUntil = time.Now().Add(avoidFor)
	a.mu.Unlock()
	a.log.DebugContext(ctx, "address avoided", "service", a.name, "address", bad.base, "err", why)
}

// refresh resolves h again when its addresses are old. One caller does it, and unless nothing is known yet the others
// go on with the old ones. A resolver that fails leaves them in use as well: a replica outlives a name server's hiccup.
func (a *addresses) refresh(ctx context.Context, h *host) error {
	a.mu.Lock()
	fresh := h.fixed || time.Now().Before(h.expires) || (h.resolving && len(h.known) > 0)
	if !fresh {
		h.resolving = true
	}
	a.mu.Unlock()
	if fresh {
		return nil
	}
	lookupCtx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := a.lookup(lookupCtx, h.name)
	a.mu.Lock()
	defer a.mu.Unlock()
	h.resolving = false
	if err == nil && len(ips) == 0 {
		err = fmt.Errorf("%s has no address", h.name)
	}
	if err != nil {
		if len(h.known) > 0 {
			h.expires = time.Now().Add(resolveEvery)
			a.log.WarnContext(ctx, "name not resolved, staying with its old addresses", "service", a.name, "host", h.name, "err", err)
		}
		return fmt.Errorf("resolve %s: %w", h.name, err)
	}
	h.expires = time.Now().Add(resolveEvery)
	h.replace(ips)
	return nil
}

// replace keeps what is known of addresses that are still there. Their order is made the same on every client call,
// because resolvers shuffle, and a shuffled list is no round.
func (h *host) replace(ips []netip.Addr) {
	slices.SortFunc(ips, netip.Addr.Compare)
	old := h.known
	h.known = nil
	for _, ip := range slices.Compact(ips) {
		fresh := h.address(ip)
		i := slices.IndexFunc(old, func(o *address) bool { return o.base == fresh.base })
		if i >= 0 {
			fresh = old[i]
		}
		h.known = append(h.known, fresh)
	}
}

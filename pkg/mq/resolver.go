package mq

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// lookupTimeout bounds one look-up of the name servers' addresses.
const lookupTimeout = 3 * time.Second

// resolver turns the name servers' names into addresses: the client library accepts only IP addresses. The library
// calls it every two minutes, so a name server may move.
type resolver struct{ addrs []string }

var _ primitive.NsResolver = resolver{}

// Resolve implements primitive.NsResolver. It returns nothing when no name is known, and a fresh slice each time,
// because the library sorts it in place.
func (r resolver) Resolve() []string {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	addrs, _ := r.lookup(ctx)
	return addrs
}

// Description implements primitive.NsResolver.
func (r resolver) Description() string { return fmt.Sprintf("addresses of %v", r.addrs) }

// lookup returns all IPv4 addresses of all name servers, sorted: the library compares the lists of clients that share
// an instance. The error is that of the last name without an address, and only when none has one.
func (r resolver) lookup(ctx context.Context) ([]string, error) {
	var found []string
	var lastErr error
	for _, a := range r.addrs {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			return nil, fmt.Errorf("name server %q: %w", a, err)
		}
		ips, err := net.DefaultResolver.LookupIP(ctx, "ip4", host)
		if err != nil {
			lastErr = fmt.Errorf("look up the name server %s: %w", host, err)
			continue
		}
		for _, ip := range ips {
			found = append(found, net.JoinHostPort(ip.String(), port))
		}
	}
	if len(found) == 0 {
		return nil, lastErr
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

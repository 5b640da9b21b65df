package notify

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// OwnNetworks is the entry of WEBHOOK_ALLOW that stands for the networks of this machine's interfaces: in a container
// the network that it shares with the other services. Loopback is not among them: in a container only this
// process listens there, and a buyer could call its operations port.
const OwnNetworks = "own-networks"

// ErrRefusedAddress is the failure of a connection to an address that may not be called.
var ErrRefusedAddress = errors.New("the address may not be called")

// Guard refuses connections to addresses that are not public ones, so that a buyer cannot have this process call what
// only this process can reach: databases, the operations port, the cloud's metadata service. That is server-side
// request forgery, SSRF.
//
// It decides about an address, never about a name. A check of the URL before the call would be no check: the name may
// resolve to another address when the connection is made (DNS rebinding). [Guard.control] is called by the dialer with
// the very address to which it is about to connect.
type Guard struct {
	allowed []netip.Prefix
	refused []network
}

// network is a range of special addresses.
type network struct {
	netip.Prefix
	what string
}

// NewGuard returns a guard that lets the special addresses in allow pass: prefixes such as 10.0.0.0/8, and
// [OwnNetworks].
func NewGuard(allow []string) (Guard, error) {
	g := Guard{refused: specialNetworks()}
	for _, entry := range allow {
		if entry == OwnNetworks {
			own, err := ownNetworks()
			if err != nil {
				return Guard{}, err
			}
			g.allowed = append(g.allowed, own...)
			continue
		}
		p, err := netip.ParsePrefix(entry)
		if err != nil {
			return Guard{}, fmt.Errorf("%q is neither a prefix such as 10.0.0.0/8 nor %s", entry, OwnNetworks)
		}
		if p.Addr().Is4In6() {
			return Guard{}, fmt.Errorf("%q: write the prefix of a mapped address as IPv4", entry)
		}
		g.allowed = append(g.allowed, p.Masked())
	}
	return g, nil
}

// ownNetworks are the networks of this machine's interfaces without loopback.
func ownNetworks() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("read the addresses of the interfaces: %w", err)
	}
	var own []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			own = append(own, p.Masked())
		}
	}
	return own, nil
}

// Check returns an error that wraps ErrRefusedAddress unless the address may be called.
func (g Guard) Check(a netip.Addr) error {
	// ::ffff:127.0.0.1 connects to 127.0.0.1, and no IPv4 range contains it. A zone would take an address out of all
	// ranges.
	a = a.Unmap().WithZone("")
	for _, p := range g.allowed {
		if p.Contains(a) {
			return nil
		}
	}
	for _, n := range g.refused {
		if n.Contains(a) {
			return fmt.Errorf("%w: it is %s", ErrRefusedAddress, n.what)
		}
	}
	// All of IPv6 that is in use on the Internet is in this range. What is outside is special, or will be.
	if a.Is6() && !netip.MustParsePrefix("2000::/3").Contains(a) {
		return fmt.Errorf("%w: it is no global unicast address", ErrRefusedAddress)
	}
	return nil
}

// control is net.Dialer.Control: the dialer calls it for each address after the name was resolved, before it connects.
func (g Guard) control(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is no address", ErrRefusedAddress, address)
	}
	return g.Check(a.Addr())
}

// specialNetworks are IANA's special-purpose addresses that are not to be called, and those that embed an IPv4 address:
// a gateway would translate them, perhaps to a private one.
func specialNetworks() []network {
	var list []network
	for _, n := range [][2]string{
		{"0.0.0.0/8", "this host"}, // Linux connects 0.0.0.0 to loopback
		{"10.0.0.0/8", "private"},
		{"100.64.0.0/10", "shared by a carrier's customers"}, // clouds use it for their own services
		{"127.0.0.0/8", "loopback"},
		{"169.254.0.0/16", "link-local"}, // the metadata services of clouds are here
		{"172.16.0.0/12", "private"},
		{"192.0.0.0/24", "reserved for protocols"},
		{"192.0.2.0/24", "for documentation"},
		{"192.88.99.0/24", "a 6to4 relay"},
		{"192.168.0.0/16", "private"},
		{"198.18.0.0/15", "for benchmarks"},
		{"198.51.100.0/24", "for documentation"},
		{"203.0.113.0/24", "for documentation"},
		{"224.0.0.0/4", "multicast"},
		{"240.0.0.0/4", "reserved or broadcast"},

		{"::/128", "this host"},
		{"::1/128", "loopback"},
		{"64:ff9b::/96", "an IPv4 address behind NAT64"},
		{"64:ff9b:1::/48", "an IPv4 address behind NAT64"},
		{"2001::/23", "reserved for protocols"}, // Teredo among them, which embeds an IPv4 address
		{"2001:db8::/32", "for documentation"},
		{"2002::/16", "an IPv4 address behind 6to4"},
		{"3fff::/20", "for documentation"},
		{"fc00::/7", "private"},
		{"fe80::/10", "link-local"},
		{"fec0::/10", "site-local"},
		{"ff00::/8", "multicast"},
	} {
		list = append(list, network{netip.MustParsePrefix(n[0]), n[1]})
	}
	return list
}

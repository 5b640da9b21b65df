package notify_test

import (
	"errors"
	"net/netip"
	"testing"

	"holdfast/order-srv/internal/notify"
)

// TestGuard_Check is the table of addresses: one of each special range, both ends where a range is cut from public
// ones, and each way to write an IPv4 address as IPv6.
func TestGuard_Check(t *testing.T) {
	t.Parallel()
	g, err := notify.NewGuard(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1", "127.8.9.10",
		"169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1",
		"198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::7f00:1", "::ffff:0:127.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:1::1", "2001:db8::1",
		"2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
	} {
		if err := g.Check(netip.MustParseAddr(a)); !errors.Is(err, notify.ErrRefusedAddress) {
			t.Errorf("%s may be called: error %v", a, err)
		}
	}
	for _, a := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
		"::ffff:8.8.8.8", "2001:4860:4860::8888", "2606:4700:4700::1111", "2a00:1450::1",
	} {
		if err := g.Check(netip.MustParseAddr(a)); err != nil {
			t.Errorf("%s may not be called: %v", a, err)
		}
	}
}

func TestGuard_allow(t *testing.T) {
	t.Parallel()
	g, err := notify.NewGuard([]string{"127.0.0.0/8", "fd00:1::/32"})
	if err != nil {
		t.Fatal(err)
	}
	for a, allowed := range map[string]bool{
		"127.0.0.1": true, "::ffff:127.0.0.1": true, "fd00:1::2": true, "8.8.8.8": true,
		"::1": false, "fd00:2::2": false, "10.0.0.1": false, "64:ff9b::7f00:1": false,
	} {
		if err := g.Check(netip.MustParseAddr(a)); (err == nil) != allowed {
			t.Errorf("%s: error %v, want allowed %v", a, err, allowed)
		}
	}
	own, err := notify.NewGuard([]string{notify.OwnNetworks})
	if err != nil {
		t.Fatal(err)
	}
	// the operations port, the metadata service
	for _, a := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254"} {
		if err := own.Check(netip.MustParseAddr(a)); err == nil {
			t.Errorf("%s is allowed with the networks of this machine", a)
		}
	}
	for _, bad := range []string{"loopback", "127.0.0.1", "10.0.0.0/33", "::ffff:127.0.0.0/104", ""} {
		if _, err := notify.NewGuard([]string{bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

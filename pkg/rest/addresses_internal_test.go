package rest

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func bases(tb testing.TB, a *addresses) []string {
	tb.Helper()
	next, err := a.next(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	var out []string
	for _, n := range next {
		out = append(out, n.base)
	}
	return out
}

// TestAddresses_time is inside the package and its clock is synctest's: what it looks at takes seconds.
func TestAddresses_time(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ips := []string{"10.0.0.1"}
		var broken error
		a, err := newAddresses(Config{
			URLs: []string{"http://stock:80", "http://[::1]:81"}, Log: slog.New(slog.DiscardHandler),
			Lookup: func(context.Context, string) ([]netip.Addr, error) {
				var out []netip.Addr
				for _, ip := range ips {
					out = append(out, netip.MustParseAddr(ip))
				}
				return out, broken
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := func(n int, base string, there bool) {
			t.Helper()
			got := bases(t, a)
			if len(got) != n || slices.Contains(got, base) != there {
				t.Errorf("got %v, want %d addresses, %s among them: %v", got, n, base, there)
			}
		}
		want(2, "http://10.0.0.1:80", true)

		ips = []string{"10.0.0.2", "::ffff:10.0.0.1"}
		want(2, "http://10.0.0.2:80", false) // not looked up again yet
		time.Sleep(resolveEvery)
		want(3, "http://10.0.0.2:80", true)

		broken = errors.New("the name server is down")
		time.Sleep(resolveEvery)
		want(3, "http://10.0.0.2:80", true)

		broken, ips = nil, []string{"10.0.0.1"}
		time.Sleep(resolveEvery)
		want(2, "http://10.0.0.2:80", false)

		first, err := a.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a.avoid(t.Context(), first[0], errors.New("refused"))
		for range 4 {
			if got := bases(t, a); got[0] == first[0].base || len(got) != 2 {
				t.Errorf("an address that refused a moment ago comes first: %v", got)
			}
		}
		time.Sleep(avoidFor)
		if a, b := bases(t, a), bases(t, a); a[0] == b[0] {
			t.Errorf("its turn does not come again: %v, %v", a, b)
		}
	})
}

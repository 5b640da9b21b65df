package gateway

import (
	"testing"
	"time"
)

// TestVerified_bounded adds many times more tokens than fit. A token that is used stays.
func TestVerified_bounded(t *testing.T) {
	t.Parallel()
	const size = 100
	v := newVerified(size)
	now := time.Now()
	hash := func(n int) tokenHash { return tokenHash{byte(n), byte(n >> 8), 1} }
	want := Caller{User: "ann", Role: "buyer"}
	v.add(tokenHash{}, verifiedCaller{want, now.Add(time.Second)})
	for n := range 20 * size {
		v.add(hash(n), verifiedCaller{Caller{}, now.Add(time.Second)})
		if c, ok := v.find(tokenHash{}, now); !ok || c != want {
			t.Fatalf("after %d other tokens: %+v, %v", n, c, ok)
		}
		if held := len(v.young) + len(v.old); held > size {
			t.Fatalf("%d tokens are held, want at most %d", held, size)
		}
	}
	if _, ok := v.find(hash(0), now); ok {
		t.Error("a token that was not used is still held")
	}
}

// TestVerified_expiry: a token ends at its expiry, as without the memory.
func TestVerified_expiry(t *testing.T) {
	t.Parallel()
	v := newVerified(100)
	expires := time.Now()
	v.add(tokenHash{}, verifiedCaller{Caller{User: "ann"}, expires})
	if _, ok := v.find(tokenHash{}, expires.Add(-1)); !ok {
		t.Error("the token is gone before its expiry")
	}
	if _, ok := v.find(tokenHash{}, expires); ok {
		t.Error("the token outlives its expiry")
	}
}

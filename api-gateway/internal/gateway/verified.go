package gateway

import (
	"crypto/sha256"
	"sync"
	"time"
)

// tokenHash identifies a token: the SHA-256 of all its characters, the signature included.
type tokenHash [sha256.Size]byte

// verified remembers the callers of valid tokens until the tokens expire, because a client sends the same token with
// every request. Tokens that are not valid are not remembered, so it cannot be filled without the secret.
//
// It has at most size entries. New ones go into young. When young has half of them, it becomes old, and what was old is
// forgotten: these are tokens that have not come since.
type verified struct {
	size int

	mu         sync.Mutex
	young, old map[tokenHash]verifiedCaller
}

type verifiedCaller struct {
	caller  Caller
	expires time.Time
}

func newVerified(size int) *verified {
	return &verified{size: size, young: map[tokenHash]verifiedCaller{}}
}

// find returns the caller of a token that was valid before and has not expired at the time now.
func (v *verified) find(h tokenHash, now time.Time) (Caller, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	found, ok := v.young[h]
	if !ok {
		if found, ok = v.old[h]; ok {
			v.put(h, found)
		}
	}
	if !ok || !now.Before(found.expires) {
		return Caller{}, false
	}
	return found.caller, true
}

// add remembers a valid token.
func (v *verified) add(h tokenHash, c verifiedCaller) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(h, c)
}

// put needs the lock.
func (v *verified) put(h tokenHash, c verifiedCaller) {
	if len(v.young) >= v.size/2 {
		v.young, v.old = map[tokenHash]verifiedCaller{}, v.young
	}
	v.young[h] = c
}

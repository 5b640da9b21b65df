package flawed

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/inventory-srv/internal/strategy"
)

// HandLock is the lock in Redis that beginners write: SET NX takes the key, DEL gives it back.
//
// Fault:    the value is not compared, the expiry may end before the work does, and a renewal knows no limit.
// Fixed by: pkg/lock.
type HandLock struct {
	Client redis.UniversalClient
	Key    string
	Value  string
	TTL    time.Duration // 0: the key never expires
}

// handTTL is long beside a reserve and short beside a test. The course's is eight seconds.
const handTTL = 3 * time.Second

// handLock returns the lock of a SKU.
func (d Deps) handLock(sku string) HandLock {
	return HandLock{Client: d.Redis, Key: d.Prefix + strategy.LockKey(sku), Value: "locked", TTL: handTTL}
}

// Try takes the key if it does not exist, and reports whether it did.
func (l HandLock) Try(ctx context.Context) (bool, error) {
	return l.Client.SetNX(ctx, l.Key, l.Value, l.TTL).Result()
}

// Lock tries until it has the key or ctx ends.
func (l HandLock) Lock(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := l.Try(ctx)
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Unlock deletes the key, whichever holder has it, and returns how many keys it deleted.
func (l HandLock) Unlock(ctx context.Context) (int64, error) {
	return l.Client.Del(context.WithoutCancel(ctx), l.Key).Result()
}

// Watch starts a watchdog that sets the expiry anew, every third of it, until stop is called. renewed is called after
// each renewal, unless it is nil. stop waits for the watchdog.
func (l HandLock) Watch(ctx context.Context, renewed func()) (stop func()) {
	done := make(chan struct{})
	var watchdog sync.WaitGroup
	watchdog.Go(func() {
		tick := time.NewTicker(l.TTL / 3)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				// After an error the next tick retries.
				if ok, err := l.Client.PExpire(ctx, l.Key, l.TTL).Result(); err == nil && ok && renewed != nil {
					renewed()
				}
			}
		}
	})
	return func() {
		close(done)
		watchdog.Wait()
	}
}

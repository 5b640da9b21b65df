package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"holdfast/pkg/lock"
)

// locker takes the one lock that everybody wants.
type locker interface {
	// acquire waits for the lock and returns what gives it back.
	acquire(ctx context.Context) (release func() error, err error)
	close() error
}

// subject is one library, set up in one way.
type subject struct {
	name string
	open func(addr string) (locker, error)
}

const (
	nameOurs    = "pkg/lock"
	nameRedsync = "redsync, its defaults"
	nameRueidis = "rueidislock"
	nameFloor   = "sync.Mutex, one process" // the queue itself: what is above it is the lock's doing

	key  = "bench"
	ttl  = 8 * time.Second      // redsync's default
	poll = 5 * time.Millisecond // as long as one hold: more often costs the server more, and wins little
)

func subjects() []subject {
	return []subject{
		{nameOurs, openOurs},
		{nameRedsync, openRedsync()},
		{"redsync, 5 ms poll", openRedsync(redsync.WithRetryDelay(poll), redsync.WithTries(1<<30))},
		{"redislock, 5 ms poll", openRedislock},
		{nameRueidis, openRueidis},
		{nameFloor, openFloor(new(sync.Mutex))},
	}
}

// openAll opens n clients; closing closes them.
func (s subject) openAll(addr string, n int) (lockers []locker, closing func() error, err error) {
	closing = func() error {
		var errs []error
		for _, l := range lockers {
			errs = append(errs, l.close())
		}
		return errors.Join(errs...)
	}
	for range n {
		l, err := s.open(addr)
		if err != nil {
			return nil, nil, errors.Join(err, closing())
		}
		lockers = append(lockers, l)
	}
	return lockers, closing, nil
}

type ours struct {
	*lock.Redis
	client redis.UniversalClient
}

func openOurs(addr string) (locker, error) {
	client := lock.NewClient([]string{addr})
	l, err := lock.NewRedis(client, lock.WithTTL(ttl))
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return ours{l, client}, nil
}

func (o ours) acquire(ctx context.Context) (func() error, error) {
	lease, err := o.Acquire(ctx, key)
	if err != nil {
		return nil, err
	}
	return func() error { return lease.Release(ctx) }, nil
}

func (o ours) close() error { return errors.Join(o.Close(), o.client.Close()) }

// redsyncLocker makes a mutex for each request, as its users do.
type redsyncLocker struct {
	client  *redis.Client
	sync    *redsync.Redsync
	options []redsync.Option
}

func openRedsync(options ...redsync.Option) func(string) (locker, error) {
	return func(addr string) (locker, error) {
		client := redis.NewClient(&redis.Options{Addr: addr})
		return redsyncLocker{client, redsync.New(goredis.NewPool(client)), options}, nil
	}
}

func (r redsyncLocker) acquire(ctx context.Context) (func() error, error) {
	mutex := r.sync.NewMutex(key, r.options...)
	if err := mutex.LockContext(ctx); err != nil {
		return nil, err
	}
	return func() error {
		_, err := mutex.UnlockContext(ctx)
		return err
	}, nil
}

func (r redsyncLocker) close() error { return r.client.Close() }

type redislockLocker struct {
	client *redis.Client
	lock   *redislock.Client
}

func openRedislock(addr string) (locker, error) {
	client := redis.NewClient(&redis.Options{Addr: addr})
	return redislockLocker{client, redislock.New(client)}, nil
}

func (r redislockLocker) acquire(ctx context.Context) (func() error, error) {
	held, err := r.lock.Obtain(ctx, key, ttl, &redislock.Options{RetryStrategy: redislock.LinearBackoff(poll)})
	if err != nil {
		return nil, err
	}
	return func() error { return held.Release(ctx) }, nil
}

func (r redislockLocker) close() error { return r.client.Close() }

type rueidisLocker struct{ rueidislock.Locker }

// openRueidis sets it up as its documentation advises for one Redis of version 7.
func openRueidis(addr string) (locker, error) {
	l, err := rueidislock.NewLocker(rueidislock.LockerOption{
		ClientOption: rueidis.ClientOption{InitAddress: []string{addr}},
		KeyMajority:  1, KeyValidity: ttl, NoLoopTracking: true,
	})
	return rueidisLocker{l}, err
}

func (r rueidisLocker) acquire(ctx context.Context) (func() error, error) {
	_, release, err := r.WithContext(ctx, key)
	if err != nil {
		return nil, err
	}
	return func() error { release(); return nil }, nil
}

func (r rueidisLocker) close() error {
	r.Close()
	return nil
}

// floor is no distributed lock: all its clients share a mutex.
type floor struct{ mutex *sync.Mutex }

func openFloor(mutex *sync.Mutex) func(string) (locker, error) {
	return func(string) (locker, error) { return floor{mutex}, nil }
}

func (f floor) acquire(context.Context) (func() error, error) {
	f.mutex.Lock()
	return func() error { f.mutex.Unlock(); return nil }, nil
}

func (f floor) close() error { return nil }

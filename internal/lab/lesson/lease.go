package lesson

import (
	"context"
	"errors"
	"time"

	"holdfast/pkg/lock"
)

// newLocker returns pkg/lock on the Redis at addr, with its own client. closing closes both.
func newLocker(addr, prefix string, opts ...lock.Option) (_ *lock.Redis, closing func() error, err error) {
	client := lock.NewClient([]string{addr})
	locker, err := lock.NewRedis(client, append(opts, lock.WithPrefix(prefix))...)
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return locker, func() error { return errors.Join(locker.Close(), client.Close()) }, nil
}

// locker returns pkg/lock on the shared Redis, for the lesson's own process.
func (e *Env) locker(ctx context.Context, prefix string, opts ...lock.Option) (*lock.Redis, error) {
	addr, err := e.RedisAddr(ctx)
	if err != nil {
		return nil, err
	}
	locker, closing, err := newLocker(addr, prefix, opts...)
	if err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error { return closing() })
	return locker, nil
}

// lockName returns the Redis key that pkg/lock uses for a key.
func lockName(prefix, key string) string { return "{" + prefix + "}key:" + key }

// rounded rounds a duration for output.
func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

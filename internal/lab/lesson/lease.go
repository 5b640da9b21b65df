package lesson

import (
	"context"
	"errors"
	"time"

	"holdfast/pkg/lock"
)

// newLocker returns pkg/lock on the Redis at addr with a client of its own, which closing closes too.
func newLocker(addr, prefix string, opts ...lock.Option) (_ *lock.Redis, closing func() error, err error) {
	client := lock.NewClient([]string{addr})
	locker, err := lock.NewRedis(client, append(opts, lock.WithPrefix(prefix))...)
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return locker, func() error { return errors.Join(locker.Close(), client.Close()) }, nil
}

// locker returns pkg/lock on the shared Redis, as the lesson's own process has it.
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

// lockName is how pkg/lock calls a key in Redis.
func lockName(prefix, key string) string { return "{" + prefix + "}key:" + key }

// rounded is a duration for people.
func rounded(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

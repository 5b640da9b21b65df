package lesson

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
)

// RedisAddr returns the address of a shared Redis. Names must come from Key; all keys with such names are deleted at
// the end. The server must not be stopped or flushed.
func (e *Env) RedisAddr(ctx context.Context) (string, error) {
	addr, err := e.cfg.Servers.Redis(ctx)
	if err != nil {
		return "", err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.removeKeys == nil {
		e.removeKeys = func(ctx context.Context) error { return removeKeys(ctx, addr, e.Key("")) }
	}
	return addr, nil
}

// Redis returns a client of the shared Redis, which is closed at the end.
func (e *Env) Redis(ctx context.Context) (*redis.Client, error) {
	addr, err := e.RedisAddr(ctx)
	if err != nil {
		return nil, err
	}
	return e.Client(addr), nil
}

// Client returns a client of the Redis at addr, which is closed at the end.
func (e *Env) Client(addr string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	e.Clean(func(context.Context) error { return client.Close() })
	return client
}

// Key returns a name in Redis that no other run uses. It can also be the prefix of pkg/lock.
func (e *Env) Key(name string) string { return "lesson:" + e.id + ":" + name }

// removeKeys deletes the lesson's keys. Keys without an expiry would otherwise stay on a server that may not be
// private.
func removeKeys(ctx context.Context, addr, prefix string) error {
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	defer client.Close()                                         //nolint:errcheck // nothing can be done about it
	keys := client.Scan(ctx, 0, "*"+prefix+"*", 1000).Iterator() // pkg/lock puts a brace before its prefix
	for keys.Next(ctx) {
		if err := client.Del(ctx, keys.Val()).Err(); err != nil {
			return err
		}
	}
	return keys.Err()
}

// OwnRedis starts a Redis that the lesson may stop, flush or kill. It does not persist data.
func (e *Env) OwnRedis(ctx context.Context) (*stack.Redis, error) {
	r, err := stack.StartRedis(ctx, stack.Options{Tie: true})
	if err != nil {
		return nil, err
	}
	e.Clean(r.Stop)
	return r, nil
}

// DSN creates a database for the lesson, which is dropped at the end, and returns its DSN.
func (e *Env) DSN(ctx context.Context) (string, error) {
	admin, err := e.cfg.Servers.MySQL(ctx)
	if err != nil {
		return "", err
	}
	db, err := sql.Open("mysql", admin)
	if err != nil {
		return "", err
	}
	e.mu.Lock()
	name := fmt.Sprintf("lesson_%s_%d", e.id, e.databases) // unique if a lesson creates several
	e.databases++
	e.mu.Unlock()
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4"); err != nil {
		return "", errors.Join(fmt.Errorf("create the lesson's database: %w", err), db.Close())
	}
	e.Clean(func(ctx context.Context) error {
		_, err := db.ExecContext(ctx, "DROP DATABASE "+name)
		return errors.Join(err, db.Close())
	})
	address, params, _ := strings.Cut(admin, "?")
	dsn := address[:strings.LastIndex(address, "/")+1] + name
	if params != "" {
		dsn += "?" + params
	}
	return dsn, nil
}

package lesson

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

func setIfAbsent() Lesson {
	return Lesson{
		Name:  "set-if-absent",
		Title: "a lock in two commands is not a lock",
		Run:   runSetIfAbsent,
		Roles: map[string]Role{"two-commands": setThenExpire, "one-command": setWithExpiry},
	}
}

func runSetIfAbsent(ctx context.Context, e *Env) error {
	client, err := e.Redis(ctx)
	if err != nil {
		return err
	}
	if err := lookThenSet(ctx, e, client); err != nil {
		return err
	}
	if err := countHolders(ctx, e, client); err != nil {
		return err
	}
	return crashBetween(ctx, e, client)
}

// lookThenSet executes the interleaving command by command.
func lookThenSet(ctx context.Context, e *Env, client *redis.Client) error {
	e.Step("Check the key, then set it: EXISTS, SET. Two clients; each command is a round trip.")
	key := e.Key("by-hand")
	var saw [2]int64
	for i := range saw { // both check before either sets
		n, err := client.Exists(ctx, key).Result()
		if err != nil {
			return err
		}
		saw[i] = n
		e.Show("%c: EXISTS -> %d", 'A'+i, n)
	}
	holders := 0
	for i := range saw {
		if saw[i] != 0 {
			continue
		}
		if err := client.Set(ctx, key, i, time.Minute).Err(); err != nil {
			return err
		}
		holders++
		e.Show("%c: SET    -> OK, holds the lock", 'A'+i)
	}
	e.Check(holders == 2, "%d holders of one lock", holders)
	return nil
}

// countHolders lets clients race for a new key in each round.
func countHolders(ctx context.Context, e *Env, client *redis.Client) error {
	const clients, rounds = 8, 200
	e.Step("The same as a race: %d clients, %d keys one after the other; each key must have one holder.", clients, rounds)
	look := func(ctx context.Context, key string) (bool, error) {
		n, err := client.Exists(ctx, key).Result()
		if err != nil || n != 0 {
			return false, err
		}
		return true, client.Set(ctx, key, "me", time.Minute).Err()
	}
	setNX := func(ctx context.Context, key string) (bool, error) {
		return client.SetNX(ctx, key, "me", time.Minute).Result() // SET key me NX EX 60
	}
	table := [][]any{{"", "keys with one holder", "with several", "most holders of one key"}}
	var shared, none [2]int
	for i, way := range []struct {
		name string
		take func(context.Context, string) (bool, error)
	}{{"EXISTS, SET", look}, {"SET NX EX", setNX}} {
		most := 0
		for round := range rounds {
			n, err := race(ctx, clients, e.Key(fmt.Sprintf("race:%d:%d", i, round)), way.take)
			if err != nil {
				return err
			}
			most = max(most, n)
			switch {
			case n > 1:
				shared[i]++
			case n < 1:
				none[i]++
			}
		}
		table = append(table, []any{way.name, rounds - shared[i] - none[i], shared[i], most})
	}
	e.Table(table...)
	e.Check(shared[0] > 0, "two commands: %d of %d keys had several holders", shared[0], rounds)
	e.Check(shared[1] == 0 && none[1] == 0, "one command: each key had exactly one holder")
	return nil
}

// race returns how many clients got the lock.
func race(ctx context.Context, clients int, key string, take func(context.Context, string) (bool, error)) (int, error) {
	var holders atomic.Int64
	var failed atomic.Pointer[error]
	start := make(chan struct{})
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			<-start
			got, err := take(ctx, key)
			if err != nil {
				failed.Store(&err)
			}
			if got {
				holders.Add(1)
			}
		})
	}
	close(start)
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return int(holders.Load()), nil
}

// crashBetween kills a holder between SETNX and EXPIRE.
func crashBetween(ctx context.Context, e *Env, client *redis.Client) error {
	e.Step("SETNX is one command, but without an expiry: EXPIRE follows. A process is killed between the two.")
	addr, err := e.RedisAddr(ctx)
	if err != nil {
		return err
	}
	for _, way := range []struct {
		role, commands string
		noExpiry       bool
	}{{"two-commands", "SETNX, then EXPIRE", true}, {"one-command", "SET NX EX 60", false}} {
		key := e.Key("crash:" + way.role)
		holder, err := e.Start(way.role, addr, key)
		if err != nil {
			return err
		}
		if _, err := holder.Await(ctx, "set"); err != nil {
			return err
		}
		if err := holder.Kill(); err != nil {
			return err
		}
		ttl, err := client.TTL(ctx, key).Result()
		if err != nil {
			return err
		}
		e.Show("%s: process %d killed, TTL -> %s", way.commands, holder.PID, seconds(ttl))
		if way.noExpiry {
			e.Check(ttl == -1, "the key has no expiry: no client can get this lock again")
		} else {
			e.Check(ttl > 0, "the key expires by itself")
		}
	}
	return nil
}

// seconds formats a TTL as Redis prints it.
func seconds(ttl time.Duration) string {
	if ttl < 0 {
		return fmt.Sprint(int64(ttl)) // go-redis returns -1 and -2 unchanged
	}
	return fmt.Sprint(int64(ttl.Seconds()))
}

// setThenExpire takes the lock in two commands and is killed between them.
func setThenExpire(ctx context.Context, c *Child) error {
	client := redis.NewClient(&redis.Options{Addr: c.Args[0]})
	defer client.Close() //nolint:errcheck // nothing can be done about it
	if err := client.SetNX(ctx, c.Args[1], "me", 0).Err(); err != nil {
		return err
	}
	c.Report("set")
	if _, err := c.Order(ctx); err != nil { // the process is killed here
		return err
	}
	return client.Expire(ctx, c.Args[1], time.Minute).Err()
}

// setWithExpiry takes the lock in one command and is killed after it.
func setWithExpiry(ctx context.Context, c *Child) error {
	client := redis.NewClient(&redis.Options{Addr: c.Args[0]})
	defer client.Close() //nolint:errcheck // nothing can be done about it
	if err := client.SetNX(ctx, c.Args[1], "me", time.Minute).Err(); err != nil {
		return err
	}
	c.Report("set")
	_, err := c.Order(ctx)
	return err
}

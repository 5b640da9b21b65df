package lesson

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/lab/step"
)

func setIfAbsent() Lesson {
	return Lesson{
		Name: "set-if-absent", Scenes: setIfAbsentScenes,
		Roles: map[string]Role{"two-commands": setThenExpire, "one-command": setWithExpiry},
	}
}

// The race of the lesson.
const (
	setClients = 8
	setRounds  = 200
)

func setIfAbsentScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	client, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	return []step.Scene{
		e.scene(step.T("set-if-absent.hand"), func(ctx context.Context) (*step.Stage, error) {
			return e.existsThenSet(ctx, client)
		}),
		e.scene(step.T("set-if-absent.race", setClients, setRounds), func(context.Context) (*step.Stage, error) {
			return e.countHolders(client), nil
		}),
		e.scene(step.T("set-if-absent.crash"), func(ctx context.Context) (*step.Stage, error) {
			return e.crashBetween(ctx, client)
		}),
	}, nil
}

// existsThenSet executes the interleaving command by command.
func (e *Env) existsThenSet(ctx context.Context, client *redis.Client) (*step.Stage, error) {
	key := e.Key("by-hand")
	if err := client.Del(ctx, key).Err(); err != nil {
		return nil, err
	}
	holders := 0
	stage := &step.Stage{Order: []string{"A", "B", "A", "B"}, Look: []step.Looker{e.lookKeys(client, key)}}
	for _, name := range []string{"A", "B"} {
		free := false
		exists := step.Step{
			Label: step.T("set-if-absent.exists"), Statement: "EXISTS key", Ask: "set-if-absent.exists.ask." + name,
			Do: func(ctx context.Context) (step.Result, error) {
				n, err := client.Exists(ctx, key).Result()
				free = n == 0
				return step.Result{Text: step.T("set-if-absent.exists.got", n), Leaves: !free}, err
			},
		}
		set := step.Step{
			Label: step.T("set-if-absent.set"), Statement: "SET key " + name + " EX 60", Ask: "set-if-absent.set.ask." + name,
			Do: func(ctx context.Context) (step.Result, error) {
				holders++
				return step.Result{Text: step.T("set-if-absent.set.got")}, client.Set(ctx, key, name, time.Minute).Err()
			},
		}
		stage.Actors = append(stage.Actors, &step.Actor{Name: name, Steps: []step.Step{exists, set}})
	}
	stage.End = func(_ context.Context, end *step.Ending) error {
		end.Check(holders == 2, "set-if-absent.hand.claim", holders)
		return nil
	}
	return stage, nil
}

// holders counts the keys of a race by the number of their holders.
type holders struct{ one, several, most int }

// countHolders lets clients race for a new key in each round.
func (e *Env) countHolders(client *redis.Client) *step.Stage {
	exists := func(ctx context.Context, key string) (bool, error) {
		n, err := client.Exists(ctx, key).Result()
		if err != nil || n != 0 {
			return false, err
		}
		return true, client.Set(ctx, key, "me", time.Minute).Err()
	}
	setNX := func(ctx context.Context, key string) (bool, error) {
		return client.SetNX(ctx, key, "me", time.Minute).Result() // SET key me NX EX 60
	}
	var two, one holders
	table := func() [][]any {
		return [][]any{
			{"", step.T("set-if-absent.one"), step.T("set-if-absent.several"), step.T("set-if-absent.most")},
			{"EXISTS, SET", two.one, two.several, two.most},
			{"SET NX EX", one.one, one.several, one.most},
		}
	}
	stage := crowd(step.T("set-if-absent.clients", setClients, setRounds), "set-if-absent.race.ask", func(ctx context.Context) (_ *step.Table, err error) {
		if two, err = e.races(ctx, exists); err != nil {
			return nil, err
		}
		one, err = e.races(ctx, setNX)
		return step.NewTable(table()...), err
	})
	stage.End = func(_ context.Context, end *step.Ending) error {
		end.Table(table()...)
		end.Check(two.several > 0, "set-if-absent.two.claim", two.several, setRounds)
		end.Check(one.one == setRounds, "set-if-absent.one.claim")
		return nil
	}
	return stage
}

// races races for one new key after the other.
func (e *Env) races(ctx context.Context, take func(context.Context, string) (bool, error)) (holders, error) {
	var h holders
	for round := range setRounds {
		n, err := race(ctx, setClients, e.Key(fmt.Sprintf("race:%s:%d", fresh("r"), round)), take)
		if err != nil {
			return h, err
		}
		h.most = max(h.most, n)
		switch {
		case n == 1:
			h.one++
		case n > 1:
			h.several++
		}
	}
	return h, nil
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

// crashBetween kills a holder between SETNX and EXPIRE, and one after SET NX EX.
func (e *Env) crashBetween(ctx context.Context, client *redis.Client) (*step.Stage, error) {
	addr, err := e.RedisAddr(ctx)
	if err != nil {
		return nil, err
	}
	stage := &step.Stage{Order: []string{"A", "A", "B", "B"}}
	var ttls [2]time.Duration
	for i, role := range []string{"two-commands", "one-command"} {
		key := e.Key("crash:" + fresh(role))
		var holder *Process
		set := step.Step{
			Label: step.T("set-if-absent." + role),
			Do: func(ctx context.Context) (_ step.Result, err error) {
				if holder, err = e.Start(role, addr, key, e.patience(time.Minute).String()); err != nil {
					return step.Result{}, err
				}
				_, err = holder.Await(ctx, "set")
				return step.Result{Text: step.T("set-if-absent."+role+".got", holder.PID)}, err
			},
		}
		kill := step.Step{
			Label: step.T("set-if-absent.kill"), Ask: "set-if-absent.kill.ask." + role,
			Do: func(ctx context.Context) (_ step.Result, err error) {
				if err := holder.Kill(); err != nil {
					return step.Result{}, err
				}
				ttls[i], err = client.TTL(ctx, key).Result()
				return step.Result{Text: step.T("set-if-absent.kill.got", seconds(ttls[i]))}, err
			},
		}
		stage.Actors = append(stage.Actors, &step.Actor{Name: string(rune('A' + i)), Steps: []step.Step{set, kill}})
		stage.Look = append(stage.Look, e.lookKeys(client, key))
	}
	stage.End = func(_ context.Context, end *step.Ending) error {
		end.Check(ttls[0] == -1, "set-if-absent.two-commands.claim")
		end.Check(ttls[1] > 0, "set-if-absent.one-command.claim")
		return nil
	}
	return stage, nil
}

// seconds formats a TTL as Redis prints it.
func seconds(ttl time.Duration) string {
	if ttl < 0 {
		return fmt.Sprint(int64(ttl)) // go-redis returns -1 and -2 unchanged
	}
	return fmt.Sprint(int64(ttl.Seconds()))
}

// setThenExpire takes the lock in two commands and is killed between them. Args: address, key, expiry.
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

// setWithExpiry takes the lock in one command and is killed after it. Args: address, key, expiry.
func setWithExpiry(ctx context.Context, c *Child) error {
	client := redis.NewClient(&redis.Options{Addr: c.Args[0]})
	defer client.Close() //nolint:errcheck // nothing can be done about it
	expiry, err := time.ParseDuration(c.Args[2])
	if err != nil {
		return err
	}
	if err := client.SetNX(ctx, c.Args[1], "me", expiry).Err(); err != nil {
		return err
	}
	c.Report("set")
	_, err = c.Order(ctx)
	return err
}

package e04_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/exercises/internal/e04"
	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/04-redis-lock"
)

// lock is the solution with some of its methods replaced.
type lock struct {
	*solution.Lock

	client       *redis.Client
	clock        e04.Clock
	key          string
	ttl, maxHold time.Duration

	acquire func(l *lock, ctx context.Context) (string, error)
	release func(l *lock, ctx context.Context, value string) error
	renew   func(l *lock, ctx context.Context, value string) error
	do      func(l *lock, ctx context.Context, work func(context.Context) error) error
}

func (l *lock) Acquire(ctx context.Context) (string, error) {
	if l.acquire == nil {
		return l.Lock.Acquire(ctx)
	}
	return l.acquire(l, ctx)
}

func (l *lock) Release(ctx context.Context, value string) error {
	if l.release == nil {
		return l.Lock.Release(ctx, value)
	}
	return l.release(l, ctx, value)
}

func (l *lock) Renew(ctx context.Context, value string) error {
	if l.renew == nil {
		return l.Lock.Renew(ctx, value)
	}
	return l.renew(l, ctx, value)
}

func (l *lock) Do(ctx context.Context, work func(context.Context) error) error {
	if l.do == nil {
		return l.Lock.Do(ctx, work)
	}
	return l.do(l, ctx, work)
}

// with returns the learner whose lock has the methods of l.
func with(l lock) e04.Learner {
	return e04.Learner{
		New: func(client *redis.Client, clock e04.Clock, key string, ttl, maxHold time.Duration) e04.Lock {
			own := l
			own.Lock = solution.New(client, clock, key, ttl, maxHold)
			own.client, own.clock, own.key, own.ttl, own.maxHold = client, clock, key, ttl, maxHold
			return &own
		},
		ErrHeld: solution.ErrHeld, ErrLost: solution.ErrLost, ErrMaxHold: solution.ErrMaxHold,
	}
}

const compareAndExtend = `if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("PEXPIRE", KEYS[1], ARGV[2]) end
return 0`

// extend is one renewal of the solution.
func (l *lock) extend(ctx context.Context, value string) (int64, error) {
	return l.client.Eval(ctx, compareAndExtend, []string{l.key}, value, l.ttl.Milliseconds()).Int64()
}

// renewing returns a Renew with the parts that may be wrong: the pause, and an attempt to extend the key.
func renewing(pause func(l *lock) time.Duration, extend func(l *lock, ctx context.Context, value string) error) func(*lock, context.Context, string) error {
	return func(l *lock, ctx context.Context, value string) error {
		for end := l.clock.Now().Add(l.maxHold); ; {
			if err := l.clock.Sleep(ctx, pause(l)); err != nil {
				return err
			}
			if !l.clock.Now().Before(end) {
				return solution.ErrMaxHold
			}
			if err := extend(l, ctx, value); err != nil {
				return err
			}
		}
	}
}

func third(l *lock) time.Duration { return l.ttl / 3 }

// mistake is a lock with a mistake that none of the attempts makes. want is the ID of the finding, "" for a lock that
// is right in another way than the solution.
type mistake struct {
	name, want string
	lock       lock
}

func acquireMistakes() []mistake {
	set := func(value func(l *lock) string, ttl time.Duration, held error) func(*lock, context.Context) (string, error) {
		return func(l *lock, ctx context.Context) (string, error) {
			v := value(l)
			taken, err := l.client.SetNX(ctx, l.key, v, ttl).Result()
			if err == nil && !taken {
				err = held
			}
			return v, err
		}
	}
	name := func(*lock) string { return "locked" }
	return []mistake{
		{"empty", "not-set", lock{acquire: func(*lock, context.Context) (string, error) { return "", nil }}},
		{"no expiry", "no-expiry", lock{acquire: set(name, 0, solution.ErrHeld)}},
		{"wrong unit", "wrong-expiry", lock{acquire: set(name, time.Hour, solution.ErrHeld)}},
		{"another error", "held-not-reported", lock{acquire: set(name, 30*time.Second, errors.New("busy"))}},
		{"never", "nobody", lock{acquire: func(*lock, context.Context) (string, error) { return "", solution.ErrHeld }}},
		{"overwrites", "not-if-absent", lock{acquire: func(l *lock, ctx context.Context) (string, error) {
			return "a", l.client.Set(ctx, l.key, "a", l.ttl).Err()
		}}},
		{"another value", "wrong-value", lock{acquire: func(l *lock, ctx context.Context) (string, error) {
			value, err := l.Lock.Acquire(ctx)
			return value + "!", err
		}}},
		{"waits for ever", explore.StandsStill, lock{acquire: func(l *lock, ctx context.Context) (string, error) {
			for {
				value, err := l.Lock.Acquire(ctx)
				if !errors.Is(err, solution.ErrHeld) {
					return value, err
				}
			}
		}}},
		{"SET with NX and PX, by Do", "", lock{acquire: func(l *lock, ctx context.Context) (string, error) {
			value := time.Now().String()
			err := l.client.Do(ctx, "SET", l.key, value, "NX", "PX", l.ttl.Milliseconds()).Err()
			if errors.Is(err, redis.Nil) {
				err = solution.ErrHeld
			}
			return value, err
		}}},
	}
}

func releaseMistakes() []mistake {
	return []mistake{
		{"empty", "not-released", lock{release: func(*lock, context.Context, string) error { return nil }}},
		{"hides the loss", "loss-not-reported", lock{release: func(l *lock, ctx context.Context, value string) error {
			_ = l.Lock.Release(ctx, value)
			return nil
		}}},
		{"always an error", "release-fails", lock{release: func(l *lock, ctx context.Context, value string) error {
			_ = l.Lock.Release(ctx, value)
			return solution.ErrLost
		}}},
		{"WATCH, MULTI, EXEC", "", lock{release: func(l *lock, ctx context.Context, value string) error {
			err := l.client.Watch(ctx, func(tx *redis.Tx) error {
				stored, err := tx.Get(ctx, l.key).Result()
				if errors.Is(err, redis.Nil) || err == nil && stored != value {
					return solution.ErrLost
				}
				if err != nil {
					return err
				}
				_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
					p.Del(ctx, l.key)
					return nil
				})
				return err
			}, l.key)
			if errors.Is(err, redis.TxFailedErr) {
				return solution.ErrLost
			}
			return err
		}}},
	}
}

func renewMistakes() []mistake {
	set := func(l *lock, ctx context.Context, value string) error {
		return l.client.Set(ctx, l.key, value, l.ttl).Err()
	}
	return []mistake{
		{"empty", "not-renewed", lock{renew: func(*lock, context.Context, string) error { return nil }}},
		{"pause of a whole TTL", "renewed-too-late", lock{renew: renewing(
			func(l *lock) time.Duration { return l.ttl }, func(l *lock, ctx context.Context, value string) error {
				_, err := l.extend(ctx, value)
				return err
			})}},
		{"seconds for milliseconds", "renewed-too-late", lock{renew: renewing(third, func(l *lock, ctx context.Context, value string) error {
			_, err := l.client.Eval(ctx, compareAndExtend, []string{l.key}, value, int(l.ttl.Seconds())).Int64()
			return err
		})}},
		{"SET", "takes-over", lock{renew: renewing(third, set)}},
		{"SET XX", "takes-over", lock{renew: renewing(third, func(l *lock, ctx context.Context, value string) error {
			return l.client.SetXX(ctx, l.key, value, l.ttl).Err()
		})}},
		{"creates the key", "revives", lock{renew: renewing(third, func(l *lock, ctx context.Context, value string) error {
			set, err := l.client.Eval(ctx, `local owner = redis.call("GET", KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return 1`, []string{l.key}, value, l.ttl.Milliseconds()).Int64()
			if err == nil && set == 0 {
				err = solution.ErrLost
			}
			return err
		})}},
		{"GET, PEXPIRE", "get-then-expire", lock{renew: renewing(third, func(l *lock, ctx context.Context, value string) error {
			if stored, err := l.client.Get(ctx, l.key).Result(); err != nil || stored != value {
				return solution.ErrLost
			}
			return l.client.PExpire(ctx, l.key, l.ttl).Err()
		})}},
		{"ignores the loss", "renewal-hides-loss", lock{renew: renewing(third, func(l *lock, ctx context.Context, value string) error {
			_, err := l.extend(ctx, value)
			return err
		})}},
		{"reports the loss as nil", "renewal-hides-loss", lock{renew: func(l *lock, ctx context.Context, value string) error {
			if err := l.Lock.Renew(ctx, value); !errors.Is(err, solution.ErrLost) {
				return err
			}
			return nil
		}}},
		{"reports the cap as nil", "cap-not-reported", lock{renew: func(l *lock, ctx context.Context, value string) error {
			if err := l.Lock.Renew(ctx, value); !errors.Is(err, solution.ErrMaxHold) {
				return err
			}
			return nil
		}}},
		{"neither a cap nor the end of ctx", "no-cap", lock{renew: func(l *lock, ctx context.Context, value string) error {
			for {
				_ = l.clock.Sleep(ctx, l.ttl/3)
				_, _ = l.extend(context.WithoutCancel(ctx), value)
			}
		}}},
		{"never more than what is left", "", lock{renew: func(l *lock, ctx context.Context, value string) error {
			end := l.clock.Now().Add(l.maxHold)
			for {
				left := end.Sub(l.clock.Now())
				if left <= 0 {
					return solution.ErrMaxHold
				}
				if err := l.clock.Sleep(ctx, min(l.ttl/2, left)); err != nil {
					return nil //nolint:nilerr // the work has ended
				}
				ttl := min(l.ttl, end.Sub(l.clock.Now()))
				if ttl <= 0 {
					return solution.ErrMaxHold
				}
				extended, err := l.client.Eval(ctx, compareAndExtend, []string{l.key}, value, ttl.Milliseconds()).Int64()
				if err != nil || extended == 0 {
					return errors.Join(err, solution.ErrLost)
				}
			}
		}}},
	}
}

// doing is the solution's Do with the parts that may be wrong.
func doing(part string) func(*lock, context.Context, func(context.Context) error) error {
	return func(l *lock, ctx context.Context, work func(context.Context) error) error {
		value, err := l.Acquire(ctx)
		if err != nil && part != "works without the lock" {
			if part == "hides that the lock is held" {
				return nil
			}
			return err
		}
		if part == "panics" {
			panic("no lock")
		}
		held, end := context.WithCancelCause(ctx)
		stopped := make(chan struct{})
		if part == "ends the context at once" {
			end(nil)
		}
		go func() {
			defer close(stopped)
			if part == "does not renew" {
				<-held.Done()
				return
			}
			err := l.Renew(held, value)
			if part == "ends the context for a loss only" && !errors.Is(err, solution.ErrLost) {
				return
			}
			end(err)
		}()
		workErr := work(held)
		if part != "leaves the renewal" && part != "waits without an end" {
			end(nil)
		}
		if part != "leaves the renewal" {
			<-stopped
		}
		if part == "keeps the lock" {
			return workErr
		}
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		released := l.Release(release, value)
		switch part {
		case "hides the loss":
			return workErr
		case "hides the work's error":
			return released
		}
		return errors.Join(workErr, released)
	}
}

func doMistakes() []mistake {
	mistakes := []mistake{{"empty", "works-without-lock", lock{do: func(_ *lock, ctx context.Context, work func(context.Context) error) error {
		return work(ctx)
	}}}}
	for part, want := range map[string]string{
		"works without the lock":           "works-without-lock",
		"hides that the lock is held":      "do-hides-held",
		"panics":                           "do-panics",
		"ends the context at once":         "ended-early",
		"does not renew":                   "no-watchdog",
		"leaves the renewal":               "watchdog-left",
		"waits without an end":             "do-stands-still",
		"keeps the lock":                   "do-keeps-lock",
		"hides the loss":                   "do-hides-loss",
		"hides the work's error":           "do-changes-error",
		"ends the context for a loss only": "deaf",
		"nothing":                          "",
	} {
		mistakes = append(mistakes, mistake{part, want, lock{do: doing(part)}})
	}
	return mistakes
}

// TestExercise_otherMistakes: what the attempts do not do is explained, too, and what is right in another way passes.
func TestExercise_otherMistakes(t *testing.T) {
	t.Parallel()
	for stage, mistakes := range map[string][]mistake{
		"acquire": acquireMistakes(), "release": releaseMistakes(), "renew": renewMistakes(), "do": doMistakes(),
	} {
		for _, m := range mistakes {
			t.Run(stage+"/"+m.name, func(t *testing.T) {
				t.Parallel()
				trial.Prove(t, e04.Exercise(with(m.lock)), e04.Texts(), m.want)
			})
		}
	}
}

package e04

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/trial"
)

// world is the key of one lock in Redis, and the clock of its expiry.
type world struct {
	learner Learner
	admin   *redis.Client // its commands are no steps
	key     string

	mu       sync.Mutex // held during a command of a client, so that before and after are exact
	now      time.Time
	acts     map[string]int // how many steps each actor has executed
	changes  []change
	expiries []expiry
	stored   string // what the key had after the last recorded change; empty: it was absent
}

// state is what the key has in Redis. ttl is negative without an expiry.
type state struct {
	exists bool
	value  string
	ttl    time.Duration
}

// change is what one step of an actor changed at the key.
type change struct {
	actor         string
	nth           int           // of the actor's steps
	at            time.Duration // since the run began
	before, after state
}

// sets reports whether the step set the key or its expiry. A time to live that is a little shorter is none of it: real
// time passes during a step.
func (c change) sets() bool {
	return c.after.exists && (!c.before.exists || c.after.value != c.before.value ||
		c.after.ttl > c.before.ttl || c.before.ttl > 0 && c.after.ttl < 0)
}

// removes reports whether the step deleted the key.
func (c change) removes() bool { return c.before.exists && !c.after.exists }

// expiry is the end of a key because its time had passed.
type expiry struct {
	value   string
	at      time.Duration // since the run began
	changes int           // how many changes were recorded before
}

func newWorld(ctx context.Context, l Learner, s *trial.Servers) (*world, error) {
	client, prefix, err := s.Redis(ctx)
	if err != nil {
		return nil, err
	}
	return &world{learner: l, admin: client, key: prefix + "lock:SKU-1"}, nil
}

// epoch is when every run begins.
func epoch() time.Time { return time.Date(2026, time.January, 1, 9, 0, 0, 0, time.UTC) }

// reset begins a run: the lock is free.
func (w *world) reset(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now, w.acts, w.changes, w.expiries, w.stored = epoch(), map[string]int{}, nil, nil, ""
	return w.admin.Del(ctx, w.key).Err()
}

// look returns what the key has now.
func (w *world) look(ctx context.Context) (state, error) {
	var value *redis.StringCmd
	var left *redis.DurationCmd
	_, err := w.admin.TxPipelined(ctx, func(p redis.Pipeliner) error {
		value, left = p.Get(ctx, w.key), p.PTTL(ctx, w.key)
		return nil
	})
	if errors.Is(err, redis.Nil) {
		return state{}, nil
	}
	return state{exists: err == nil, value: value.Val(), ttl: left.Val()}, err
}

// since returns how much time has passed since the run began.
func (w *world) since() time.Duration { return w.now.Sub(epoch()) }

// advance lets d pass: a key that has no more than d to live expires. The caller holds the mutex.
func (w *world) advance(ctx context.Context, d time.Duration) (result string, err error) {
	before, err := w.look(ctx)
	if err != nil {
		return "", err
	}
	began := w.since()
	w.now = w.now.Add(d)
	switch {
	case !before.exists && w.stored == "":
		return "", nil
	case before.exists && before.ttl < 0:
		return "TTL -1", nil
	case !before.exists || before.ttl <= d: // absent: it had so short an expiry that Redis was faster
		w.expiries = append(w.expiries, expiry{w.stored, began + before.ttl, len(w.changes)})
		w.stored = ""
		return "key expired", w.admin.Del(ctx, w.key).Err()
	}
	left := before.ttl - d
	return "TTL " + seconds(left), w.admin.PExpire(ctx, w.key, left).Err()
}

// expired returns the expiry of the key with this value, if it expired.
func (w *world) expired(value string) (expiry, bool) {
	for _, e := range w.expiries {
		if e.value == value {
			return e, true
		}
	}
	return expiry{}, false
}

// seconds formats a time to live to the second: the real time that a run takes is no part of it.
func seconds(d time.Duration) string { return d.Round(time.Second).String() }

// pass is the step of an actor during which d passes.
func (w *world) pass(ctx context.Context, h *explore.Handle, actor string, d time.Duration) error {
	return h.Step(ctx, fmt.Sprintf("(+%s)", d), func(ctx context.Context) (string, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.acts[actor]++
		return w.advance(ctx, d)
	})
}

// redis returns a client whose commands are steps of the actor, and whose effects on the key are recorded.
func (w *world) redis(h *explore.Handle, actor string) *redis.Client {
	client := h.Redis(w.admin)
	client.AddHook(observer{w, actor}) // after the handle's hook: it runs inside of the step
	return client
}

// observer records what an actor's commands change at the key.
type observer struct {
	world *world
	actor string
}

// inside marks the context of a command: the client sends commands of its own when it opens a connection for it.
type inside struct{}

// DialHook implements redis.Hook.
func (o observer) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (o observer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return o.observe(ctx, func(ctx context.Context) error { return next(ctx, cmd) })
	}
}

// ProcessPipelineHook implements redis.Hook.
func (o observer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return o.observe(ctx, func(ctx context.Context) error { return next(ctx, cmds) })
	}
}

func (o observer) observe(ctx context.Context, command func(ctx context.Context) error) error {
	if ctx.Value(inside{}) != nil {
		return command(ctx)
	}
	w := o.world
	w.mu.Lock()
	defer w.mu.Unlock()
	looks := context.WithoutCancel(ctx) // also when the learner's context has ended
	before, err := w.look(looks)
	if err != nil {
		return err
	}
	failed := command(context.WithValue(ctx, inside{}, true))
	if isUnknownScript(failed) {
		return failed // EVAL follows; the two are one step
	}
	after, err := w.look(looks)
	if err != nil {
		return err
	}
	w.acts[o.actor]++
	w.changes = append(w.changes, change{o.actor, w.acts[o.actor], w.since(), before, after})
	w.stored = after.value
	return failed
}

func isUnknownScript(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") }

// client is a process that uses the learner's lock.
type client struct {
	name    string
	world   *world
	maxHold time.Duration

	value   string
	held    bool  // Acquire returned nil
	refused error // of Acquire
	ended   bool  // Release or Renew returned
	endErr  error // what it returned
}

func (w *world) client(name string) *client {
	return &client{name: name, world: w, maxHold: maxHold}
}

func (c *client) lock(h *explore.Handle, clock Clock) Lock {
	return c.world.learner.New(c.world.redis(h, c.name), clock, c.world.key, ttl, c.maxHold)
}

// acquire takes the lock with the learner's Acquire.
func (c *client) acquire(ctx context.Context, l Lock) {
	c.value, c.refused = l.Acquire(ctx)
	c.held = c.refused == nil
}

// end calls the learner's Release or Renew.
func (c *client) end(ctx context.Context, do func(ctx context.Context, value string) error) {
	c.endErr = do(ctx, c.value)
	c.ended = true
}

// clock is the clock of a client: to sleep is a step.
type clock struct {
	client *client
	handle *explore.Handle
	// interrupt is called at the start of each sleep, with its number; it may end the context that the learner has.
	interrupt func(sleep int)
	sleeps    int
	ignored   int // how many sleeps began after their context had ended
}

// mayIgnore is how often a client may sleep with a context that has ended. Then its goroutine is ended: it would sleep
// for ever.
const mayIgnore = 3

// Now implements Clock.
func (c *clock) Now() time.Time {
	w := c.client.world
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Sleep implements Clock. Time passes also when ctx has ended, so that a loop that ignores it reaches its limit.
func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	w := c.client.world
	if ctx.Err() != nil {
		if c.ignored++; c.ignored > mayIgnore {
			runtime.Goexit()
		}
	}
	c.sleeps++
	if c.interrupt != nil {
		c.interrupt(c.sleeps)
	}
	err := c.handle.Step(context.WithoutCancel(ctx), fmt.Sprintf("Sleep(%s)", d), func(step context.Context) (string, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.acts[c.client.name]++
		result, err := w.advance(step, d)
		if err == nil && ctx.Err() != nil {
			result = ctx.Err().Error()
		}
		return result, err
	})
	if err != nil {
		return err
	}
	return ctx.Err()
}

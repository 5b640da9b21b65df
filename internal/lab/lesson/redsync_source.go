package lesson

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"

	"holdfast/internal/lab/step"
)

func redsyncSource() Lesson {
	return Lesson{Name: "redsync-source", Scenes: redsyncScenes}
}

// redsync's defaults, as its source has them (redsync.go, NewMutex).
const (
	redsyncExpiry = 8 * time.Second
	redsyncTries  = 32
)

// redsyncKey is the name that the course gives to the mutex of a product.
const redsyncKey = "goods_421"

func redsyncScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	return []step.Scene{
		e.scene(step.T("redsync-source.calls"), e.redsyncCalls),
		e.scene(step.T("redsync-source.long", redsyncExpiry, redsyncTries), e.redsyncLong),
	}, ctx.Err()
}

// redsyncStage is a Redis of the scene's own with its MONITOR, and what redsync did on it.
type redsyncStage struct {
	e       *Env
	addr    string
	monitor *redisMonitor
	expiry  time.Duration
}

func (e *Env) redsyncStage(ctx context.Context) (*redsyncStage, error) {
	server, err := e.OwnRedis(ctx)
	if err != nil {
		return nil, err
	}
	m, err := e.monitor(ctx, server.Addr)
	return &redsyncStage{e: e, addr: server.Addr, monitor: m, expiry: e.patience(redsyncExpiry)}, err
}

// redsyncUser is a mutex of redsync on a client of its own, as in a process of its own.
type redsyncUser struct {
	*redsyncStage
	mutex   *redsync.Mutex
	callers *callers
}

// user returns a mutex with redsync's defaults. Only with --step the expiry is longer.
func (r *redsyncStage) user() *redsyncUser {
	u := &redsyncUser{redsyncStage: r, callers: &callers{library: "github.com/go-redsync/redsync/v4", key: redsyncKey}}
	client := r.e.Client(r.addr)
	client.AddHook(u.callers)
	var options []redsync.Option
	if r.e.stepping() {
		options = append(options, redsync.WithExpiry(r.expiry))
	}
	u.mutex = redsync.New(goredis.NewPool(client)).NewMutex(redsyncKey, options...)
	return u
}

// outcome is what a call of redsync returned, the commands that the server executed for it, and who sent them.
type outcome struct {
	ok       bool
	err      error
	took     time.Duration
	commands []executed
	sent     []sent
}

// does executes a call and reads what the server executed meanwhile.
func (u *redsyncUser) does(ctx context.Context, o *outcome, call func(context.Context) (bool, error)) error {
	u.callers.take()
	from, err := u.monitor.mark(ctx, u.e)
	if err != nil {
		return err
	}
	start := time.Now()
	o.ok, o.err = call(ctx)
	o.took = time.Since(start)
	to, err := u.monitor.mark(ctx, u.e)
	o.commands, o.sent = u.monitor.between(from, to, redsyncKey), u.callers.take()
	return err
}

func (u *redsyncUser) lock(ctx context.Context) (bool, error) {
	err := u.mutex.LockContext(ctx)
	return err == nil, err
}

// call is a step with a call of redsync. Its result has the call's and each command with the functions that sent it.
func (u *redsyncUser) call(name, ask string, o *outcome, call func(context.Context) (bool, error)) step.Step {
	return step.Step{Label: step.T("redsync-source.call", name), Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
		err := u.does(ctx, o, call)
		returned := fmt.Sprint(o.ok)
		if o.err != nil {
			returned += ", " + strings.ReplaceAll(o.err.Error(), "\n", "; ")
		}
		if n := count(o.commands, false, "SET"); n > 1 {
			return step.Result{Text: step.T("redsync-source.tries", name, returned, rounded(o.took), n, count(o.commands, false, "EVALSHA", "EVAL"))}, err
		}
		return step.Result{Text: step.T("redsync-source.got", name, returned, o.lines())}, err
	}}
}

// lines formats the commands, each that a client has sent with its callers below it.
func (o *outcome) lines() string {
	var text strings.Builder
	next := 0
	for _, c := range o.commands {
		if c.script {
			fmt.Fprintf(&text, "\n         lua: %s", short(c.words))
			continue
		}
		fmt.Fprintf(&text, "\n      %s", short(c.words))
		if next < len(o.sent) {
			fmt.Fprintf(&text, "\n         <- %s", strings.Join(o.sent[next].callers, " <- "))
		}
		next++
	}
	return text.String()
}

// short formats a command without the source of its script and without the ends of long words.
func short(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		switch {
		case strings.Contains(w, "redis.call"):
			w = "SCRIPT"
		case len(w) > 12:
			w = w[:6] + "…"
		case w == "":
			w = `""`
		}
		out[i] = w
	}
	return strings.Join(out, " ")
}

// by reports whether the server executed the commands that were sent, and each was sent by the function of mutex.go.
func (o *outcome) by(function string) bool {
	next := 0
	for _, c := range o.commands {
		if c.script {
			continue
		}
		if next == len(o.sent) || o.sent[next].verb != c.words[0] ||
			!strings.Contains(strings.Join(o.sent[next].callers, " "), function+" (mutex.go:") {
			return false
		}
		next++
	}
	return next > 0 && next == len(o.sent)
}

// setsOnce reports whether the lock was one SET with NX and the expiry.
func (o *outcome) setsOnce(expiry time.Duration) bool {
	if len(o.commands) != 1 {
		return false
	}
	words := strings.ToLower(strings.Join(o.commands[0].words, " "))
	return strings.HasPrefix(words, "set ") && strings.HasSuffix(words, " nx") &&
		strings.Contains(words, fmt.Sprintf(" ex %d", int(expiry.Seconds())))
}

// scripted reports whether the last script read the key and then called the verbs, and no other ones.
func (o *outcome) scripted(verbs ...string) bool {
	var called []string
	for _, c := range o.commands {
		if c.script {
			called = append(called, c.words[0])
		}
	}
	return strings.Join(called, " ") == strings.Join(append([]string{"GET"}, verbs...), " ")
}

// redsyncCalls shows each call of a mutex that no other client wants.
func (e *Env) redsyncCalls(ctx context.Context) (*step.Stage, error) {
	r, err := e.redsyncStage(ctx)
	if err != nil {
		return nil, err
	}
	a, b := r.user(), r.user()
	var locked, extended, foreign, unlocked outcome
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{
				a.call("Lock", "redsync-source.lock.ask", &locked, a.lock),
				a.call("Extend", "redsync-source.extend.ask", &extended, a.mutex.ExtendContext),
				a.call("Unlock", "redsync-source.unlock.ask", &unlocked, a.mutex.UnlockContext),
			}},
			{Name: "B", Steps: []step.Step{b.call("Unlock", "redsync-source.foreign.ask", &foreign, b.mutex.UnlockContext)}},
		},
		Order: []string{"A", "A", "B", "A"},
		Look:  []step.Looker{lookKeys(r.monitor.client, redsyncKey, "")},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(locked.ok && locked.setsOnce(r.expiry) && locked.by("acquire"), "redsync-source.lock.claim", r.expiry)
			end.Check(extended.ok && extended.scripted("PEXPIRE") && extended.by("touch"), "redsync-source.extend.claim")
			end.Check(!foreign.ok && foreign.scripted() && foreign.by("release"), "redsync-source.foreign.claim")
			end.Check(unlocked.ok && unlocked.scripted("DEL") && unlocked.by("release"), "redsync-source.unlock.claim")
			return nil
		},
	}, nil
}

// redsyncLong shows a holder whose work takes longer than the expiry, and a client that wants the lock.
func (e *Env) redsyncLong(ctx context.Context) (*step.Stage, error) {
	r, err := e.redsyncStage(ctx)
	if err != nil {
		return nil, err
	}
	a, b := r.user(), r.user()
	var locked, refused, second, extended, late, unlocked outcome
	var begun, ended int
	locks := a.call("Lock", "", &locked, a.lock)
	lock := locks.Do
	locks.Do = func(ctx context.Context) (step.Result, error) {
		result, err := lock(ctx)
		if err == nil {
			begun, err = r.monitor.mark(ctx, e)
		}
		return result, err
	}
	gone := step.T("redsync-source.expires")
	expires := e.expires(gone, r.monitor.client, redsyncKey)
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "A", Steps: []step.Step{
				locks,
				a.call("Extend", "redsync-source.extend.ask.late", &extended, a.mutex.ExtendContext),
				a.call("Unlock", "redsync-source.unlock.ask.late", &late, a.mutex.UnlockContext),
			}},
			{Name: "B", Steps: []step.Step{
				b.call("Lock", "redsync-source.lock.ask.B", &refused, b.lock),
				b.call("Lock", "redsync-source.lock.ask.again", &second, b.lock),
				b.call("Unlock", "", &unlocked, b.mutex.UnlockContext),
			}},
			{Steps: []step.Step{{Label: gone, Do: func(ctx context.Context) (step.Result, error) {
				result, err := expires(ctx)
				if err == nil {
					ended, err = r.monitor.mark(ctx, e)
				}
				return result, err
			}}}},
		},
		Order: []string{"A", "B", "", "B", "A", "A", "B"},
		Look:  []step.Looker{lookKeys(r.monitor.client, redsyncKey, "")},
		End: func(_ context.Context, end *step.Ending) error {
			sets, scripts := count(refused.commands, false, "SET"), count(refused.commands, true, "GET")
			end.Check(!refused.ok && sets == redsyncTries && scripts == redsyncTries, "redsync-source.tries.claim", sets, scripts, rounded(refused.took))
			renewals := count(r.monitor.between(begun, ended, redsyncKey), true, "PEXPIRE")
			end.Check(locked.ok && renewals == 0 && second.ok, "redsync-source.long.claim", renewals)
			end.Check(!extended.ok && !late.ok && unlocked.ok, "redsync-source.late.claim")
			return nil
		},
	}, nil
}

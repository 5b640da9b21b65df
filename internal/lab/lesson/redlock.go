package lesson

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/step"
	"holdfast/pkg/lock"
)

func redlock() Lesson {
	return Lesson{Name: "redlock", Scenes: redlockScenes}
}

// redlockTTL is long: the lesson's faults must be finished before A renews, after a third of it.
const redlockTTL = 12 * time.Second

func redlockScenes(_ context.Context, e *Env) ([]step.Scene, error) {
	scene := func(title string, open func(ctx context.Context, v *voters) (*step.Stage, error)) step.Scene {
		return e.scene(step.T(title), func(ctx context.Context) (*step.Stage, error) {
			v := &voters{e: e, ttl: e.patience(redlockTTL)}
			for range 3 {
				node, err := e.OwnRedis(ctx)
				if err != nil {
					return nil, err
				}
				v.nodes = append(v.nodes, node)
			}
			return open(ctx, v)
		})
	}
	return []step.Scene{
		scene("redlock.down", oneDown),
		scene("redlock.forgetful", forgetful),
		scene("redlock.away", keptAway),
	}, nil
}

// voters are the lesson's own Redis servers.
type voters struct {
	e     *Env
	ttl   time.Duration
	nodes []*stack.Redis
	down  [3]bool
}

// locker returns a Redlock on the servers, like that of a separate process.
func (v *voters) locker() (*lock.Redlock, error) {
	var clients []redis.UniversalClient
	for _, node := range v.nodes {
		client := lock.NewClient([]string{node.Addr})
		v.e.Clean(func(context.Context) error { return client.Close() })
		clients = append(clients, client)
	}
	locker, err := lock.NewRedlock(clients, lock.WithTTL(v.ttl))
	if err != nil {
		return nil, err
	}
	v.e.Clean(func(context.Context) error { return locker.Close() })
	return locker, nil
}

// kill is a step in which servers are killed. They count from 1.
func (v *voters) kill(label step.Text, servers ...int) step.Step {
	return step.Step{Label: label, Do: func(context.Context) (step.Result, error) {
		for _, n := range servers {
			if err := v.nodes[n-1].Process.Kill(); err != nil {
				return step.Result{}, err
			}
			v.down[n-1] = true
		}
		return step.Result{}, nil
	}}
}

// restart is a step in which a server is started again without its data, like a Redis without persistence.
func (v *voters) restart(label step.Text, ask string, server int) step.Step {
	return step.Step{Label: label, Ask: ask, Do: func(ctx context.Context) (step.Result, error) {
		if err := v.nodes[server-1].Restart(ctx); err != nil {
			return step.Result{}, err
		}
		v.down[server-1] = false
		votes, err := v.votes(ctx)
		return step.Result{Text: step.T("redlock.restarted", server, votes)}, err
	}}
}

// votes says which servers have granted the lock (✓), have no lock (–) or are down (✗).
func (v *voters) votes(ctx context.Context) (string, error) {
	votes := make([]string, 0, len(v.nodes))
	for i, node := range v.nodes {
		if v.down[i] {
			votes = append(votes, fmt.Sprintf("%d ✗", i+1))
			continue
		}
		keys, err := v.e.Client(node.Addr).Keys(ctx, "*key:k").Result() // the server has no other keys
		if err != nil {
			return "", err
		}
		vote := "–"
		if len(keys) > 0 {
			vote = "✓"
		}
		votes = append(votes, fmt.Sprintf("%d %s", i+1, vote))
	}
	return strings.Join(votes, ", "), nil
}

// look shows the votes.
func (v *voters) look(ctx context.Context) (step.View, error) {
	votes, err := v.votes(ctx)
	return step.View{Name: step.T("redlock.servers"), Rows: []string{votes}}, err
}

// oneDown shows the benefit of Redlock, and its end.
func oneDown(_ context.Context, v *voters) (*step.Stage, error) {
	locker, err := v.locker()
	if err != nil {
		return nil, err
	}
	var valid bool
	var token int64
	var refused error
	one := step.Step{
		Label: step.T("redlock.acquire"), Ask: "redlock.acquire.ask",
		Do: func(ctx context.Context) (step.Result, error) {
			start := time.Now()
			lease, err := locker.Acquire(ctx, "k")
			if err != nil {
				return step.Result{}, err
			}
			valid, token = lease.Context().Err() == nil, lease.Token("k")
			return step.Result{Text: step.T("redlock.acquire.got", rounded(time.Since(start)))}, lease.Release(ctx)
		},
	}
	two := step.Step{
		Label: step.T("redlock.acquire"), Ask: "redlock.acquire.ask",
		Do: func(ctx context.Context) (step.Result, error) {
			_, refused = locker.Acquire(ctx, "k")
			return step.Result{Text: step.T("redlock.refused", refused)}, nil
		},
	}
	return &step.Stage{
		Actors: []*step.Actor{
			{Steps: []step.Step{v.kill(step.T("redlock.kill", 3), 3), v.kill(step.T("redlock.kill", 2), 2)}},
			{Name: "A", Steps: []step.Step{one, two}},
		},
		Order: []string{"", "A", "", "A"},
		Look:  []step.Looker{v.look},
		End: func(_ context.Context, end *step.Ending) error {
			end.Check(valid, "redlock.down.claim")
			end.Check(token == 0, "redlock.token.claim")
			end.Check(errors.Is(refused, lock.ErrUnavailable), "redlock.majority.claim")
			return nil
		},
	}, nil
}

// rivals are A, who locks while server 3 is down, and B, who comes when it is back.
type rivals struct {
	v     *voters
	first *lock.Redlock // of A
	other *lock.Redlock // of B
	a     *lock.Lease
}

func (v *voters) rivals() (*rivals, error) {
	first, err := v.locker()
	if err != nil {
		return nil, err
	}
	other, err := v.locker()
	return &rivals{v: v, first: first, other: other}, err
}

// lock is the step in which A locks on servers 1 and 2.
func (r *rivals) lock() step.Step {
	return step.Step{
		Label: step.T("redlock.acquire"),
		Do: func(ctx context.Context) (_ step.Result, err error) {
			if r.a, err = r.first.Acquire(ctx, "k"); err != nil {
				return step.Result{}, err
			}
			return step.Result{Text: step.T("redlock.held")}, nil
		},
	}
}

// forgetful lets a server grant the lock twice.
func forgetful(_ context.Context, v *voters) (*step.Stage, error) {
	r, err := v.rivals()
	if err != nil {
		return nil, err
	}
	var b *lock.Lease
	var both time.Time
	var valid bool
	var left time.Duration
	var first, late error
	refused := step.Step{
		Label: step.T("redlock.try"), Ask: "redlock.try.ask",
		Do: func(ctx context.Context) (step.Result, error) {
			_, first = r.other.Try(ctx, "k")
			return step.Result{Text: step.T("redlock.refused", first)}, nil
		},
	}
	granted := step.Step{
		Label: step.T("redlock.try"), Ask: "redlock.try.ask.again",
		Do: func(ctx context.Context) (_ step.Result, err error) {
			if b, err = r.other.Try(ctx, "k"); err != nil {
				return step.Result{}, err
			}
			both = time.Now()
			valid, left = r.a.Context().Err() == nil && b.Context().Err() == nil, time.Until(r.a.Until())
			votes, err := v.votes(ctx)
			return step.Result{Text: step.T("redlock.granted", votes)}, err
		},
	}
	return &step.Stage{
		Actors: []*step.Actor{
			{Steps: []step.Step{
				v.kill(step.T("redlock.kill", 3), 3), v.restart(step.T("redlock.restart", 3), "", 3),
				v.restart(step.T("redlock.restart-now", 2), "redlock.restart.ask", 2),
			}},
			{Name: "A", Steps: []step.Step{r.lock(), r.notice(&both), r.release(&late)}},
			{Name: "B", Steps: []step.Step{refused, granted}},
		},
		Order: []string{"", "A", "", "B", "", "B", "A", "A"},
		Look:  []step.Looker{v.look},
		End: func(ctx context.Context, end *step.Ending) error {
			end.Check(valid && errors.Is(first, lock.ErrHeld), "redlock.both.claim", rounded(left))
			end.Check(r.a.Token("k") == 0 && b.Token("k") == 0, "redlock.tokens.claim")
			end.Check(errors.Is(late, lock.ErrLost), "redlock.lost.claim")
			return b.Release(ctx)
		},
	}, nil
}

// notice is the step in which A notices the loss. When a reader steps, the next renewal is hours away, and A does not
// wait for it.
func (r *rivals) notice(both *time.Time) step.Step {
	return step.Step{
		Label: step.T("redlock.notice"), Ask: "redlock.notice.ask",
		Do: func(ctx context.Context) (step.Result, error) {
			if r.v.e.stepping() {
				return step.Result{Text: step.T("redlock.notice.later", r.v.ttl/3)}, nil
			}
			select {
			case <-r.a.Context().Done():
			case <-ctx.Done():
				return step.Result{}, ctx.Err()
			}
			cause := context.Cause(r.a.Context()) //nolint:contextcheck // The lease derives its context from ctx.
			return step.Result{Text: step.T("redlock.notice.got", rounded(time.Since(*both)), cause)}, nil
		},
	}
}

// release is the step in which A releases; late receives the error.
func (r *rivals) release(late *error) step.Step {
	return step.Step{Label: step.T("redlock.release"), Do: func(ctx context.Context) (step.Result, error) {
		*late = r.a.Release(ctx)
		return step.Result{Text: step.T("redlock.release.got", *late)}, nil
	}}
}

// keptAway shows the cure for a server that loses its data.
func keptAway(_ context.Context, v *voters) (*step.Stage, error) {
	r, err := v.rivals()
	if err != nil {
		return nil, err
	}
	var refused error
	try := step.Step{
		Label: step.T("redlock.try"), Ask: "redlock.try.ask",
		Do: func(ctx context.Context) (step.Result, error) {
			_, refused = r.other.Try(ctx, "k")
			return step.Result{Text: step.T("redlock.refused", refused)}, nil
		},
	}
	return &step.Stage{
		Actors: []*step.Actor{
			{Steps: []step.Step{
				v.kill(step.T("redlock.kill", 3), 3), v.restart(step.T("redlock.restart", 3), "", 3), v.kill(step.T("redlock.stays", 2), 2),
			}},
			{Name: "A", Steps: []step.Step{r.lock()}},
			{Name: "B", Steps: []step.Step{try}},
		},
		Order: []string{"", "A", "", "", "B"},
		Look:  []step.Looker{v.look},
		End: func(ctx context.Context, end *step.Ending) error {
			end.Check(refused != nil && r.a.Context().Err() == nil, "redlock.away.claim")
			_ = r.a.Release(ctx) // reaches only one server of three; the rest of the lock expires
			return nil
		},
	}, nil
}

package lesson

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/lab/step"
)

// duel has two seller processes, A and B, on one stock row.
type duel struct {
	e       *Env
	shelf   *shelf
	client  *redis.Client
	ttl     time.Duration
	lock    string // the key in Redis
	sellers map[string]*Process
	conns   map[string]int64 // the sellers' connections
	inUse   bool             // a scene has begun and not come to its end
	sales   sales
}

// sales is the result of several sales.
type sales struct {
	accepted, refused int64
	gone              int64 // decrease of the stock
}

// lost returns the number of sales that the row has not recorded.
func (s sales) lost() int64 { return s.accepted - s.gone }

// duel starts the sellers, which end with the scene, or with the lesson if no scene is open.
func (e *Env) duel(ctx context.Context, s *shelf) (*duel, error) {
	client, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	prefix := e.Key("locks:")
	d := &duel{
		e: e, shelf: s, client: client, ttl: e.ttl(leaseTTL), lock: lockName(prefix, sku),
		sellers: map[string]*Process{}, conns: map[string]int64{},
	}
	for _, name := range []string{"A", "B"} {
		p, err := e.Start("seller", client.Options().Addr, prefix, s.dsn, d.ttl.String(), e.patience(lockWait).String())
		if err != nil {
			return nil, err
		}
		ready, err := p.Await(ctx, "ready")
		if err != nil {
			return nil, err
		}
		if d.conns[name], err = strconv.ParseInt(ready, 10, 64); err != nil {
			return nil, err
		}
		s.setActor(d.conns[name], name)
		d.sellers[name] = p
	}
	return d, nil
}

// idle returns d for the next scene, with no sales, or another duel if a scene with d was left before its end: its
// sellers may be frozen or in a transaction, and would keep their locks.
func (d *duel) idle(ctx context.Context) (*duel, error) {
	if !d.inUse {
		d.inUse, d.sales = true, sales{}
		return d, nil
	}
	for _, seller := range d.sellers {
		if err := seller.Kill(); err != nil {
			return nil, err
		}
	}
	if err := d.client.Del(ctx, d.lock).Err(); err != nil { // of a seller that was killed, or ended with its scene
		return nil, err
	}
	return d.e.duel(ctx, d.shelf)
}

// stage returns the stage of a script. A line is "expiry", in which the lock of a frozen seller expires, or it names a
// seller and one of its orders (see [seller]), or:
//
//	freezes  stops the process (SIGSTOP)
//	wakes    resumes it (SIGCONT)
//
// A question may follow the line after " ? ", as a key of the catalogue.
func (d *duel) stage(script ...string) *step.Stage {
	a, b, clock := d.actor("A"), d.actor("B"), &step.Actor{}
	stage := &step.Stage{
		Actors: []*step.Actor{a, b, clock}, SideBySide: true,
		Notes: []step.Note{
			{Actor: "A", Text: step.T("seller.process", "A", d.sellers["A"].PID)},
			{Actor: "B", Text: step.T("seller.process", "B", d.sellers["B"].PID)},
		},
		Look: append(d.shelf.look(), d.e.lookKeys(d.client, "locks:")),
	}
	for _, line := range script {
		line, ask, _ := strings.Cut(line, " ? ")
		if line == "expiry" {
			label := step.T("seller.expiry", d.ttl)
			clock.Steps = append(clock.Steps, step.Step{Label: label, Ask: ask, Do: d.e.expires(label, d.client, d.lock)})
			stage.Order = append(stage.Order, "")
			continue
		}
		name, order, _ := strings.Cut(line, " ")
		actor := map[string]*step.Actor{"A": a, "B": b}[name]
		actor.Steps = append(actor.Steps, d.step(name, order, ask))
		stage.Order = append(stage.Order, name)
	}
	return stage
}

// actor returns an actor without steps.
func (d *duel) actor(name string) *step.Actor {
	return &step.Actor{Name: name, Blocked: func(ctx context.Context) (bool, error) {
		return d.shelf.blocked(ctx, d.conns[name])
	}}
}

func (d *duel) step(name, order, ask string) step.Step {
	s := step.Step{Label: step.T("seller." + order), Ask: ask, Statement: statementOf(order)}
	seller := d.sellers[name]
	switch order {
	case "freezes":
		s.Do = func(context.Context) (step.Result, error) { return step.Result{}, seller.Freeze() }
	case "wakes":
		s.Do = func(context.Context) (step.Result, error) { return step.Result{}, seller.Thaw() }
	default:
		s.Do = func(ctx context.Context) (step.Result, error) { return d.order(ctx, seller, order) }
	}
	return s
}

// order lets the seller execute an order. If a claim or a fenced write changes no row, the seller is refused: it rolls
// back and leaves.
func (d *duel) order(ctx context.Context, seller *Process, order string) (step.Result, error) {
	n, err := ask(ctx, seller, order)
	if err != nil {
		return step.Result{}, err
	}
	d.shelf.results.Lock()
	defer d.shelf.results.Unlock()
	switch {
	case order == "commit":
		d.sales.accepted++
		if n == 0 {
			return step.Result{Text: step.T("seller.commit.lost")}, nil
		}
		return step.Result{}, nil
	case n == 0 && (order == "claim" || order == "write-fenced"):
		d.sales.refused++
		_, err := ask(ctx, seller, "rollback")
		return step.Result{Text: step.T("seller." + order + ".refused"), Leaves: true}, err
	}
	return step.Result{Text: step.T("seller."+order+".got", n)}, nil
}

// ask sends an order and returns the number in the answer.
func ask(ctx context.Context, seller *Process, order string) (int64, error) {
	if err := seller.Tell(order); err != nil {
		return 0, err
	}
	answer, err := seller.Await(ctx, order)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(answer, 10, 64)
}

// repeat plays further rounds of the script without showing them, as one step.
func (d *duel) repeat(stage *step.Stage, rounds int, script []string) {
	stage.Actors[2].Steps = append(stage.Actors[2].Steps, step.Step{
		Label: step.T("seller.repeat", rounds),
		Do: func(ctx context.Context) (step.Result, error) {
			for range rounds {
				if err := step.PlayQuietly(ctx, d.stage(script...)); err != nil {
					return step.Result{}, err
				}
			}
			left, err := d.shelf.left(ctx)
			return step.Result{Text: step.T("seller.repeat.got", rounds, left)}, err
		},
	})
	stage.Order = append(stage.Order, "")
}

// expiryLimit is how long an expiry is waited for with --step, at most.
const expiryLimit = 3 * time.Second

// expires returns what a step does that waits until a key has expired. A step that has shortened the time to live says
// so.
func (e *Env) expires(label step.Text, client *redis.Client, key string) func(context.Context) (step.Result, error) {
	return func(ctx context.Context) (step.Result, error) {
		left, shortened, err := e.expiry(ctx, client, key)
		if shortened {
			label = step.T("lesson.shortened", label, left)
		}
		return step.Result{Text: label}, err
	}
}

// expiry waits until a key has expired. With --step, a long time to live is shortened first: it was long
// only so that there is time to think. It returns how long the key had to live, and whether that was shortened.
func (e *Env) expiry(ctx context.Context, client *redis.Client, key string) (left time.Duration, shortened bool, err error) {
	if left, err = client.PTTL(ctx, key).Result(); err != nil {
		return 0, false, err
	}
	if shortened = e.stepping() && left > expiryLimit; shortened {
		left = time.Second
		if err := client.PExpire(ctx, key, left).Err(); err != nil {
			return 0, false, err
		}
	}
	return left, shortened, e.Until(ctx, fmt.Sprintf("the key %s has expired", key), func(ctx context.Context) (bool, error) {
		n, err := client.Exists(ctx, key).Result()
		return n == 0, err
	})
}

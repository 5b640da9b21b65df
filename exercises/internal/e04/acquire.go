package e04

import (
	"context"
	"errors"
	"strings"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
)

// oneHolder has two processes want a free lock. One of them may be killed.
func oneHolder(w *world) explore.Scenario {
	var clients []*client
	return explore.Scenario{
		Deaths: 1,
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			clients = []*client{w.client("A"), w.client("B")}
			var actors []explore.Actor
			for _, c := range clients {
				actors = append(actors, explore.Actor{Name: c.name, Run: func(ctx context.Context, h *explore.Handle) error {
					c.acquire(ctx, c.lock(h, &clock{client: c, handle: h}))
					return c.refused
				}})
			}
			return actors, w.reset(ctx)
		},
		Judge: func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
			key, err := w.look(ctx)
			if err != nil {
				return nil, err
			}
			return judgeHolders(w, r, clients, key), nil
		},
	}
}

func judgeHolders(w *world, r *explore.Run, clients []*client, key state) *explore.Finding {
	var holders []*client
	dead := ""
	for _, c := range clients {
		switch {
		case died(r, c.name):
			dead = c.name
		case c.held:
			holders = append(holders, c)
		}
	}
	switch {
	case len(holders) == 2:
		return twoHolders(w, r, holders)
	case key.exists && key.ttl < 0 && dead != "":
		return finding("setnx-then-expire", args{dead, w.setBy(r, dead)}, args{w.setBy(r, dead), deathOf(r, dead)}, nil)
	case key.exists && key.ttl < 0:
		return finding("no-expiry", args{w.lastChange(r)}, args{w.lastChange(r)}, nil)
	case len(holders) == 1 && !key.exists:
		return finding("not-set", args{holders[0].name}, args{w.key}, nil)
	case len(holders) == 0 && dead == "":
		return finding("nobody", args{judge.Says(clients[0].refused), judge.Says(clients[1].refused)}, nil, nil)
	case len(holders) == 1:
		return judgeHolder(w, r, holders[0], clients, key)
	}
	return nil
}

// twoHolders explains how two clients have the lock.
func twoHolders(w *world, r *explore.Run, holders []*client) *explore.Finding {
	first, second := firstStep(r, holders[0].name), firstStep(r, holders[1].name)
	firstSet, secondSet := w.setBy(r, holders[0].name), w.setBy(r, holders[1].name)
	switch {
	case firstSet == 0 && secondSet == 0:
		return finding("not-set", args{holders[0].name}, args{w.key}, nil)
	case firstSet > first && secondSet > second && isLook(r, first) && isLook(r, second):
		return finding("check-then-set", nil, args{first, second, max(first, second), min(firstSet, secondSet)}, args{first, second})
	case firstSet > 0 && secondSet > 0:
		return finding("not-if-absent", nil, args{max(firstSet, secondSet), min(firstSet, secondSet)}, nil)
	}
	return finding("two-holders", nil, nil, nil)
}

// judgeHolder compares the key with what the one holder has, and what Acquire returned to the other client.
func judgeHolder(w *world, r *explore.Run, holder *client, clients []*client, key state) *explore.Finding {
	if holder.value != key.value {
		return finding("wrong-value", args{holder.name, holder.value, key.value}, nil, nil)
	}
	if key.ttl > ttl+tolerance || key.ttl < ttl-tolerance {
		return finding("wrong-expiry", args{seconds(key.ttl), ttl}, args{w.lastChange(r)}, nil)
	}
	for _, c := range clients {
		if c != holder && !died(r, c.name) && !errors.Is(c.refused, w.learner.ErrHeld) {
			return finding("held-not-reported", args{c.name, judge.Says(c.refused), holder.name}, nil, nil)
		}
	}
	return nil
}

// newValues has a process take the lock when the key of another one has expired.
func newValues(w *world) explore.Scenario {
	var a, b *client
	return explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			a, b = w.client("A"), w.client("B")
			return []explore.Actor{
				{Name: a.name, Run: func(ctx context.Context, h *explore.Handle) error {
					a.acquire(ctx, a.lock(h, &clock{client: a, handle: h}))
					return a.refused
				}},
				{Name: b.name, After: []string{a.name}, Run: func(ctx context.Context, h *explore.Handle) error {
					if err := w.pass(ctx, h, b.name, ttl); err != nil {
						return err
					}
					b.acquire(ctx, b.lock(h, &clock{client: b, handle: h}))
					return b.refused
				}},
			}, w.reset(ctx)
		},
		Judge: func(_ context.Context, r *explore.Run) (*explore.Finding, error) {
			switch {
			case !b.held:
				return finding("nobody", args{judge.Says(a.refused), judge.Says(b.refused)}, nil, nil), nil
			case a.value == b.value:
				return finding("same-value", args{a.value}, args{w.setBy(r, a.name), w.setBy(r, b.name)}, nil), nil
			}
			return nil, nil
		},
	}
}

// setBy returns the number of the step in which the actor set the key, or else that of its last command that is no mere
// look: a key that is set to what it had does not change. 0: none.
func (w *world) setBy(r *explore.Run, actor string) int {
	last := 0
	for _, c := range w.changes {
		number := stepOf(r.Steps, actor, c.nth)
		switch {
		case c.actor != actor || isLook(r, number):
		case c.sets():
			return number
		default:
			last = number
		}
	}
	return last
}

// lastChange returns the number of the last step that set the key or its expiry.
func (w *world) lastChange(r *explore.Run) int {
	for i := len(w.changes) - 1; i >= 0; i-- {
		c := w.changes[i]
		if c.sets() {
			return stepOf(r.Steps, c.actor, c.nth)
		}
	}
	return 0
}

// firstStep returns the number of the actor's first step. 0: it has none.
func firstStep(r *explore.Run, actor string) int { return stepOf(r.Steps, actor, 1) }

// deathOf returns the number of the step before which the actor was killed.
func deathOf(r *explore.Run, actor string) int {
	for i, s := range r.Steps {
		if s.Actor == actor && s.Died {
			return i + 1
		}
	}
	return 0
}

// isLook reports whether the step only looks at the key.
func isLook(r *explore.Run, number int) bool {
	if number == 0 {
		return false
	}
	command, _, _ := strings.Cut(strings.ToUpper(r.Steps[number-1].Does), " ")
	switch command {
	case "EXISTS", "GET", "TTL", "PTTL", "STRLEN", "TYPE", "WATCH", "UNWATCH":
		return true
	}
	return false
}

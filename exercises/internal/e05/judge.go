package e05

import (
	"context"
	"errors"
	"slices"
	"strings"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/judge"
)

// twoHolders has A sell one unit and B two. B takes the lock when A's key has expired.
func twoHolders(judge func(w *world, r *explore.Run, now row) *explore.Finding) func(w *world) explore.Scenario {
	return func(w *world) explore.Scenario {
		return explore.Scenario{
			Open: func(ctx context.Context) ([]explore.Actor, error) {
				err := w.reset(ctx, plenty)
				return []explore.Actor{w.holder("A", 1, false), w.holder("B", 2, true)}, err
			},
			Judge: func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
				now, err := w.look(ctx)
				if err != nil {
					return nil, err
				}
				return judge(w, r, now), nil
			},
		}
	}
}

// holder is an actor that takes the lock and sells qty units.
func (w *world) holder(name string, qty int, late bool) explore.Actor {
	s := w.seller(name, qty)
	return explore.Actor{Name: name, Run: func(ctx context.Context, h *explore.Handle) error {
		if err := w.acquire(ctx, h, s, late); err != nil || s.token == 0 {
			return err
		}
		return w.sell(ctx, h, s)
	}}
}

// sales returns the sellers whose Sell returned nil.
func (w *world) sales() []*seller {
	var sold []*seller
	for _, s := range w.sellers {
		if s.sold {
			sold = append(sold, s)
		}
	}
	return sold
}

// sold returns how many units the sellers have sold.
func (w *world) sold() int {
	units := 0
	for _, s := range w.sales() {
		units += s.qty
	}
	return units
}

// judgeStock compares the sales with what is left in the row.
func judgeStock(w *world, r *explore.Run, now row) *explore.Finding {
	for _, s := range w.sellers {
		if s.token != 0 && !s.sold && !errors.Is(s.err, w.learner.ErrStale) {
			return finding("sell-fails", args{s.name, judge.Says(s.err), w.available}, nil, nil)
		}
	}
	sold, gone := w.sold(), w.available-now.Available
	switch {
	case sold > 0 && gone == 0:
		return finding("nothing-sold", args{len(w.sales()), now.Available}, nil, nil)
	case sold > gone && len(w.sales()) == 2:
		return lostUpdate(w, r, sold, now)
	case sold != gone:
		return finding("stock-gone", args{sold, gone}, nil, nil)
	}
	return refusedTooEarly(w, r)
}

// refusedTooEarly explains a holder that was refused although no newer one had been at the row. Nil: none.
func refusedTooEarly(w *world, r *explore.Run) *explore.Finding {
	for _, s := range w.sellers {
		if s.token == 0 || s.sold {
			continue
		}
		newer := slices.ContainsFunc(w.sellers, func(o *seller) bool {
			wrote := firstStep(r, o.name, explore.Write, explore.LockingRead)
			return o.token > s.token && wrote > 0 && wrote < lastStep(r, s.name)
		})
		if !newer {
			return finding("refused-too-early", args{s.name, s.token, judge.Says(s.err)}, nil, nil)
		}
	}
	return nil
}

// lostUpdate explains a stock that went down by less than was sold: a write was based on a read that had become old.
func lostUpdate(w *world, r *explore.Run, sold int, now row) *explore.Finding {
	what := args{sold, w.available - now.Available, w.available, now.Available}
	later := w.sales()[0]
	for _, s := range w.sales() {
		if lastWrite(r, s.name) > lastWrite(r, later.name) {
			later = s
		}
	}
	earlier := w.sales()[0]
	if earlier == later {
		earlier = w.sales()[1]
	}
	read, write, visible := lastRead(r, later.name), lastWrite(r, later.name), committed(r, earlier.name)
	if read == 0 || read > visible { // nothing that was read had become old
		return finding("stock-gone", args{sold, w.available - now.Available}, nil, nil)
	}
	why := args{later.name, read, earlier.name, visible, later.name, write}
	claim, held := claimOf(r, later.name), firstStep(r, later.name, explore.Redis)
	switch {
	case claim == 0 && held > 0:
		return finding("fence-in-redis", what, append(why, held), args{held, write})
	case claim == 0:
		return finding("no-fence", what, why, args{later.token})
	case claim == write && read < claim:
		return finding("fence-in-write", what, why, args{read, write})
	case claim < write && read < claim:
		return finding("claim-after-read", what, why, args{claim, read})
	case !sameTransaction(r, later.name, claim, write):
		return finding("claim-without-transaction", what, append(why, claim), args{claim, write})
	}
	return finding("lost-update", what, nil, nil)
}

// judgeRefusals looks at whether the row refuses a holder that is too late.
func judgeRefusals(w *world, r *explore.Run, now row) *explore.Finding {
	newest := int64(0)
	for _, s := range w.sales() {
		newest = max(newest, s.token)
	}
	for _, s := range w.sellers {
		for _, o := range w.sellers {
			began := firstStep(r, s.name, explore.Write, explore.LockingRead)
			if s.token < o.token && s.sold && o.sold && began > lastStep(r, o.name) {
				return finding("stale-accepted", args{s.name, s.token, o.name, o.token}, args{lastStep(r, o.name), began}, nil)
			}
		}
	}
	if newest > now.Fence {
		return finding("fence-not-stored", args{newest, now.Fence}, nil, nil)
	}
	return nil
}

// oneLeaseTwice has a caller that did not get the answer of its sale send it again, with the same lease.
func oneLeaseTwice(w *world) explore.Scenario {
	return explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			if err := w.reset(ctx, plenty); err != nil {
				return nil, err
			}
			var actors []explore.Actor
			for _, name := range []string{"A", "A (retry)"} {
				s := w.seller(name, 1)
				s.token = firstToken
				actors = append(actors, explore.Actor{Name: name, Run: func(ctx context.Context, h *explore.Handle) error {
					return w.sell(ctx, h, s)
				}})
			}
			return actors, w.redis.Set(ctx, w.lock, "A", 0).Err()
		},
		Judge: func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
			now, err := w.look(ctx)
			if err != nil {
				return nil, err
			}
			sold, gone := w.sold(), w.available-now.Available
			switch {
			case sold == 2:
				return finding("same-token-twice", args{firstToken, gone}, args{
					firstStep(r, "A", explore.Write, explore.LockingRead), firstStep(r, "A (retry)", explore.Write, explore.LockingRead),
				}, args{firstToken}), nil
			case sold != gone:
				return finding("stock-gone", args{sold, gone}, nil, nil), nil
			case sold == 0:
				return finding("refused-too-early", args{"A", firstToken, judge.Says(w.sellers[0].err)}, nil, nil), nil
			}
			return nil, nil
		},
	}
}

// soldOut has a holder want more units than there are.
func soldOut(w *world) explore.Scenario {
	return explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			err := w.reset(ctx, 1)
			s := w.seller("A", 2)
			return []explore.Actor{{Name: s.name, Run: func(ctx context.Context, h *explore.Handle) error {
				if err := w.acquire(ctx, h, s, false); err != nil {
					return err
				}
				return w.sell(ctx, h, s)
			}}}, err
		},
		Judge: func(ctx context.Context, _ *explore.Run) (*explore.Finding, error) {
			now, err := w.look(ctx)
			if err != nil {
				return nil, err
			}
			if s := w.sellers[0]; now.Available != 1 || !errors.Is(s.err, w.learner.ErrOutOfStock) {
				return finding("not-refused", args{judge.Says(s.err), now.Available}, nil, nil), nil
			}
			return nil, nil
		},
	}
}

// firstStep returns the number of the actor's first step of one of the kinds. 0: none.
func firstStep(r *explore.Run, actor string, kinds ...explore.Kind) int {
	return 1 + slices.IndexFunc(r.Steps, func(s explore.Step) bool { return s.Actor == actor && slices.Contains(kinds, s.Kind) })
}

// lastOf returns the number of the last step that is as asked for. 0: none.
func lastOf(r *explore.Run, is func(s explore.Step) bool) int {
	for i := len(r.Steps); i > 0; i-- {
		if is(r.Steps[i-1]) {
			return i
		}
	}
	return 0
}

// lastStep returns the number of the actor's last step.
func lastStep(r *explore.Run, actor string) int {
	return lastOf(r, func(s explore.Step) bool { return s.Actor == actor })
}

// lastRead returns the number of the actor's last step that read the row.
func lastRead(r *explore.Run, actor string) int {
	return lastOf(r, func(s explore.Step) bool {
		return s.Actor == actor && (s.Kind == explore.Read || s.Kind == explore.LockingRead)
	})
}

// lastWrite returns the number of the actor's last step that set the available units.
func lastWrite(r *explore.Run, actor string) int {
	return lastOf(r, func(s explore.Step) bool { return s.Actor == actor && s.Kind == explore.Write && sets(s, "available") })
}

// claimOf returns the number of the actor's first step that set the fence. 0: none.
func claimOf(r *explore.Run, actor string) int {
	return 1 + slices.IndexFunc(r.Steps, func(s explore.Step) bool {
		return s.Actor == actor && s.Kind == explore.Write && sets(s, "fence")
	})
}

// sets reports whether the statement sets the column.
func sets(s explore.Step, column string) bool {
	before, _, _ := strings.Cut(strings.ToLower(s.Does), " where ")
	_, set, _ := strings.Cut(before, " set ")
	return strings.Contains(set, column)
}

// committed returns the number of the step that made the actor's last write of the available units visible to others.
func committed(r *explore.Run, actor string) int {
	write := lastWrite(r, actor)
	for i, s := range r.Steps[write:] {
		if s.Actor == actor && s.Kind == explore.Commit {
			return write + i + 1
		}
	}
	return write
}

// sameTransaction reports whether one transaction of the actor has both steps.
func sameTransaction(r *explore.Run, actor string, first, second int) bool {
	open := false
	for i, s := range r.Steps[:second] {
		if s.Actor != actor {
			continue
		}
		switch s.Kind {
		case explore.Begin:
			open = i < first
		case explore.Commit, explore.Rollback:
			open = false
		}
	}
	return open
}

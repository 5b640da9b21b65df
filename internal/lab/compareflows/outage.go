package compareflows

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"holdfast/pkg/wait"
)

// sampling is the interval at which the orders in doubt are counted.
const sampling = 100 * time.Millisecond

// outage stops inventory while orders arrive at a rate, and measures how many are in doubt, and for how long. Clients
// follow their orders until these are decided.
func (s *site) outage(ctx context.Context, p Preset, flow string) (out Outage, err error) {
	out = Outage{Flow: flow, Seconds: p.Outage.Seconds()}
	if err := s.decided(ctx, flow); err != nil {
		return out, err
	}
	// What was sampled until an error is not reported, so only the end of the goroutines matters then.
	ctx, cancel := context.WithTimeout(ctx, p.Outage+patience)
	defer cancel()
	t := &tally{}
	most := s.sample(ctx, flow)
	var clients sync.WaitGroup
	if err := s.pause(); err != nil {
		cancel()
		_, _ = most()
		return out, errors.Join(err, s.resume())
	}
	out.Sent = s.arrive(ctx, p, flow, t, &clients)
	if err := errors.Join(s.resume(), ctx.Err()); err != nil {
		cancel()
		clients.Wait()
		_, _ = most()
		return out, err
	}
	back := time.Now()
	err = s.decided(ctx, flow)
	out.Decided = time.Since(back).Seconds()
	clients.Wait() // an order whose client is still waiting is not decided for that client
	out.Known = time.Since(back).Seconds()
	cancelled := ctx.Err()
	cancel()
	var failed error
	out.MostInDoubt, failed = most()
	if err := errors.Join(err, cancelled, failed); err != nil {
		return out, fmt.Errorf("outage: %w", err)
	}
	out.fill(t.all)
	return out, nil
}

// arrive lets orders arrive for as long as the outage lasts, whatever is answered. It returns how many arrived.
func (s *site) arrive(ctx context.Context, p Preset, flow string, t *tally, clients *sync.WaitGroup) (sent int) {
	begin := time.Now()
	for ; float64(sent) < p.Rate*p.Outage.Seconds(); sent++ {
		due := begin.Add(time.Duration(float64(sent) / p.Rate * float64(time.Second)))
		if wait.Sleep(ctx, time.Until(due)) != nil {
			return sent
		}
		b := s.buyers[sent%len(s.buyers)]
		clients.Go(func() { t.add(b.order(ctx, flow)) })
	}
	_ = wait.Sleep(ctx, time.Until(begin.Add(p.Outage)))
	return sent
}

// sample counts the orders in doubt until ctx is done. The function that it returns waits for that, and returns the
// most that were in doubt at the same time.
func (s *site) sample(ctx context.Context, flow string) func() (most int, err error) {
	var most int
	var failed error
	var running sync.WaitGroup
	running.Go(func() {
		for wait.Sleep(ctx, sampling) == nil {
			n, err := s.pending(ctx, flow)
			if err != nil {
				if ctx.Err() == nil {
					failed = err
				}
				return
			}
			most = max(most, n)
		}
	})
	return func() (int, error) {
		running.Wait()
		return most, failed
	}
}

// fill counts how the orders of the outage ended.
func (o *Outage) fill(all []outcome) {
	for _, one := range all {
		switch {
		case one.placed():
			o.Placed++
		case one.refusal != "":
			o.Refused++
			o.Refusals = count(o.Refusals, one.refusal)
		default:
			o.Ended = count(o.Ended, one.status)
		}
	}
}

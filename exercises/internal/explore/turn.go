package explore

import (
	"context"
	"slices"
	"time"

	"holdfast/internal/lab/step"
)

// options returns what the schedule can do now: first to go on as it is, then what else is possible. forced: there is
// nothing to decide, and no other schedule is made from this place.
func (p *play) options() (options []option, forced bool) {
	if len(p.actors) == 0 {
		return nil, false
	}
	if a := p.last; a != nil && a.state == parked && p.began(a) {
		return []option{{choice: choice{actor: a.index}}}, true // BEGIN takes no lock and no snapshot: nothing depends on it
	}
	first := p.nextByTurn()
	goesOn := p.last != nil && p.last.state == parked && first == p.last
	yields := goesOn && p.repeated(p.last) >= yieldAfter
	for i := range p.actors {
		a := p.actors[(first.index+i)%len(p.actors)]
		if a.state != parked || a == p.last && yields {
			continue
		}
		o := option{choice: choice{actor: a.index}}
		if p.last != nil && p.last.state == parked && !yields && a != first {
			o.cost = 1
		}
		options = append(options, o)
	}
	if len(options) == 0 && yields {
		options = []option{{choice: choice{actor: p.last.index}}}
	}
	if p.deaths > 0 {
		for _, o := range slices.Clone(options) {
			o.kill = true
			o.cost++
			options = append(options, o)
		}
	}
	return options, false
}

// began reports whether the last step was the actor's BEGIN.
func (p *play) began(a *actor) bool {
	if len(p.steps) == 0 {
		return false // its first step waits, and another goroutine of it wants to act
	}
	s := p.steps[len(p.steps)-1]
	return s.Actor == a.def.Name && s.Kind == Begin
}

// nextByTurn returns the actor whose turn it is: the one that acted last, unless the scenario names another one.
func (p *play) nextByTurn() *actor {
	last := p.actors[0]
	if p.last != nil {
		last = p.last
	}
	if p.turn == nil {
		return last
	}
	var can []string
	for _, a := range p.actors {
		if a.state == parked {
			can = append(can, a.def.Name)
		}
	}
	if len(can) == 0 {
		return last
	}
	name := p.turn(p.steps, can)
	for _, a := range p.actors {
		if a.def.Name == name {
			return a
		}
	}
	return last
}

// repeated returns how often the actor's last step, with its result, occurs since others last acted.
func (p *play) repeated(a *actor) int {
	if len(p.steps) == 0 {
		return 0
	}
	if s := p.steps[len(p.steps)-1]; s.Actor == a.def.Name {
		return p.streak[signature(s)] - 1
	}
	return 0
}

func signature(s Step) string { return s.Actor + "\n" + s.Does + "\n" + s.Result }

// choose takes the schedule's choice, and after its end the first option.
func (p *play) choose(options []option, forced bool) choice {
	if forced {
		return options[0].choice
	}
	chosen := options[0].choice
	if at := len(p.places); at < len(p.begin) {
		possible := slices.ContainsFunc(options, func(o option) bool { return o.choice == p.begin[at] })
		if possible { // not: the actors did something else this time
			chosen = p.begin[at]
		}
	}
	p.places = append(p.places, place{chosen: chosen, options: options})
	return chosen
}

// take has the chosen actor take its next step, or kills it.
func (p *play) take(ctx context.Context, c choice) (*Finding, error) {
	a := p.actors[c.actor]
	if p.last != a {
		clear(p.streak)
	}
	p.last = a
	q := a.queue[0]
	a.current, a.queue = q, a.queue[1:]
	q.began = len(p.steps)
	if c.kill {
		return nil, p.kill(ctx, a)
	}
	a.state = acting
	q.granted <- true
	began := time.Now()
	for pause := quickStep; !q.done; pause = pollInterval {
		if moved, err := p.await(ctx, pause); err != nil {
			return nil, err
		} else if moved {
			continue
		}
		waits, err := p.waits(ctx, a, q, began)
		if err != nil {
			return nil, err
		}
		if waits {
			p.letWait(a, q)
			return nil, nil
		}
	}
	p.finish(a, q)
	return p.settle(ctx, a)
}

// waits reports whether a step that was taken at the given time waits for another actor.
func (p *play) waits(ctx context.Context, a *actor, q *request, began time.Time) (bool, error) {
	if time.Since(began) >= answerTimeout {
		return false, errSilent(a, q)
	}
	if q.conn != nil {
		return q.conn.blocked(ctx)
	}
	return q.mayWait && time.Since(began) >= longStep, nil
}

// letWait puts the actor's step aside, so that the others act, or other goroutines of the actor.
func (p *play) letWait(a *actor, q *request) {
	q.waited = true
	a.current, a.waits, a.state = nil, append(a.waits, q), waiting
	if len(a.queue) > 0 {
		a.state = parked
	}
}

// released returns a step of the actor that waited and has ended now. Nil: none.
func (p *play) released(ctx context.Context, a *actor) (*request, error) {
	for _, q := range a.waits {
		began := time.Now()
		for !q.done {
			still, err := p.waits(ctx, a, q, began)
			if err != nil {
				return nil, err
			}
			if still {
				break
			}
			if _, err := p.await(ctx, pollInterval); err != nil {
				return nil, err
			}
		}
		if q.done {
			return q, nil
		}
	}
	return nil, nil
}

// finish lists a step of the actor, which has ended, and lets its own code go on.
func (p *play) finish(a *actor, q *request) {
	o := q.outcome
	p.record(a, q, Step{Result: o.result, Failed: o.failed, Rows: o.rows, Changed: o.changed, Err: o.err})
	last := signature(p.steps[len(p.steps)-1])
	p.repeats[last]++
	if p.last == a {
		p.streak[last]++
	}
	a.waits = slices.DeleteFunc(a.waits, func(other *request) bool { return other == q })
	a.current, a.state = nil, computing
	if len(a.queue) > 0 {
		a.state = parked // another goroutine of the actor wants to take a step
	}
	close(q.resumed)
}

// kill ends the actor as the end of its process does, before the step that it was about to take.
func (p *play) kill(ctx context.Context, a *actor) error {
	p.deaths--
	p.record(a, a.current, Step{Died: true, Err: ErrDied})
	a.died = true
	a.cancel()
	if err := a.handle.die(ctx); err != nil {
		return err
	}
	close(a.current.granted)
	for _, q := range a.queue {
		close(q.granted)
	}
	a.current, a.queue, a.waits, a.state = nil, nil, nil, computing
	for end := time.Now().Add(endTimeout); a.state != ended && time.Now().Before(end); {
		if _, err := p.await(ctx, pollInterval); err != nil {
			return err
		}
	}
	if a.state != ended { // its code heeds no error; nothing that it does reaches a server
		a.state = ended
	}
	return nil
}

// endless returns a finding if the run does not come to an end.
func (p *play) endless() *Finding {
	if len(p.steps) == 0 {
		return nil // the first step waits for another actor
	}
	last := p.steps[len(p.steps)-1]
	if n := p.repeats[signature(last)]; n >= maxRepeats || len(p.steps) >= maxSteps {
		f := p.stuck("explore.endless")
		f.What = step.T("explore.endless", last.Actor, len(p.steps))
		f.Why = step.T("explore.repeats", last.Actor, n, last.Does)
		return f
	}
	return nil
}

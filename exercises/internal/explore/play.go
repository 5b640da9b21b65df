package explore

import (
	"context"
	"fmt"
	"time"

	"holdfast/internal/lab/step"
)

const (
	// quickStep is how long a step takes that needs no look whether it waits.
	quickStep = 15 * time.Millisecond
	// pollInterval is how often the server is asked whether a step waits.
	pollInterval = 5 * time.Millisecond
	// longStep is when a step is taken to wait if no server can be asked.
	longStep = 150 * time.Millisecond
	// longPause is when the others go on while an actor's own code comes to no step: it sleeps, or waits in memory.
	longPause = time.Second
	// standstill is how long no actor can act before the run is given up.
	standstill = 3 * time.Second
	// answerTimeout is how long a server may take for a step that waits for no other actor.
	answerTimeout = 30 * time.Second
	// endTimeout is how long the actors have to end after the run.
	endTimeout = 5 * time.Second

	maxSteps   = 400 // of a run
	maxRepeats = 100 // of one step in a run, with the same result
	yieldAfter = 2   // repetitions of a step, with the same result, after which another actor acts
)

// play is one run.
type play struct {
	actors  []*actor
	begin   []choice // the schedule
	deaths  int      // that are left
	turn    func(steps []Step, can []string) string
	scripts *scripts

	events chan event
	over   chan struct{} // closed when the run has ended

	steps       []Step
	places      []place
	last        *actor // who acted last; nil: nobody
	streak      map[string]int
	repeats     map[string]int
	processLock *Finding
}

func newPlay(actors []Actor, begin []choice, s Scenario, known *scripts) *play {
	p := &play{
		begin: begin, deaths: s.Deaths, turn: s.Turn, scripts: known, events: make(chan event), over: make(chan struct{}),
		streak: map[string]int{}, repeats: map[string]int{},
	}
	for i, def := range actors {
		a := &actor{def: def, index: i, play: p, gone: make(chan struct{})}
		a.handle = &Handle{a: a}
		p.actors = append(p.actors, a)
	}
	return p
}

// play runs the actors until all have ended. A finding is one of the package's own.
func (p *play) play(ctx context.Context) (*Finding, error) {
	for _, a := range p.actors {
		a.ctx, a.cancel = context.WithCancel(ctx)
	}
	for {
		if f, err := p.collect(ctx); f != nil || err != nil {
			return f, err
		}
		options, forced := p.options()
		if len(options) == 0 {
			if p.allEnded() {
				return nil, nil
			}
			moved, err := p.await(ctx, standstill)
			if err != nil {
				return nil, err
			}
			if !moved {
				return p.stuck("explore.nobody-acts"), nil
			}
			continue
		}
		c := p.choose(options, forced)
		if f, err := p.take(ctx, c); f != nil || err != nil {
			return f, err
		}
		if f := p.endless(); f != nil {
			return f, nil
		}
	}
}

// collect starts the actors that may begin, and lets those go on whose step no longer waits, one after the other: no
// two actors run their own code at the same time.
func (p *play) collect(ctx context.Context) (*Finding, error) {
	for again := true; again; {
		again = false
		for _, a := range p.actors {
			switch {
			case a.state == asleep && a.mayStart():
				a.start()
			default:
				q, err := p.released(ctx, a)
				if err != nil {
					return nil, err
				}
				if q == nil {
					continue
				}
				p.finish(a, q)
			}
			again = true
			if f, err := p.settle(ctx, a); f != nil || err != nil {
				return f, err
			}
		}
	}
	return nil, nil
}

// settle waits until the actor's own code comes to its next step, or ends.
func (p *play) settle(ctx context.Context, a *actor) (*Finding, error) {
	began := time.Now()
	for a.state == computing {
		moved, err := p.await(ctx, quickStep)
		if err != nil {
			return nil, err
		}
		if moved || a.state != computing {
			continue
		}
		switch waited := time.Since(began); {
		case waited >= longStep && waitsForMutex(a.thread):
			a.state = away
			if p.processLock == nil {
				p.processLock = &Finding{
					ID: ProcessLock, What: step.T("explore.process-lock", a.def.Name),
					Why: step.T("explore.process-lock.why", a.def.Name), Do: step.T("explore.process-lock.do"),
				}
			}
		case waited >= longPause:
			a.state = away
		}
	}
	return p.ending(a), nil
}

// ending returns the finding about how an actor has ended, or nil.
func (p *play) ending(a *actor) *Finding {
	switch {
	case a.state != ended || a.died:
		return nil
	case a.panicked != nil:
		return &Finding{
			ID: Panicked, What: step.T("explore.panic", a.def.Name, a.panicked.text, a.panicked.where),
			Why: p.afterStep(), Do: step.T("explore.panic.do"),
		}
	default:
		for end := time.Now().Add(longStep); a.handle.inTransaction(); time.Sleep(pollInterval) {
			if time.Now().After(end) { // not: the end of the learner's own context is about to roll it back
				return &Finding{
					ID: OpenTransaction, What: step.T("explore.open-transaction", a.def.Name),
					Why: step.T("explore.open-transaction.why", a.def.Name), Do: step.T("explore.open-transaction.do"),
				}
			}
		}
	}
	return nil
}

// afterStep says which step was the last.
func (p *play) afterStep() step.Text {
	if len(p.steps) == 0 {
		return step.T("explore.before-steps")
	}
	return step.T("explore.after-step", len(p.steps))
}

// await handles the next event. False: none came in time.
func (p *play) await(ctx context.Context, within time.Duration) (bool, error) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case e := <-p.events:
		p.handle(e)
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (p *play) handle(e event) {
	a := e.actor
	switch e.kind {
	case arrived:
		a.queue = append(a.queue, e.request)
		if a.state == computing || a.state == away || a.state == waiting {
			a.state = parked
		}
	case finished:
		e.request.done = true
	case returned:
		a.state, a.err, a.panicked = ended, e.err, e.panic
	}
}

func (p *play) allEnded() bool {
	for _, a := range p.actors {
		if a.state != ended && a.state != asleep {
			return false
		}
	}
	return true
}

// isOver is called by all goroutines.
func (p *play) isOver() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// result is what the judge gets.
func (p *play) result() *Run {
	r := &Run{Steps: p.steps, Errs: map[string]error{}}
	for _, a := range p.actors {
		r.Errs[a.def.Name] = a.err
		if a.died {
			r.Errs[a.def.Name] = ErrDied
		}
	}
	return r
}

// end ends the run: each actor that still runs is cancelled and waited for.
func (p *play) end() {
	close(p.over)
	for _, a := range p.actors {
		a.cancel()
	}
	deadline, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	for _, a := range p.actors {
		if a.state == asleep {
			continue
		}
		select {
		case <-a.gone:
		case <-deadline.Done(): // it neither acts nor heeds its context: nothing can end it
		}
	}
	for _, a := range p.actors {
		a.handle.close()
	}
}

// stuck is the finding of a run in which an actor does not end.
func (p *play) stuck(key string) *Finding {
	f := &Finding{ID: StandsStill, What: step.T(key), Do: step.T("explore.stands-still.do"), Why: p.afterStep()}
	for _, a := range p.actors {
		for _, q := range a.waits {
			p.record(a, q, Step{Unfinished: true})
			f.Why = step.T("explore.waits", a.def.Name, q.does)
		}
	}
	for _, a := range p.actors {
		if a.state == away || a.state == computing {
			f.Why = step.T("explore.computes", a.def.Name)
		}
	}
	return f
}

// record lists a step of the actor.
func (p *play) record(a *actor, q *request, s Step) {
	s.Actor, s.Kind, s.Does, s.Began, s.Waited = a.def.Name, q.kind, q.does, q.began, q.waited
	if q.conn != nil {
		s.Session = q.conn.id
	}
	p.steps = append(p.steps, s)
}

// errSilent is a server that does not answer.
func errSilent(a *actor, q *request) error {
	return fmt.Errorf("step %q of %s: no answer within %v", q.does, a.def.Name, answerTimeout)
}

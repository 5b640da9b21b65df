package explore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	defaultRuns     = 300
	defaultTime     = 20 * time.Second
	defaultSwitches = 3
)

func (l Limits) withDefaults() Limits {
	if l.Runs == 0 {
		l.Runs = defaultRuns
	}
	if l.Time == 0 {
		l.Time = defaultTime
	}
	if l.Switches == 0 {
		l.Switches = defaultSwitches
	}
	return l
}

// choice is what the schedule does at one place: the actor takes its next step, or is killed before it.
type choice struct {
	actor int
	kill  bool
}

// option is a choice and the number of switches that it counts as. Going on with the same actor is none, and so is the
// choice of the next one when the actor cannot go on: it has ended, or waits.
type option struct {
	choice
	cost int
}

// place is a place in a run where the schedule had a choice.
type place struct {
	chosen  choice
	options []option // with the chosen one
}

// Explore runs the scenario under one schedule after another. It returns the first finding, or nil if none was found
// within the limits. All goroutines that it started have ended, unless learner code neither acts nor heeds its context.
// Errors: of the scenario's functions; the context's; of a server that does not answer.
func Explore(ctx context.Context, s Scenario, l Limits) (*Finding, error) {
	l = l.withDefaults()
	end := time.Now().Add(l.Time)
	x := &exploration{scenario: s, scripts: &scripts{names: map[string]string{}}}
	// A schedule is how its run begins: the choices at the first places. Then each actor goes on while it can.
	schedules := make([][][]choice, l.Switches+1) // by the number of switches
	schedules[0] = [][]choice{nil}
	runs := 0
	for switches := range schedules {
		for next := 0; next < len(schedules[switches]); next++ {
			if runs == l.Runs || time.Now().After(end) {
				return x.processLock, nil
			}
			runs++
			begin := schedules[switches][next]
			finding, places, err := x.run(ctx, begin)
			if finding != nil || err != nil {
				return finding, err
			}
			for at := len(begin); at < len(places); at++ {
				for _, o := range places[at].options {
					if cost := switches + o.cost; o.choice != places[at].chosen && cost <= l.Switches {
						schedules[cost] = append(schedules[cost], varied(places, at, o.choice))
					}
				}
			}
		}
	}
	return x.processLock, nil
}

// varied returns the choices of a run up to a place, and another one there.
func varied(places []place, at int, other choice) []choice {
	begin := make([]choice, 0, at+1)
	for _, p := range places[:at] {
		begin = append(begin, p.chosen)
	}
	return append(begin, other)
}

// exploration is what the runs share.
type exploration struct {
	scenario Scenario
	scripts  *scripts
	// processLock is a finding that counts only if there is no other: an actor had to wait for memory of this process.
	processLock *Finding
}

// run opens the scenario, plays it under the schedule that begins as given, and has it judged.
func (x *exploration) run(ctx context.Context, begin []choice) (f *Finding, places []place, err error) {
	actors, err := x.scenario.Open(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("open the scenario: %w", err)
	}
	if x.scenario.Close != nil {
		defer func() { err = errors.Join(err, x.scenario.Close(context.WithoutCancel(ctx))) }()
	}
	p := newPlay(actors, begin, x.scenario, x.scripts)
	f, err = p.play(ctx)
	p.end()
	if f != nil {
		f.Steps = p.steps
	}
	if f != nil || err != nil {
		return f, nil, err
	}
	if p.processLock != nil && x.processLock == nil {
		p.processLock.Steps = p.steps
		x.processLock = p.processLock
	}
	run := p.result()
	f, err = x.scenario.Judge(ctx, run)
	if err != nil {
		return nil, nil, fmt.Errorf("judge the run: %w", err)
	}
	if f != nil && f.Steps == nil {
		f.Steps = run.Steps
	}
	return f, p.places, nil
}

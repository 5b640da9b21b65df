package lesson

import (
	"context"

	"holdfast/internal/lab/step"
)

func threePhaseCommit() Lesson {
	return Lesson{Name: "three-phase-commit", Scenes: threePhaseCommitScenes}
}

// The states of a participant of three-phase commit.
const (
	phaseAsked        = "asked"        // has not voted
	phaseReady        = "ready"        // has voted yes
	phasePrecommitted = "precommitted" // was told that all have voted yes
	phaseCommitted    = "committed"
	phaseAborted      = "aborted"
)

// simulation is three-phase commit as messages between a coordinator and two participants. No database offers the
// protocol, so nothing here is stored: the lesson is about which message each participant has when it must decide.
type simulation struct {
	states map[string]string // of the participants
}

func threePhaseCommitScenes(_ context.Context, e *Env) ([]step.Scene, error) {
	return []step.Scene{
		e.scene(step.T("three-phase-commit.dead"), func(context.Context) (*step.Stage, error) { return newSimulation().dead(), nil }),
		e.scene(step.T("three-phase-commit.cut"), func(context.Context) (*step.Stage, error) { return newSimulation().cut(), nil }),
	}, nil
}

func newSimulation() *simulation {
	return &simulation{states: map[string]string{"orders": phaseAsked, "inventory": phaseAsked}}
}

// dead has the coordinator die when both participants have received that all have voted yes.
func (s *simulation) dead() *step.Stage {
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "coordinator", Steps: []step.Step{s.sends("asks", phaseReady, "orders", "inventory"), s.sends("precommits", phasePrecommitted, "orders", "inventory"), s.silent("dies")}},
			{Name: "orders", Steps: []step.Step{s.timesOut("orders", "three-phase-commit.dead.ask")}},
			{Name: "inventory", Steps: []step.Step{s.timesOut("inventory", "")}},
		},
		Order: []string{"coordinator", "coordinator", "coordinator", "orders", "inventory"},
		Look:  s.look(),
		End: func(_ context.Context, end *step.Ending) error {
			s.table(end)
			end.Check(s.states["orders"] == phaseCommitted && s.states["inventory"] == phaseCommitted, "three-phase-commit.dead.claim")
			return nil
		},
	}
}

// cut has the network fail between the two messages that say that all have voted yes.
func (s *simulation) cut() *step.Stage {
	return &step.Stage{
		Actors: []*step.Actor{
			{Name: "coordinator", Steps: []step.Step{s.sends("asks", phaseReady, "orders", "inventory"), s.sends("precommits-one", phasePrecommitted, "orders")}},
			{Name: "", Steps: []step.Step{s.silent("partition")}},
			{Name: "orders", Steps: []step.Step{s.timesOut("orders", "three-phase-commit.cut.ask")}},
			{Name: "inventory", Steps: []step.Step{s.timesOut("inventory", "")}},
		},
		Order: []string{"coordinator", "coordinator", "", "orders", "inventory"},
		Look:  s.look(),
		End: func(_ context.Context, end *step.Ending) error {
			s.table(end)
			end.Check(s.states["orders"] == phaseCommitted && s.states["inventory"] == phaseAborted, "three-phase-commit.cut.claim")
			return nil
		},
	}
}

// sends is a message of the coordinator that reaches participants, who go to a state and answer.
func (s *simulation) sends(what, state string, to ...string) step.Step {
	return step.Step{Label: step.T("three-phase-commit." + what), Do: func(context.Context) (step.Result, error) {
		for _, name := range to {
			s.states[name] = state
		}
		return step.Result{}, nil
	}}
}

// silent is a step in which no message is sent.
func (s *simulation) silent(what string) step.Step {
	return step.Step{Label: step.T("three-phase-commit." + what), Do: func(context.Context) (step.Result, error) { return step.Result{}, nil }}
}

// timesOut has a participant decide alone, by the rule of the protocol: it commits if it has received that all have
// voted yes, and aborts otherwise.
func (s *simulation) timesOut(name, ask string) step.Step {
	return step.Step{Label: step.T("three-phase-commit.times-out"), Ask: ask, Do: func(context.Context) (step.Result, error) {
		before := s.states[name]
		s.states[name] = phaseAborted
		if before == phasePrecommitted {
			s.states[name] = phaseCommitted
		}
		return step.Result{Text: step.T("three-phase-commit.times-out.got", before, s.states[name])}, nil
	}}
}

func (s *simulation) look() []step.Looker {
	return []step.Looker{func(context.Context) (step.View, error) {
		return step.View{Name: step.T("three-phase-commit.states"), Rows: []string{"orders=" + s.states["orders"], "inventory=" + s.states["inventory"]}}, nil
	}}
}

func (s *simulation) table(end *step.Ending) {
	end.Table([]any{step.T("three-phase-commit.participant"), step.T("three-phase-commit.ended")},
		[]any{"orders", s.states["orders"]}, []any{"inventory", s.states["inventory"]})
}

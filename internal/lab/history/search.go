package history

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"
)

type verdict int

const (
	accepted verdict = iota
	refuted
	undecided
)

// budget bounds a search in steps, not in seconds: the verdict must not depend on the machine's load. It takes one to
// three seconds. Correct histories of 400 calls with a hundred concurrent ones took 35,000 steps at most. A wrong
// history that the quick checks accept may need any number of steps.
const budget = 500_000

// step is an event and its position in a chain.
type step struct {
	event
	chain, place int
}

// counterState is the counter and the number of finished steps of each chain.
type counterState struct {
	free int64
	done []int
}

// search uses porcupine to look for an order of the events, each within its bounds, in which the counter never falls
// below zero and every refusal finds too few units.
func search(inbound int64, events []event) verdict {
	steps, chains := chain(events)
	spent := 0
	model := porcupine.Model{
		Init: func() any { return counterState{inbound, make([]int, chains)} },
		Step: func(state, input, _ any) (bool, any) {
			s, e := state.(counterState), input.(step)
			if spent++; spent > budget || s.done[e.chain] != e.place {
				return false, s
			}
			free := s.free
			switch e.kind {
			case take:
				free -= e.n
			case give:
				free += e.n
			case refuse:
				if free >= e.n {
					return false, s
				}
			}
			if free < 0 {
				return false, s
			}
			done := slices.Clone(s.done)
			done[e.chain]++
			return true, counterState{free, done}
		},
		// The set of events that have happened determines the state, and porcupine compares that set itself.
		Equal: func(a, b any) bool { return a.(counterState).free == b.(counterState).free },
	}
	operations := make([]porcupine.Operation, len(steps))
	for i, s := range steps {
		operations[i] = porcupine.Operation{ClientId: i, Input: s, Call: s.start, Return: s.end}
	}
	switch ok := porcupine.CheckOperations(model, operations); {
	case ok:
		return accepted
	case spent > budget:
		return undecided
	}
	return refuted
}

// chain sorts events of one kind and size into chains in which each event starts and ends no later than the next. Two
// such events can be exchanged in a valid order, so one order of them is sufficient. Without chains, k concurrent
// returns would have k! orders.
func chain(events []event) (steps []step, chains int) {
	type class struct {
		kind eventKind
		n    int64
	}
	sorted := slices.SortedStableFunc(slices.Values(events), func(a, b event) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	type link struct{ number, length int }
	ends := map[class]map[int64]*link{} // the chains of each class, by the end of their last event
	for _, e := range sorted {
		c := class{e.kind, e.n}
		if ends[c] == nil {
			ends[c] = map[int64]*link{}
		}
		best, found := int64(0), false
		for end := range ends[c] {
			if end <= e.end && (!found || end > best) {
				best, found = end, true
			}
		}
		l := &link{number: chains}
		if found {
			l = ends[c][best]
			delete(ends[c], best)
		} else {
			chains++
		}
		steps = append(steps, step{e, l.number, l.length})
		l.length++
		ends[c][e.end] = l
	}
	return steps, chains
}

func describe(events []event) string {
	count := map[eventKind]int{}
	for _, e := range events {
		count[e.kind]++
	}
	return fmt.Sprintf("%d takes, %d returns and %d refusals", count[take], count[give], count[refuse])
}

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

// budget bounds a search, in steps and not in seconds: a verdict must not depend on how busy the machine is. It takes one
// to three seconds. Right histories of 400 calls, a hundred of them open at once, took 35,000 at most; a wrong one
// that the quick looks did not find may need more than anybody has.
const budget = 500_000

// step is an event with its place in a chain.
type step struct {
	event
	chain, place int
}

// counterState is the counter and how far each chain is.
type counterState struct {
	free int64
	done []int
}

// search has porcupine look for an order of the events, each within its bounds, in which the counter never goes below
// zero and every refusal finds too little.
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
		// Which events have happened decides the state, and porcupine compares those by itself.
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

// chain sorts events that are alike, of one kind and size, into chains in which each starts and ends no later than the
// next. Such a pair can always change places in a valid order, so one order of them is enough to look at: without this, k
// give-backs that are open at once have k! orders.
func chain(events []event) (steps []step, chains int) {
	type class struct {
		kind eventKind
		n    int64
	}
	sorted := slices.SortedStableFunc(slices.Values(events), func(a, b event) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	type link struct{ number, length int }
	ends := map[class]map[int64]*link{} // the chains of each class by the end of their last event
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
	return fmt.Sprintf("%d takes, %d give-backs and %d refusals", count[take], count[give], count[refuse])
}

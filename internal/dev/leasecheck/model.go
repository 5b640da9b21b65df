package leasecheck

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"
)

// patience is how long porcupine may look for an explanation of one key's history.
const patience = time.Minute

// CheckFenced decides whether the operations on one key can have happened on a fenced counter that stood at from in the
// beginning and at to in the end. Whatever happens to leases, they must.
//
// The counter's state is {fence, stock}. A deduction is accepted only with a token above the fence; it then moves both
// and leaves exactly the quantity less. It is stale only with a token that is not above. One whose answer is unknown
// has happened or not, at any time after it began.
func CheckFenced(ops []Op, from, to Row) error {
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{from} },
		Step: func(state, _, output any) []any { return fencedStep(state.(Row), output.(Op)) }, //nolint:forcetypeassert // It is ours.
	}
	operations := []porcupine.Operation{{
		Output: Op{Outcome: seen, Token: to.Fence, Left: to.Stock}, Call: never, Return: never,
	}}
	for _, op := range ops {
		if op.Outcome == Nothing {
			continue
		}
		end := op.Return
		if op.Outcome == Unknown {
			end = never
		}
		operations = append(operations, porcupine.Operation{Output: op, Call: op.Call, Return: end})
	}
	return verdict(model.ToModel(), operations)
}

func fencedStep(s Row, op Op) []any {
	newer, enough := op.Token > s.Fence, s.Stock >= op.Quantity
	after := Row{Fence: op.Token, Stock: s.Stock - op.Quantity}
	switch op.Outcome {
	case Accepted:
		if newer && enough && after.Stock == op.Left {
			return []any{after}
		}
	case Stale:
		if !newer {
			return []any{s}
		}
	case SoldOut:
		if newer && !enough { // the claim is rolled back with the rest
			return []any{s}
		}
	case Unknown:
		if newer && enough {
			return []any{s, after}
		}
		return []any{s}
	case seen:
		if s == (Row{Fence: op.Token, Stock: op.Left}) {
			return []any{s}
		}
	}
	return nil
}

// Hold is one holder's belief: it got the lock between Asked and Got and began to give it back at Left, which was
// answered at Gone.
type Hold struct{ Asked, Got, Left, Gone int64 }

// CheckMutex decides whether the holds can have happened on a mutex: one holder at a time. A lease is no mutex: when it
// expires under a holder that was stopped, the history must be refused.
func CheckMutex(holds []Hold) error {
	model := porcupine.Model{
		Init: func() any { return false },
		Step: func(held, _, acquire any) (bool, any) { return held != acquire, acquire },
	}
	var operations []porcupine.Operation
	for i, h := range holds {
		operations = append(operations,
			porcupine.Operation{ClientId: i, Output: true, Call: h.Asked, Return: h.Got},
			porcupine.Operation{ClientId: i, Output: false, Call: h.Left, Return: h.Gone})
	}
	return verdict(model, operations)
}

func verdict(model porcupine.Model, operations []porcupine.Operation) error {
	switch porcupine.CheckOperationsTimeout(model, operations, patience) {
	case porcupine.Ok:
		return nil
	case porcupine.Illegal:
		return fmt.Errorf("no order of these %d operations explains what clients saw", len(operations))
	default:
		return fmt.Errorf("no verdict on %d operations after %v", len(operations), patience)
	}
}

// Package e01 checks exercise 1, the conditional update.
package e01

import (
	"context"
	"embed"
	"io/fs"

	"gorm.io/gorm"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/stockcheck"
	"holdfast/exercises/internal/trial"
	"holdfast/internal/lab/step"
)

//go:embed texts/*.json
var texts embed.FS

// Texts returns the texts of the exercise.
func Texts() fs.FS { return texts }

// Reserve is what the learner writes.
type Reserve = func(ctx context.Context, db *gorm.DB, sku string, qty int) error

const schema = "CREATE TABLE stock (sku VARCHAR(20) NOT NULL PRIMARY KEY, available INT NOT NULL)"

// Exercise returns the checks of the learner's function, with its refusal.
func Exercise(reserve Reserve, outOfStock error) trial.Exercise {
	one := func(buyer string, qty ...int) stockcheck.Buyer {
		b := stockcheck.Buyer{Name: buyer}
		for _, n := range qty {
			b.Orders = append(b.Orders, stockcheck.Order{Lines: []stockcheck.Line{{SKU: "mug", Qty: n}}})
		}
		return b
	}
	find := func(units int, buyers ...stockcheck.Buyer) func(context.Context, *trial.Servers) (*explore.Finding, error) {
		return func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
			db, err := s.Database(ctx, schema)
			if err != nil {
				return nil, err
			}
			c := &stockcheck.Case{
				DB: db, Stock: map[string]int{"mug": units}, Buyers: buyers, Refusals: []error{outOfStock},
				Reserve: func(ctx context.Context, db *gorm.DB, o stockcheck.Order) error {
					return reserve(ctx, db, o.Lines[0].SKU, o.Lines[0].Qty)
				},
			}
			return explore.Explore(ctx, c.Scenario(judge), explore.Limits{})
		}
	}
	const stocked, each = 3, 2 // the second order of a buyer who is alone finds too little
	return trial.Exercise{Number: 1, Checks: []trial.Check{
		{Name: "e01.alone", Find: find(stocked, one("A", each, each))},
		{Name: "e01.last-unit", Find: find(1, one("A", 1), one("B", 1))},
		{Name: "e01.enough", Find: find(2, one("A", 1), one("B", 1))},
	}}
}

// The diagnoses of this exercise.
const (
	lostUpdate     = "lost-update"
	blindDecrement = "blind-decrement"
	ignoredRows    = "ignored-rows"
)

func judge(o *stockcheck.Outcome) *explore.Finding {
	if f := o.NothingTaken(); f != nil {
		return f
	}
	if f := o.Failed(); f != nil {
		return f
	}
	f := o.Counted()
	if f == nil {
		return o.InVain()
	}
	if stale, ok := o.StaleRead(); ok {
		f.ID, f.Do = lostUpdate, step.T("e01.lost-update.do", stale.Read, stale.Write, stale.Other)
		if stale.Relative {
			f.ID, f.Do = blindDecrement, step.T("e01.blind-decrement.do", stale.Read, stale.Write, stale.Other)
		}
		return f
	}
	if n, ok := ignored(o); ok {
		f.ID, f.Why, f.Do = ignoredRows, step.T("e01.ignored-rows.why", n, o.Run.Steps[n-1].Actor), step.T("e01.ignored-rows.do")
	}
	return f
}

// ignored returns the number of the first conditional UPDATE that changed no row, of a buyer who has more orders than
// UPDATEs that changed one.
func ignored(o *stockcheck.Outcome) (number int, found bool) {
	took, accepted, refused := map[string]int{}, map[string]int{}, map[string]int{}
	for i, s := range o.Run.Steps {
		switch {
		case !stockcheck.Takes(s):
		case s.Changed > 0:
			took[s.Actor]++
		case stockcheck.HasCondition(s.Does) && refused[s.Actor] == 0:
			refused[s.Actor] = i + 1
		}
	}
	for _, a := range o.Answers {
		if a.Accepted() {
			accepted[a.Buyer]++
		}
	}
	for _, b := range o.Buyers {
		if n := refused[b.Name]; n > 0 && accepted[b.Name] > took[b.Name] {
			return n, true
		}
	}
	return 0, false
}

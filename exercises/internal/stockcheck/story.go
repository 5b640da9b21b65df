package stockcheck

import (
	"regexp"
	"strings"

	"holdfast/exercises/internal/explore"
	"holdfast/internal/lab/step"
)

// StaleRead is a read that was out of date when its actor wrote.
type StaleRead struct {
	Actor, Other          string
	Read, Between, Write  int // numbers of steps, from 1: the read, the other actor's write, the actor's own write
	Value                 string
	Relative, Conditional bool // the write subtracts; it has a condition on available
}

// StaleRead returns the first write of a stock row whose actor had read the row before another actor wrote it, without
// a lock of its own in between.
func (o *Outcome) StaleRead() (StaleRead, bool) { return FindStaleRead(o.Run.Steps) }

// FindStaleRead is Outcome.StaleRead of any steps.
func FindStaleRead(steps []explore.Step) (StaleRead, bool) {
	for w, write := range steps {
		if !writesStock(write) || write.Changed == 0 && !setsValue(write.Does) {
			continue
		}
		r := lastRead(steps[:w], write)
		if r < 0 {
			continue
		}
		for b := r + 1; b < w; b++ {
			between := steps[b]
			if between.Actor != write.Actor && writesStock(between) && between.Changed > 0 && sameProduct(between, write) {
				return StaleRead{
					Actor: write.Actor, Other: between.Actor, Read: r + 1, Between: b + 1, Write: w + 1, Value: value(steps[r]),
					Relative: Subtracts(write.Does), Conditional: HasCondition(write.Does),
				}, true
			}
		}
	}
	return StaleRead{}, false
}

// lastRead returns the index of the actor's last read of the row that it writes; -1: none.
func lastRead(steps []explore.Step, write explore.Step) int {
	for i := len(steps) - 1; i >= 0; i-- {
		s := steps[i]
		if s.Actor == write.Actor && Reads(s) && sameProduct(s, write) {
			return i
		}
	}
	return -1
}

// Reads reports a SELECT of the stock that has got a row.
func Reads(s explore.Step) bool {
	return (s.Kind == explore.Read || s.Kind == explore.LockingRead) && !s.Failed && !s.Died && ofStock(s) && len(s.Rows) > 0
}

func writesStock(s explore.Step) bool {
	return s.Kind == explore.Write && !s.Failed && !s.Died && !s.Unfinished && ofStock(s)
}

// Takes reports an UPDATE of the stock, whatever it changed.
func Takes(s explore.Step) bool { return writesStock(s) }

var stockTable = regexp.MustCompile(`(?i)\bstock\b`)

func ofStock(s explore.Step) bool { return stockTable.MatchString(s.Does) }

var product = regexp.MustCompile(`'(mug|pen)'`)

// SameProduct reports statements that may be about the same row. One that names no product may be about any.
func SameProduct(a, b explore.Step) bool { return sameProduct(a, b) }

// Product returns the SKU that a statement names first; empty: none.
func Product(s explore.Step) string {
	if found := product.FindStringSubmatch(s.Does); found != nil {
		return found[1]
	}
	return ""
}

func sameProduct(a, b explore.Step) bool {
	named := func(s explore.Step) []string {
		var all []string
		for _, found := range product.FindAllStringSubmatch(s.Does, -1) {
			all = append(all, found[1])
		}
		return all
	}
	as, bs := named(a), named(b)
	if len(as) == 0 || len(bs) == 0 {
		return true
	}
	for _, x := range as {
		for _, y := range bs {
			if x == y {
				return true
			}
		}
	}
	return false
}

var (
	subtraction = regexp.MustCompile(`(?i)\bavailable\s*=\s*\(?\s*(?:stock\.)?available\s*-\s*(\d+)`)
	assignment  = regexp.MustCompile(`(?i)\bavailable\s*=\s*(-?\d+)`)
	// otherCondition is one beside the product.
	otherCondition = regexp.MustCompile(`(?i)\b(?:version|available)\b`)
	condition      = regexp.MustCompile(`(?i)\bavailable\s*(?:-\s*\d+\s*)?(?:>=|>|<>|!=)`)
)

// Subtracts reports an UPDATE that subtracts from what the row has.
func Subtracts(does string) bool { return subtraction.MatchString(does) }

func setsValue(does string) bool {
	set, _, _ := strings.Cut(strings.ToUpper(does), " WHERE ")
	return assignment.MatchString(set)
}

// HasCondition reports an UPDATE that asks how many units there are.
func HasCondition(does string) bool {
	_, where, _ := strings.Cut(strings.ToUpper(does), " WHERE ")
	return condition.MatchString(where)
}

// value returns what a read got.
func value(s explore.Step) string {
	if len(s.Rows) > 0 {
		if v, ok := s.Rows[0]["available"]; ok {
			return v
		}
	}
	return s.Result
}

// story tells what happened to a product's row, step by step.
func (o *Outcome) story(sku string) step.Text { return Story(o.Run.Steps, sku) }

// Join puts texts into one, with a semicolon between them.
func Join(texts []step.Text) step.Text { return join("stock.then", texts) }

// maxTold is how many steps a story tells.
const maxTold = 8

// Story tells who read and wrote a product's row: "A read 1 (step 2), B read 1 (step 4), B wrote 0 (step 5)".
func Story(steps []explore.Step, sku string) step.Text {
	var told []step.Text
	row := explore.Step{Does: "'" + sku + "'"}
	for i, s := range steps {
		if !sameProduct(s, row) || len(told) == maxTold {
			continue
		}
		switch {
		case Reads(s):
			told = append(told, step.T("stock.read", s.Actor, value(s), i+1))
		case writesStock(s):
			told = append(told, wrote(s, i+1))
		}
	}
	if len(told) == 0 {
		return step.T("stock.untouched", sku)
	}
	return step.T("stock.story", join("stock.then", told))
}

func wrote(s explore.Step, number int) step.Text {
	if n := subtraction.FindStringSubmatch(s.Does); n != nil {
		if s.Changed == 0 {
			return step.T("stock.changed-nothing", s.Actor, number)
		}
		return step.T("stock.subtracted", s.Actor, n[1], number)
	}
	set, where, _ := strings.Cut(strings.ReplaceAll(s.Does, " where ", " WHERE "), " WHERE ")
	missed := s.Changed == 0 && otherCondition.MatchString(where) // without one, the row had this value already
	if n := assignment.FindStringSubmatch(set); n != nil && !missed {
		return step.T("stock.wrote", s.Actor, n[1], number)
	}
	if s.Changed == 0 {
		return step.T("stock.changed-nothing", s.Actor, number)
	}
	return step.T("stock.changed", s.Actor, number)
}

// InTransaction reports whether step number n, from 1, is in a transaction of its own connection.
func InTransaction(steps []explore.Step, n int) bool {
	session, open := steps[n-1].Session, false
	for _, s := range steps[:n-1] {
		if s.Session != session {
			continue
		}
		switch s.Kind {
		case explore.Begin:
			open = true
		case explore.Commit, explore.Rollback:
			open = false
		}
	}
	return open
}

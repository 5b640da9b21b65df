// Package e02 checks exercise 2, FOR UPDATE in the right order.
package e02

import (
	"context"
	"embed"
	"errors"
	"io/fs"

	"github.com/go-sql-driver/mysql"
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

// Line is one product of an order.
type Line = stockcheck.Line

// Reserve is what the learner writes.
type Reserve = func(ctx context.Context, db *gorm.DB, orderNo string, lines []Line) error

const schema = `
CREATE TABLE stock (sku VARCHAR(20) NOT NULL PRIMARY KEY, available INT NOT NULL);
CREATE TABLE reservations (order_no VARCHAR(20) NOT NULL, sku VARCHAR(20) NOT NULL, qty INT NOT NULL, PRIMARY KEY (order_no, sku))`

// limits bound the exploration: an order is seven statements, and a mistake of this exercise needs one switch.
const (
	maxRuns     = 80
	maxSwitches = 2
)

// Exercise returns the checks of the learner's function, with its refusal.
func Exercise(reserve Reserve, outOfStock error) trial.Exercise {
	order := func(no string, lines ...Line) stockcheck.Order { return stockcheck.Order{No: no, Lines: lines} }
	buyer := func(name string, orders ...stockcheck.Order) stockcheck.Buyer {
		return stockcheck.Buyer{Name: name, Orders: orders}
	}
	mug, pen := Line{SKU: "mug", Qty: 1}, Line{SKU: "pen", Qty: 1}
	find := func(deaths int, stock map[string]int, buyers ...stockcheck.Buyer) func(context.Context, *trial.Servers) (*explore.Finding, error) {
		return func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
			db, err := s.Database(ctx, schema)
			if err != nil {
				return nil, err
			}
			c := &stockcheck.Case{
				DB: db, Stock: stock, Buyers: buyers, Refusals: []error{outOfStock}, Reservations: true,
				Reserve: func(ctx context.Context, db *gorm.DB, o stockcheck.Order) error {
					return reserve(ctx, db, o.No, o.Lines)
				},
			}
			scenario := c.Scenario(judge)
			scenario.Deaths = deaths
			return explore.Explore(ctx, scenario, explore.Limits{Runs: maxRuns, Switches: maxSwitches})
		}
	}
	return trial.Exercise{Number: 2, Checks: []trial.Check{
		{Name: "e02.alone", Find: find(0, map[string]int{"mug": 2, "pen": 1}, buyer("A", order("A-1", mug, pen), order("A-2", mug, pen)))},
		{Name: "e02.last-unit", Find: find(0, map[string]int{"mug": 1}, buyer("A", order("A-1", mug)), buyer("B", order("B-1", mug)))},
		{Name: "e02.crossing", Find: find(0, map[string]int{"mug": 2, "pen": 2}, buyer("A", order("A-1", mug, pen)), buyer("B", order("B-1", pen, mug)))},
		{Name: "e02.killed", Find: find(1, map[string]int{"mug": 1, "pen": 1}, buyer("A", order("A-1", mug, pen)))},
	}}
}

// The diagnoses of this exercise.
const (
	deadlock               = "deadlock"
	readBeforeLock         = "read-before-lock"
	lockWithoutTransaction = "lock-without-transaction"
	noLock                 = "no-lock"
)

func judge(o *stockcheck.Outcome) *explore.Finding {
	for _, find := range []func() *explore.Finding{
		func() *explore.Finding { return deadlocked(o.Run.Steps) }, o.Failed, o.NothingTaken, o.Killed, o.HalfOrder,
	} {
		if f := find(); f != nil {
			return f
		}
	}
	f := o.Counted()
	if f == nil {
		return o.InVain()
	}
	explain(f, o)
	return f
}

// explain replaces the fallback's explanation if the steps say which mistake it is.
func explain(f *explore.Finding, o *stockcheck.Outcome) {
	steps := o.Run.Steps
	if read, lock, other, ok := readThenLocked(steps); ok {
		f.ID, f.Do = readBeforeLock, step.T("e02.read-before-lock.do", steps[read-1].Actor, read, lock, other)
		return
	}
	stale, ok := o.StaleRead()
	switch {
	case !ok:
	case steps[stale.Read-1].Kind == explore.Read:
		f.ID, f.Do = noLock, step.T("e02.no-lock.do", stale.Read, stale.Write, stale.Other)
	case !stockcheck.InTransaction(steps, stale.Read) || steps[stale.Read-1].Session != steps[stale.Write-1].Session:
		f.ID, f.Do = lockWithoutTransaction, step.T("e02.lock-without-transaction.do", stale.Read, stale.Other, stale.Between)
	}
}

// readThenLocked finds an actor that read a row without a lock, locked it after another actor had written it, and then
// wrote. It returns the numbers of the read and the lock.
func readThenLocked(steps []explore.Step) (read, lock int, other string, found bool) {
	for l, locking := range steps {
		if locking.Kind != explore.LockingRead || !stockcheck.Reads(locking) {
			continue
		}
		r := -1
		for i, s := range steps[:l] {
			switch {
			case !stockcheck.SameProduct(s, locking):
			case s.Actor == locking.Actor && s.Kind == explore.Read && stockcheck.Reads(s):
				r, other = i, ""
			case s.Actor != locking.Actor && stockcheck.Takes(s) && s.Changed > 0 && r >= 0:
				other = s.Actor
			}
		}
		if r >= 0 && other != "" {
			return r + 1, l + 1, other, true
		}
	}
	return 0, 0, "", false
}

// errDeadlock is the server's number of a deadlock.
const errDeadlock = 1213

// deadlocked returns the finding about a deadlock, whatever came of it.
func deadlocked(steps []explore.Step) *explore.Finding {
	for i, s := range steps {
		e, ok := errors.AsType[*mysql.MySQLError](s.Err)
		if !ok || e.Number != errDeadlock {
			continue
		}
		return &explore.Finding{
			ID: deadlock, What: step.T("e02.deadlock", s.Actor, i+1), Why: locked(steps, s.Actor, i),
			Do: step.T("e02.deadlock.do"),
		}
	}
	return nil
}

// locked tells who had locked which row, up to the victim's last statement, and what each wanted then.
func locked(steps []explore.Step, victim string, until int) step.Text {
	var told []step.Text
	seen := map[string]bool{}
	tell := func(key string, number int) {
		s := steps[number-1]
		sku := stockcheck.Product(s)
		if takesLock := s.Kind == explore.LockingRead || stockcheck.Takes(s) || s.Failed; !takesLock || sku == "" || seen[s.Actor+sku] {
			return
		}
		seen[s.Actor+sku] = true
		told = append(told, step.T(key, s.Actor, sku, number))
	}
	for i := range steps[:until] {
		tell("e02.locked", i+1)
	}
	for i := until; i < len(steps); i++ { // the other one's statement ends after the victim's: it had to wait
		if s := steps[i]; s.Actor != victim && s.Waited && s.Began <= until {
			tell("e02.wanted", i+1)
			break
		}
	}
	tell("e02.wanted", until+1)
	return step.T("stock.story", stockcheck.Join(told))
}

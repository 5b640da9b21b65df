// Package e03 checks exercise 3, the optimistic lock with its retry.
package e03

import (
	"context"
	"embed"
	"io/fs"
	"regexp"
	"slices"
	"strings"

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
type Reserve = func(ctx context.Context, db *gorm.DB, orderNo, sku string, qty int) error

const schema = `
CREATE TABLE stock (sku VARCHAR(20) NOT NULL PRIMARY KEY, available INT NOT NULL, version INT NOT NULL);
CREATE TABLE reservations (order_no VARCHAR(20) NOT NULL PRIMARY KEY, sku VARCHAR(20) NOT NULL, qty INT NOT NULL)`

// session sets MySQL's default level, at which the place of the retry matters. MariaDB from 11.6 may refuse a write
// that its snapshot does not see; here it does what MySQL does.
func session() []string {
	return []string{
		"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
		"SET SESSION innodb_lock_wait_timeout = 30 /*M!110602 , SESSION innodb_snapshot_isolation = OFF */",
	}
}

const (
	maxRuns     = 60
	maxSwitches = 2
	maxTries    = 10 // as the task says
	othersTries = 14 // how often the others are faster
	shownTries  = 2  // of a loop without an end
)

// Exercise returns the checks of the learner's function, with its refusals.
func Exercise(reserve Reserve, outOfStock, contended error) trial.Exercise {
	one := func(name string, orders ...string) stockcheck.Buyer {
		b := stockcheck.Buyer{Name: name}
		for _, no := range orders {
			b.Orders = append(b.Orders, stockcheck.Order{No: no, Lines: []stockcheck.Line{{SKU: "mug", Qty: 1}}})
		}
		return b
	}
	find := func(deaths, units int, buyers ...stockcheck.Buyer) func(context.Context, *trial.Servers) (*explore.Finding, error) {
		return func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
			c, err := newCase(ctx, s, reserve, units, buyers, outOfStock, contended)
			if err != nil {
				return nil, err
			}
			scenario := c.Scenario(judge)
			scenario.Deaths = deaths
			f, err := explore.Explore(ctx, scenario, explore.Limits{Runs: maxRuns, Switches: maxSwitches})
			return endless(f), err
		}
	}
	return trial.Exercise{Number: 3, Checks: []trial.Check{
		{Name: "e03.alone", Find: find(0, 1, one("A", "A-1", "A-2"))},
		{Name: "e03.last-unit", Find: find(0, 1, one("A", "A-1"), one("B", "B-1"))},
		{Name: "e03.enough", Find: find(0, 2, one("A", "A-1"), one("B", "B-1"))},
		{Name: "e03.killed", Find: find(1, 1, one("A", "A-1"))},
		{Name: "e03.never-first", Find: func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
			c, err := newCase(ctx, s, reserve, othersTries, []stockcheck.Buyer{one("A", "A-1")}, outOfStock, contended)
			if err != nil {
				return nil, err
			}
			return neverFirst(ctx, c)
		}},
	}}
}

func newCase(
	ctx context.Context, s *trial.Servers, reserve Reserve, units int, buyers []stockcheck.Buyer, outOfStock, contended error,
) (*stockcheck.Case, error) {
	db, err := s.Database(ctx, schema)
	if err != nil {
		return nil, err
	}
	return &stockcheck.Case{
		DB: db, Stock: map[string]int{"mug": units}, Buyers: buyers, Session: session(),
		Refusals: []error{outOfStock, contended}, Reservations: true, Columns: map[string]any{"version": 0},
		Reserve: func(ctx context.Context, db *gorm.DB, o stockcheck.Order) error {
			return reserve(ctx, db, o.No, o.Lines[0].SKU, o.Lines[0].Qty)
		},
	}, nil
}

// The diagnoses of this exercise.
const (
	versionNotCompared = "version-not-compared"
	retryInSnapshot    = "retry-in-snapshot"
	noRetry            = "no-retry"
	unboundedRetry     = "unbounded-retry"
)

func judge(o *stockcheck.Outcome) *explore.Finding {
	for _, find := range []func() *explore.Finding{o.Failed, o.NothingTaken, o.Killed, o.HalfOrder} {
		if f := find(); f != nil {
			return f
		}
	}
	if f := o.Counted(); f != nil {
		if stale, ok := o.StaleRead(); ok && !comparesVersion(o.Run.Steps[stale.Write-1].Does) {
			f.ID, f.Do = versionNotCompared, step.T("e03.version-not-compared.do", stale.Read, stale.Other, stale.Between, stale.Write)
		}
		return f
	}
	f := o.InVain()
	if f == nil {
		return nil
	}
	if inSnapshot(f, o.Run.Steps) {
		return f
	}
	for _, a := range o.Answers {
		if n := missed(o.Run.Steps, a.Buyer); !a.Accepted() && len(n) == 1 {
			f.ID, f.Do = noRetry, step.T("e03.no-retry.do", n[0])
		}
	}
	return f
}

var version = regexp.MustCompile(`(?i)\bversion\s*=\s*\d`)

func comparesVersion(does string) bool {
	_, where, _ := strings.Cut(strings.ToUpper(does), " WHERE ")
	return version.MatchString(where)
}

// missed returns the numbers of the actor's UPDATEs of the stock that changed no row.
func missed(steps []explore.Step, actor string) []int {
	var numbers []int
	for i, s := range steps {
		if s.Actor == actor && stockcheck.Takes(s) && s.Changed == 0 {
			numbers = append(numbers, i+1)
		}
	}
	return numbers
}

// inSnapshot explains the finding if an actor read the row again in the transaction whose UPDATE had missed it.
func inSnapshot(f *explore.Finding, steps []explore.Step) bool {
	first := map[int64]int{} // by session: the number of the open transaction's first read
	miss := map[int64]int{}
	for i, s := range steps {
		switch {
		case s.Kind == explore.Begin, s.Kind == explore.Commit, s.Kind == explore.Rollback:
			delete(first, s.Session)
			delete(miss, s.Session)
		case s.Kind == explore.Read && stockcheck.Reads(s) && miss[s.Session] > 0 && stockcheck.InTransaction(steps, i+1):
			f.ID = retryInSnapshot
			f.Why = step.T("e03.retry-in-snapshot.why", first[s.Session], miss[s.Session], i+1, s.Result)
			f.Do = step.T("e03.retry-in-snapshot.do")
			show(f, steps, i+2)
			return true
		case s.Kind == explore.Read && stockcheck.Reads(s) && first[s.Session] == 0:
			first[s.Session] = i + 1
		case stockcheck.Takes(s) && s.Changed == 0:
			miss[s.Session] = i + 1
		}
	}
	return false
}

// endless explains a run without an end, if it is the retry inside of a transaction.
func endless(f *explore.Finding) *explore.Finding {
	if f != nil && f.ID == explore.StandsStill {
		inSnapshot(f, f.Steps)
	}
	return f
}

// show lists the first n steps: the others repeat them.
func show(f *explore.Finding, steps []explore.Step, n int) {
	n = min(n, len(steps))
	f.Steps, f.More = steps[:n], len(steps)-n
}

// neverFirst has other orders write the row after each of A's reads. A must give up in the end.
func neverFirst(ctx context.Context, c *stockcheck.Case) (*explore.Finding, error) {
	const others = "Others"
	c.Others = []explore.Actor{{Name: others, Run: func(ctx context.Context, h *explore.Handle) error {
		db := h.DB(c.DB).WithContext(ctx)
		for range othersTries {
			if err := db.Exec("UPDATE stock SET version = version + 1 WHERE sku = 'mug'").Error; err != nil {
				return err
			}
		}
		return nil
	}}}
	scenario := c.Scenario(func(o *stockcheck.Outcome) *explore.Finding {
		if n := missed(o.Run.Steps, "A"); len(n) > maxTries {
			f := &explore.Finding{
				ID: unboundedRetry, What: step.T("e03.unbounded-retry", len(n), maxTries), Why: step.T("e03.unbounded-retry.why"),
				Do: step.T("e03.unbounded-retry.do", maxTries),
			}
			show(f, o.Run.Steps, n[shownTries-1])
			return f
		}
		return o.Failed()
	})
	scenario.Turn = func(steps []explore.Step, can []string) string {
		if n := len(steps); n > 0 && steps[n-1].Actor == "A" && stockcheck.Reads(steps[n-1]) && slices.Contains(can, others) {
			return others
		}
		if slices.Contains(can, "A") {
			return "A"
		}
		return can[0]
	}
	f, err := explore.Explore(ctx, scenario, explore.Limits{Runs: 1})
	return endless(f), err
}

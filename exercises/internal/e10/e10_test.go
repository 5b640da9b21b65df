package e10_test

import (
	"os"
	"testing"

	start "holdfast/exercises/10-own-strategy"
	bareRefusal "holdfast/exercises/10-own-strategy/attempts/bare-refusal"
	noGuard "holdfast/exercises/10-own-strategy/attempts/no-guard"
	noReservation "holdfast/exercises/10-own-strategy/attempts/no-reservation"
	ownTransaction "holdfast/exercises/10-own-strategy/attempts/own-transaction"
	readThenWrite "holdfast/exercises/10-own-strategy/attempts/read-then-write"
	uncheckedRows "holdfast/exercises/10-own-strategy/attempts/unchecked-rows"
	"holdfast/exercises/internal/e10"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/10-own-strategy"
	"holdfast/inventory-srv/inventorylab"
	"holdfast/inventory-srv/inventorylab/strategytest"
)

func TestMain(m *testing.M) { os.Exit(strategytest.Main(m)) }

// TestFindings proves that the start and each attempt get their own explanation.
func TestFindings(t *testing.T) {
	for _, c := range []struct {
		name string
		s    inventorylab.Strategy
		want string
	}{
		{"start", start.Strategy(), "takes-nothing"},
		{"no-reservation", noReservation.Strategy(), "no-reservation"},
		{"no-guard", noGuard.Strategy(), "no-guard"},
		{"unchecked-rows", uncheckedRows.Strategy(), "unchecked-rows"},
		{"own-transaction", ownTransaction.Strategy(), "not-idempotent"},
		{"read-then-write", readThenWrite.Strategy(), "lost-update"},
		{"bare-refusal", bareRefusal.Strategy(), ""}, // TestSuite_finding
		{"solution", solution.Strategy(), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e10.Quick(c.s), e10.Texts(), c.want)
		})
	}
}

// TestExercise_solution has the solution pass everything, the conformance suite in a process of its own too.
func TestExercise_solution(t *testing.T) {
	t.Parallel()
	trial.Prove(t, e10.SuiteOnly("TestSuiteOfSolution"), e10.Texts(), "")
}

// TestExercise_bareRefusal has the suite find what the few buyers do not.
func TestExercise_bareRefusal(t *testing.T) {
	t.Parallel()
	trial.Prove(t, e10.SuiteOnly("TestSuiteOfBareRefusal"), e10.Texts(), "suite-several-lines-all-or-nothing")
}

// TestSuiteOfSolution is run by TestExercise_solution.
func TestSuiteOfSolution(t *testing.T) {
	e10.SkipUnlessAsked(t)
	strategytest.Run(t, solution.Strategy())
}

// TestSuiteOfBareRefusal is run by TestExercise_bareRefusal.
func TestSuiteOfBareRefusal(t *testing.T) {
	e10.SkipUnlessAsked(t)
	strategytest.Run(t, bareRefusal.Strategy())
}

package exercise_test

import (
	"os"
	"testing"

	exercise "holdfast/exercises/10-own-strategy"
	"holdfast/exercises/internal/e10"
	"holdfast/exercises/internal/trial"
	"holdfast/inventory-srv/inventorylab/strategytest"
)

func TestMain(m *testing.M) { os.Exit(strategytest.Main(m)) }

// TestExercise checks the exercise: a few buyers statement by statement, and then TestSuite, in a process of its own.
func TestExercise(t *testing.T) {
	trial.Run(t, e10.Exercise(exercise.Strategy(), "TestSuite"), e10.Texts())
}

// TestSuite is the conformance suite that every strategy of the shop passes. Its output has more than the explanation
// of TestExercise: "go test -v -run TestSuite ./10-own-strategy".
func TestSuite(t *testing.T) {
	e10.SkipUnlessAsked(t)
	strategytest.Run(t, exercise.Strategy())
}

package strategy_test

import (
	"testing"

	"holdfast/inventory-srv/internal/strategy"
	"holdfast/inventory-srv/inventorylab/strategytest"
)

// TestSuite runs the conformance suite on each strategy. Of one that is never safe the suite checks only what it can
// keep, and TestUnsafe shows that it breaks the rest.
func TestSuite(t *testing.T) {
	t.Parallel()
	worlds := strategytest.NewWorlds(t)
	for _, s := range strategy.List() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			strategytest.RunIn(t, worlds, s)
		})
	}
}

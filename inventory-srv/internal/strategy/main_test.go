package strategy_test

import (
	"os"
	"testing"

	"holdfast/inventory-srv/inventorylab/strategytest"
)

func TestMain(m *testing.M) { os.Exit(strategytest.Main(m)) }

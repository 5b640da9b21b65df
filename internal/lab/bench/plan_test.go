package bench

import (
	"strings"
	"testing"
	"time"

	"holdfast/inventory-srv/inventorylab"
)

func TestShape_String(t *testing.T) {
	t.Parallel()
	for want, shape := range map[string]Shape{
		"1 connection, one SKU":                                    {Connections: 1, Basket: Hot},
		"64 connections, 100 SKUs, 1 to 3 lines":                   {Connections: 64, Basket: Mixed},
		"1024 connections, one SKU, open loop at 50 %":             {Connections: 1024, Basket: Hot, Share: 0.5},
		"1 connection, 100 SKUs, 1 to 3 lines, open loop at 120 %": {Connections: 1, Basket: Mixed, Share: 1.2},
	} {
		if got := shape.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestPresets: an open loop needs the rate of a closed one with the same basket that ran before it, and a subject must
// be a strategy that does not oversell.
func TestPresets(t *testing.T) {
	t.Parallel()
	safe := map[string]bool{}
	for _, s := range inventorylab.Strategies() {
		safe[s.Name] = s.Safe
	}
	before := time.Duration(0)
	for _, p := range Presets() {
		if got, err := PresetNamed(p.Name); err != nil || got.Name != p.Name {
			t.Errorf("preset %q is found as %q, error %v", p.Name, got.Name, err)
		}
		closed := map[string]bool{}
		for _, s := range p.Shapes {
			if s.Share == 0 {
				closed[s.Basket] = true
			}
			if !closed[s.Basket] || s.Basket != Hot && s.Basket != Mixed {
				t.Errorf("preset %s cannot measure %s", p.Name, s)
			}
		}
		for _, s := range p.Strategies {
			if !safe[s] {
				t.Errorf("preset %s has %q, which is no safe strategy", p.Name, s)
			}
		}
		if p.length() <= before {
			t.Errorf("preset %s takes %v, and a shorter one %v", p.Name, p.length(), before)
		}
		before = p.length()
	}
	if _, err := PresetNamed("long"); err == nil || !strings.Contains(err.Error(), "quick, standard") {
		t.Errorf("an unknown preset: %v", err)
	}
}

// TestPreset_length: the chain is measured beside the subjects. If flows are compared they are the subjects, with one
// strategy.
func TestPreset_length(t *testing.T) {
	t.Parallel()
	p := Preset{Strategies: []string{"a", "b", "c"}, Shapes: make([]Shape, 2), Repetitions: 5, Time: 4 * time.Second}
	cell := p.Time + restTime
	if got := p.length(); got != 40*cell {
		t.Errorf("three strategies: %v, want 40 cells of %v", got, cell)
	}
	p.Strategies, p.Flows = p.Strategies[:1], []string{"x", "y"}
	if got := p.length(); got != 30*cell {
		t.Errorf("two flows: %v, want 30 cells of %v", got, cell)
	}
}

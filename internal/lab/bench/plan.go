package bench

import (
	"fmt"
	"time"

	"holdfast/internal/lab/report"
)

// Chain is the name of the empty chain among the subjects. The others are strategies, or flows.
const Chain = "chain"

// The baskets.
const (
	Hot   = "one SKU"                // one unit of the same product
	Mixed = "100 SKUs, 1 to 3 lines" // of 100 products
)

// Shape is a load that is put on every subject.
type Shape struct {
	Connections int     `json:"connections"`
	Basket      string  `json:"basket"`
	Share       float64 `json:"share,omitempty"` // open loop: the rate, as a share of the best closed loop; else 0
}

// String describes the load in output.
func (s Shape) String() string {
	text := fmt.Sprintf("%d connections, %s", s.Connections, s.Basket)
	if s.Connections == 1 {
		text = "1 connection, " + s.Basket
	}
	if s.Share > 0 {
		return text + fmt.Sprintf(", open loop at %.0f %%", 100*s.Share)
	}
	return text
}

// Preset is a set of loads, repeated.
type Preset struct {
	Name        string
	Strategies  []string
	Flows       []string // if there are any, they are the subjects, with the first strategy
	Shapes      []Shape
	Repetitions int
	Time        time.Duration // of one cell, of which a quarter is warm-up
}

// Presets returns all presets, the shortest first. The times in the comments hold for two cores.
func Presets() []Preset {
	hot := func(connections int) Shape { return Shape{Connections: connections, Basket: Hot} }
	safe := []string{"for-update", "conditional", "redis-lock", "group-commit"}
	standard := []Shape{
		hot(1), hot(16), hot(64), hot(256), hot(1024), {Connections: 256, Basket: Mixed}, {Connections: 1024, Basket: Hot, Share: 0.5},
	}
	return []Preset{
		{ // 2 min
			Name: "quick", Strategies: []string{"redis-lock", "group-commit"}, Shapes: []Shape{hot(1), hot(64), hot(256)},
			Repetitions: 2, Time: 4 * time.Second,
		},
		{Name: "standard", Strategies: safe, Shapes: standard, Repetitions: 3, Time: 6 * time.Second}, // 15 min
	}
}

// restTime is about what the shop needs to come to rest after a cell.
const restTime = 6 * time.Second

// length is about how long a run takes.
func (p Preset) length() time.Duration {
	subjects := 1 + max(len(p.Strategies), len(p.Flows))
	return time.Duration(p.Repetitions*len(p.Shapes)*subjects) * (p.Time + restTime)
}

// PresetNamed returns one of Presets, or an error that lists their names.
func PresetNamed(name string) (Preset, error) {
	return report.Preset(Presets(), name, func(p Preset) string { return p.Name })
}

package compare

import (
	"fmt"
	"time"

	"holdfast/internal/lab/report"
)

// The kinds of load.
const (
	Closed = "closed"
	Open   = "open"
	Limit  = "limit" // full batches of Winner on one connection, without callers
)

// Winner is the strategy whose statements set the limit.
const Winner = "group-commit"

// Shape is a load that is put on every strategy.
type Shape struct {
	Callers  int     `json:"callers"`              // closed loop: concurrent callers
	SKUs     int     `json:"skus"`                 // products among which the orders are distributed
	Replicas int     `json:"replicas"`             // instances of the strategy, each with its own pool and locker
	Loop     string  `json:"loop"`                 // Closed, Open or Limit
	Rate     float64 `json:"rate_per_s,omitempty"` // open loop: average arrivals per second
	Units    int64   `json:"units,omitempty"`      // units of each order; 0 means 1
}

// String describes the load in output.
func (s Shape) String() string {
	load := fmt.Sprintf("%d callers", s.Callers)
	switch {
	case s.Loop == Limit:
		load = Limit
	case s.Loop == Open:
		load = fmt.Sprintf("%g orders/s", s.Rate)
	case s.Callers == 1:
		load = "1 caller"
	}
	product := "one SKU"
	if s.SKUs > 1 {
		product = fmt.Sprintf("%d SKUs", s.SKUs)
	}
	replica := ""
	if s.Replicas > 1 {
		replica = fmt.Sprintf(", %d replicas", s.Replicas)
	}
	units := ""
	if s.Units > 1 {
		units = fmt.Sprintf(", %d units per order", s.Units)
	}
	loop := s.Loop + " loop"
	if s.Loop == Limit {
		loop = "full batches"
	}
	return load + ", " + product + replica + units + ", " + loop
}

// fits reports whether the strategy runs under this load.
func (s Shape) fits(strategy string) bool { return s.Loop != Limit || strategy == Winner }

// limit returns the load that sets the limit of this one, and false if none exists: two replicas have two
// connections.
func (s Shape) limit() (Shape, bool) {
	return Shape{SKUs: s.SKUs, Replicas: 1, Loop: Limit, Units: s.Units}, s.Loop == Closed && s.Replicas == 1
}

// units returns the number of units of each order.
func (s Shape) units() int64 { return max(1, s.Units) }

// Preset is a set of loads, repeated.
type Preset struct {
	Name        string
	Shapes      []Shape
	Repetitions int
	Period      time.Duration // measured time of one cell
}

// Presets returns all presets, the shortest first. The help of `holdfast compare` says how long they take.
func Presets() []Preset {
	hot := func(callers int) Shape { return Shape{Callers: callers, SKUs: 1, Replicas: 1, Loop: Closed} }
	many := func(callers int) Shape { return Shape{Callers: callers, SKUs: 100, Replicas: 1, Loop: Closed} }
	two := func(callers int) Shape { return Shape{Callers: callers, SKUs: 1, Replicas: 2, Loop: Closed} }
	large := func(units int64) Shape { return Shape{Callers: 64, SKUs: 1, Replicas: 1, Loop: Closed, Units: units} }
	limit := func(skus int) Shape { return Shape{SKUs: skus, Replicas: 1, Loop: Limit} }
	open := func(rate float64, skus int) Shape { return Shape{SKUs: skus, Replicas: 1, Loop: Open, Rate: rate} }
	quick := []Shape{hot(1), hot(64), hot(256), hot(1024), limit(1)}
	standard := []Shape{
		hot(1), hot(16), hot(64), hot(256), hot(1024), limit(1),
		many(1), many(64), many(256), many(1024), limit(100),
		two(64), two(256), large(10), large(100), open(200, 1), open(200, 100),
	}
	long := append(standard, hot(4), many(16), two(1024), open(50, 1), open(500, 1), open(500, 100))
	return []Preset{
		{"quick", quick, 2, 600 * time.Millisecond},
		{"standard", standard, 3, 1500 * time.Millisecond},
		{"long", long, 5, 4 * time.Second},
	}
}

// PresetNamed returns one of Presets, or an error that lists their names.
func PresetNamed(name string) (Preset, error) {
	return report.Preset(Presets(), name, func(p Preset) string { return p.Name })
}

package compareflows

import (
	"time"

	"holdfast/internal/lab/report"
)

// Preset is how long and how often the flows are measured.
type Preset struct {
	Name        string
	Connections int           // buyers; each sends its next order when the last one is decided
	Repetitions int           // of the load
	Warm        time.Duration // of load that is not measured, before each repetition
	Time        time.Duration // of one repetition
	Rate        float64       // orders per second that arrive during the outage
	Outage      time.Duration

	// Settings are environment variables of the services. The timers decide how long an order stays in doubt, so the
	// report names them.
	Settings map[string]string
}

// strategy guards the stock of all orders. It is the one that has no state outside of the database.
const strategy = "conditional"

// Presets returns all presets, the shortest first.
func Presets() []Preset {
	// The default timers leave an order in doubt for half a minute, until the sweeper ends it. With these the outages fit
	// into a minute.
	short := map[string]string{
		"REQUEST_TIMEOUT": "2s", "PENDING_GRACE": "3s", "SWEEP_AFTER": "4s", "SETTLE_AFTER": "1s", "RECONCILE_AFTER": "8s",
	}
	return []Preset{
		{Name: "quick", Connections: 16, Repetitions: 1, Warm: 500 * time.Millisecond, Time: 2 * time.Second, Rate: 40, Outage: 5 * time.Second, Settings: short},
		{Name: "standard", Connections: 16, Repetitions: 3, Warm: 2 * time.Second, Time: 6 * time.Second, Rate: 40, Outage: 5 * time.Second},
	}
}

// PresetNamed returns one of Presets, or an error that lists their names.
func PresetNamed(name string) (Preset, error) {
	return report.Preset(Presets(), name, func(p Preset) string { return p.Name })
}

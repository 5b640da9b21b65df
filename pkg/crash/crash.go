// Package crash holds the crash points: named places in the services at which a laboratory build dies once, so that
// everybody can see what becomes of an order then.
//
// They exist under the build tag crashpoint alone. Without it [At] is an empty function that the compiler removes, and
// an ordinary binary does not contain the variables' names. With it a process that reaches the point in CRASH_AT ends
// as after SIGKILL: no deferred call runs, no buffer is flushed, no connection is closed properly.
//
// "holdfast up --crash order-srv@reserved" builds and arms; docs/crash-points.md has the list to try by hand, and
// TestCrashPoints in e2e runs all of it.
package crash

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The variables that arm a process that was built with the tag.
const (
	EnvAt    = "CRASH_AT"    // points, separated by commas; each process heeds its own
	EnvMarks = "CRASH_MARKS" // a folder; dying leaves a file there by which the point is used up, for restarts too
	EnvStop  = "CRASH_STOP"  // not empty: the process is stopped, as by SIGSTOP, instead of killed
	EnvGroup = "CRASH_GROUP" // a number: a point of a group of orders is passed by smaller groups
)

// Tag is the build tag.
const Tag = "crashpoint"

// Point names a place, "service@what was done last".
type Point string

// Service is the point's first half: whose process dies.
func (p Point) Service() string {
	service, _, _ := strings.Cut(string(p), "@")
	return service
}

// Info describes a point, for the command line, the page and the tests.
type Info struct {
	Point  Point
	Dies   string // when the process dies
	Ends   string // what must have become of the order when everything has come to rest
	Healer string // the component that repairs it
	Try    string // the options of "holdfast order" that lead there

	Also Point             // armed as well: without it no order comes to this point
	Env  map[string]string // other settings than usual, for the services, without which it would take too long
}

// List returns all points, order-srv's first and the wallet's last, in the order in which an order comes to them.
func List() []Info {
	return slices.Concat(orderPoints(), notifyPoints(), xaPoints(), inventoryPoints(), walletPoints())
}

// Find returns the point of that name. The error lists the points.
func Find(name string) (Info, error) {
	list := List()
	i := slices.IndexFunc(list, func(p Info) bool { return string(p.Point) == name })
	if i < 0 {
		return Info{}, fmt.Errorf("there is no crash point %q; there are:\n%s", name, Lines())
	}
	return list[i], nil
}

// Lines is the list for people, a point on each line.
func Lines() string {
	var b strings.Builder
	for _, p := range List() {
		fmt.Fprintf(&b, "  %-26s %s\n", p.Point, p.Dies)
	}
	return b.String()
}

// Noted reports whether the healer leaves a healing behind. A broker that delivers a message again does not, nor does
// inventory's relay: healings are order-srv's.
func (i Info) Noted() bool {
	return !strings.HasPrefix(i.Healer, "the broker") && !strings.HasPrefix(i.Healer, InventoryPublished.Service())
}

// Points are those that have to be armed for this one: itself, and what leads to it.
func (i Info) Points() []Point {
	if i.Also == "" {
		return []Point{i.Point}
	}
	return []Point{i.Point, i.Also}
}

// Services are those that have to be started for the point: whose processes die, and whose settings it changes.
func (i Info) Services() []string {
	services := map[string]bool{}
	for _, p := range i.Points() {
		services[p.Service()] = true
	}
	if len(i.Env) > 0 {
		services[OrderPending.Service()] = true // all settings that points change are order-srv's
	}
	return slices.Sorted(maps.Keys(services))
}

// Environ is what arms a process for the point, its settings included.
func (i Info) Environ(marks string) map[string]string {
	var names []string
	for _, p := range i.Points() {
		names = append(names, string(p))
	}
	env := map[string]string{EnvAt: strings.Join(names, ","), EnvMarks: marks}
	maps.Copy(env, i.Env)
	return env
}

// Mark is the file that the process leaves when it dies at p.
func Mark(marks string, p Point) string { return filepath.Join(marks, string(p)) }

// Reached reports whether a process has died at p, or was stopped there, since the marks were removed.
func Reached(marks string, p Point) bool { return !ReachedAt(marks, p).IsZero() }

// ReachedAt is when; zero if p was not reached.
func ReachedAt(marks string, p Point) time.Time {
	mark, err := os.Stat(Mark(marks, p))
	if err != nil {
		return time.Time{}
	}
	return mark.ModTime()
}

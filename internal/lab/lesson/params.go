package lesson

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Params change a lesson. A zero value is the lesson's own.
type Params struct {
	TTL    time.Duration // of the lock
	Buyers int           // of a rush
	Pause  time.Duration // how long a holder works or hangs
}

// The names of the parameters.
const (
	paramTTL    = "ttl"
	paramBuyers = "buyers"
	paramPause  = "pause"
)

// Bounds of the parameters: pkg/lock takes no shorter TTL, a rush needs more buyers than units, and an hour is enough
// for everybody.
const (
	minTTL    = 200 * time.Millisecond
	maxTime   = time.Hour
	maxBuyers = 2000
)

// Check returns an error if a parameter does not change the lesson or has no meaning in it.
func (p Params) Check(l Lesson) error {
	var errs []error
	for _, given := range []struct {
		name string
		is   bool
	}{{paramTTL, p.TTL != 0}, {paramBuyers, p.Buyers != 0}, {paramPause, p.Pause != 0}} {
		if given.is && !slices.Contains(l.Takes, given.name) {
			errs = append(errs, fmt.Errorf("lesson %s has no parameter %s", l.Name, given.name))
		}
	}
	if p.TTL != 0 && (p.TTL < minTTL || p.TTL > maxTime) {
		errs = append(errs, fmt.Errorf("ttl is %v, not between %v and %v", p.TTL, minTTL, maxTime))
	}
	if p.Buyers != 0 && (p.Buyers <= rushUnits || p.Buyers > maxBuyers) {
		errs = append(errs, fmt.Errorf("buyers is %d, not between %d and %d", p.Buyers, rushUnits+1, maxBuyers))
	}
	if p.Pause < 0 || p.Pause > maxTime {
		errs = append(errs, fmt.Errorf("pause is %v, not between 0 and %v", p.Pause, maxTime))
	}
	return errors.Join(errs...)
}

// ttl returns the lock's time to live: the parameter, else the lesson's own.
func (e *Env) ttl(own time.Duration) time.Duration {
	if e.cfg.Params.TTL != 0 {
		return e.cfg.Params.TTL
	}
	return own
}

// unrenewed returns the time to live of a key that its holder does not renew. With --step it is long: he
// decides when it expires.
func (e *Env) unrenewed(own time.Duration) time.Duration {
	if e.cfg.Params.TTL != 0 {
		return e.cfg.Params.TTL
	}
	return e.patience(own)
}

// pause returns how long a holder works or hangs. The parameter must be longer than the time that it has to outlast.
func (e *Env) pause(own, outlasts time.Duration) (time.Duration, error) {
	d := e.cfg.Params.Pause
	if d == 0 {
		return own, nil
	}
	if d <= outlasts {
		return 0, fmt.Errorf("pause is %v, and must be longer than %v", d, outlasts)
	}
	return d, nil
}

// buyers returns the number of buyers of a rush.
func (e *Env) buyers() int {
	if e.cfg.Params.Buyers != 0 {
		return e.cfg.Params.Buyers
	}
	return rushBuyers
}

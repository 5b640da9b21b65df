package admit

import "time"

const (
	maxStart  = 256  // slots of a limiter that knows nothing yet: a slow service answers so many in time
	minSlots  = 8    // below it a pause of one request is a pause of the service
	growth    = 0.25 // of the limit, in one interval: from headroom it leads no further than to the target
	headroom  = 0.8  // of ServiceTarget: between it and the target the limit stays
	minCut    = 0.1  // of the limit goes at least when a service behind this one refused requests
	maxCut    = 0.5  // of the limit is left by one interval at least
	smoothing = 0.05 // weight of one request in the mean service time
)

// control is the arithmetic of a limiter: what was measured in this interval, and what follows for the next. Its
// methods are called under the limiter's mutex.
type control struct {
	cfg      Config
	limit    float64
	start    float64       // the limit while nothing is known of the service
	service  time.Duration // smoothed mean; 0: not known
	standing bool          // the queue did not empty during the last interval

	// Of the running interval.
	begin     time.Time
	leastWait time.Duration // -1: nothing was admitted
	most      int           // requests in flight
	sum       time.Duration // of service times
	n         int64
	overloads int64 // requests that a service behind us refused
}

func newControl(cfg Config, now time.Time) control {
	start := float64(min(cfg.Max, maxStart))
	if cfg.Fixed {
		start = float64(cfg.Max)
	}
	return control{cfg: cfg, limit: start, start: start, begin: now, leastWait: -1}
}

func (c *control) slots() int { return int(c.limit) }

// maxWait is the expected wait with which a newcomer may join the queue.
func (c *control) maxWait() time.Duration {
	if c.standing {
		return c.cfg.Target
	}
	return c.cfg.MaxWait
}

// expectedWait is how long the request at this position of the queue waits, counted from 1: slots become free at the
// rate of limit per service time.
func (c *control) expectedWait(position int) time.Duration {
	return time.Duration(float64(position) * float64(c.service) / c.limit)
}

// late reports whether a request that waits so long and then takes the recent service time misses its deadline.
func (c *control) late(now, deadline time.Time, wait time.Duration) bool {
	return !c.cfg.Fixed && !deadline.IsZero() && now.Add(wait+c.service).After(deadline)
}

func (c *control) waited(d time.Duration) {
	if c.leastWait < 0 || d < c.leastWait {
		c.leastWait = d
	}
}

func (c *control) used(inFlight int) { c.most = max(c.most, inFlight) }

func (c *control) ended(took time.Duration, o Outcome) {
	switch o {
	case Malformed:
	case Overload:
		c.overloads++
	case Served:
		c.sum += took
		c.n++
		if c.service == 0 {
			c.service = took
		}
		c.service += time.Duration(smoothing * float64(took-c.service))
	}
}

// adjust begins a new interval when the current one has ended, and reports whether it moved the limit. An interval is
// at least as long as a request: an earlier measurement shows the effect of the previous limit.
func (c *control) adjust(now time.Time, inFlight int) bool {
	passed := now.Sub(c.begin)
	if passed < c.cfg.Interval || passed < c.service && inFlight > 0 {
		return false
	}
	before := c.slots()
	switch {
	case c.cfg.Fixed:
	case c.overloads > 0: // the refused share of the requests in flight was too many
		c.limit *= max(maxCut, 1-max(minCut, float64(c.overloads)/float64(c.overloads+c.n)))
	case c.n > 0:
		c.follow(c.sum / time.Duration(c.n))
	case inFlight == 0: // idle: what was measured before says less about now, and a pause makes nothing faster
		c.limit, c.service = min(2*c.limit, c.start), c.service/2
	}
	if inFlight == 0 && passed >= 2*c.cfg.Interval { // each end of a request calls adjust: an interval passed without one
		c.limit = min(c.limit, c.start)
	}
	c.limit = min(max(c.limit, minSlots), float64(c.cfg.Max))
	if c.leastWait > c.cfg.Target {
		c.standing = true
	} else if c.leastWait < c.cfg.Target/2 { // lower than the bound of a standing queue, or it would end itself
		c.standing = false
	}
	c.begin, c.leastWait, c.most, c.sum, c.n, c.overloads = now, -1, inFlight, 0, 0, 0
	return c.slots() != before
}

// follow moves the limit by the interval's mean service time.
func (c *control) follow(mean time.Duration) {
	target := c.cfg.ServiceTarget
	switch {
	case mean > target:
		c.limit *= max(maxCut, float64(target)/float64(mean))
	case mean < time.Duration(headroom*float64(target)) && c.most >= c.slots():
		c.limit += max(1, growth*c.limit)
	}
}

package admit

import (
	"container/list"
	"context"
	"sync"
	"time"

	"holdfast/pkg/fault"
)

// ErrOverloaded is the refusal of a limiter: nothing was executed. No client of ours repeats it; a client outside
// retries after a pause.
var ErrOverloaded = fault.New(fault.Limited, "overloaded",
	"the service is busy and did not execute the request; retry after the time in Retry-After, with the same Idempotency-Key")

// Config is what a limiter needs. Zero values mean the defaults.
type Config struct {
	Kind    string   // of request, the label of its metrics
	Max     int      // requests in flight at most; as many may wait; default 1,024
	Metrics *Metrics // nil: none

	// Fixed keeps the limit at Max and judges no deadline: for a service whose caller has begun work that a refusal would
	// waste. The bound is then a backstop.
	Fixed bool

	Timeout       time.Duration // of a request, from which the next two follow; default 4 s
	ServiceTarget time.Duration // mean service time above which the limit falls; default an eighth of Timeout
	Target        time.Duration // wait that is acceptable all the time; default an eightieth of Timeout
	MaxWait       time.Duration // wait that is acceptable in a burst; default 4 times Target
	Interval      time.Duration // between two adjustments, at least; default 200 ms
}

const (
	defaultMax      = 1024
	defaultTimeout  = 4 * time.Second
	defaultInterval = 200 * time.Millisecond

	servicesPerTimeout = 8 // the slowest requests take several times the mean
	waitsPerTimeout    = 80
)

// Limiter bounds the requests of one kind. A nil limiter admits everything. It is safe for concurrent use.
type Limiter struct {
	cfg     Config
	metrics kindMetrics

	mu       sync.Mutex
	control  control
	inFlight int
	queue    *list.List // of *waiter, the oldest first
}

// waiter is a request in the queue. Its fields are guarded by Limiter.mu, but for decided, which is closed once err is
// set.
type waiter struct {
	since    time.Time
	deadline time.Time // zero: none
	decided  chan struct{}
	err      error // nil: it has a slot
}

// New returns a limiter. It starts with 256 slots, or with Max if that is less or the limit is fixed.
func New(cfg Config) *Limiter {
	if cfg.Max <= 0 {
		cfg.Max = defaultMax
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.ServiceTarget == 0 {
		cfg.ServiceTarget = cfg.Timeout / servicesPerTimeout
	}
	if cfg.Target == 0 {
		cfg.Target = cfg.Timeout / waitsPerTimeout
	}
	if cfg.MaxWait == 0 {
		cfg.MaxWait = 4 * cfg.Target
	}
	if cfg.Interval == 0 {
		cfg.Interval = defaultInterval
	}
	l := &Limiter{cfg: cfg, metrics: cfg.Metrics.of(cfg.Kind), control: newControl(cfg, time.Now()), queue: list.New()}
	l.metrics.limit.Set(float64(l.control.slots()))
	return l
}

// Outcome is how the work in a slot ended.
type Outcome int

// The outcomes.
const (
	Served    Outcome = iota // its time counts
	Malformed                // refused for what the caller sent: its time says nothing
	Overload                 // a service behind this one was overloaded: the limit falls
)

// Slot is the permission to work. Release returns it.
type Slot struct {
	l     *Limiter
	begin time.Time
}

// Acquire returns a slot, after a wait of at most Config.MaxWait. Errors: [ErrOverloaded] when no slot becomes free in
// time or the deadline of ctx cannot be met; a fault of kind Timeout, not ambiguous, when ctx ended during the wait.
func (l *Limiter) Acquire(ctx context.Context) (Slot, error) {
	if l == nil {
		return Slot{}, nil
	}
	deadline, _ := ctx.Deadline()
	l.mu.Lock()
	now := time.Now()
	l.adjust(now)
	if l.inFlight == 0 || l.inFlight < l.control.slots() && l.queue.Len() == 0 && !l.control.late(now, deadline, 0) {
		slot := l.grant(now, 0)
		l.mu.Unlock()
		return slot, nil
	}
	if reason := l.refusal(now, deadline); reason != "" {
		l.mu.Unlock()
		return Slot{}, l.refuse(reason)
	}
	w := &waiter{since: now, deadline: deadline, decided: make(chan struct{})}
	place := l.queue.PushBack(w)
	l.metrics.waiting.Set(float64(l.queue.Len()))
	l.mu.Unlock()
	return l.wait(ctx, w, place)
}

// Refuses reports whether Acquire would refuse a newcomer at once, and counts that refusal. A server asks before it
// does anything else for a request, so that a refusal costs as little as possible. After false, Acquire decides.
func (l *Limiter) Refuses() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.adjust(now)
	if l.inFlight < l.control.slots() && l.queue.Len() == 0 {
		return false
	}
	reason := l.refusal(now, time.Time{})
	if reason != "" {
		l.metrics.refused(reason)
	}
	return reason != ""
}

// refusal returns why a newcomer that finds no free slot may not wait, or "". Called with l.mu.
func (l *Limiter) refusal(now, deadline time.Time) string {
	expected := l.control.expectedWait(l.queue.Len() + 1)
	switch oldest := l.queue.Front(); {
	case l.control.late(now, deadline, expected):
		return reasonDeadline
	case l.queue.Len() >= l.cfg.Max, expected > l.control.maxWait():
		return reasonQueue
	case oldest != nil && now.Sub(oldest.Value.(*waiter).since) >= l.cfg.MaxWait: // nothing ends, and the estimate is old
		return reasonQueue
	}
	return ""
}

func (l *Limiter) wait(ctx context.Context, w *waiter, place *list.Element) (Slot, error) {
	timer := time.NewTimer(l.cfg.MaxWait)
	defer timer.Stop()
	err := error(nil)
	select {
	case <-w.decided:
	case <-timer.C:
		err = ErrOverloaded
	case <-ctx.Done():
		err = fault.From(ctx.Err()).NotExecuted()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.decided: // perhaps in the last moment
		if w.err != nil {
			return Slot{}, l.refuse(reasonDeadline)
		}
		return Slot{l: l, begin: time.Now()}, nil
	default:
	}
	l.queue.Remove(place)
	l.metrics.waiting.Set(float64(l.queue.Len()))
	l.control.waited(time.Since(w.since))
	l.metrics.refused(reasonWaited)
	return Slot{}, err
}

// grant takes a slot for a request that has waited. Called with l.mu.
func (l *Limiter) grant(now time.Time, waited time.Duration) Slot {
	l.inFlight++
	l.control.waited(waited)
	l.control.used(l.inFlight)
	l.metrics.inFlight.Set(float64(l.inFlight))
	l.metrics.wait.Observe(waited.Seconds())
	return Slot{l: l, begin: now}
}

func (l *Limiter) refuse(reason string) error {
	l.metrics.refused(reason)
	return ErrOverloaded
}

// Release returns the slot. It must be called once, after the work has ended.
func (s Slot) Release(o Outcome) {
	l := s.l
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.inFlight--
	l.control.ended(now.Sub(s.begin), o)
	l.adjust(now)
	l.dispatch(now)
	l.metrics.inFlight.Set(float64(l.inFlight))
}

// dispatch gives free slots to those that wait, and refuses those for which it has become too late. Called with l.mu.
func (l *Limiter) dispatch(now time.Time) {
	for l.queue.Len() > 0 && l.inFlight < l.control.slots() {
		w := l.queue.Remove(l.queue.Front()).(*waiter)
		if l.control.late(now, w.deadline, 0) {
			w.err = ErrOverloaded
		} else {
			l.grant(now, now.Sub(w.since))
		}
		close(w.decided)
	}
	l.metrics.waiting.Set(float64(l.queue.Len()))
}

// adjust moves the limit at the end of an interval. After a raise the next Release admits waiting requests. Called with
// l.mu.
func (l *Limiter) adjust(now time.Time) {
	if l.control.adjust(now, l.inFlight) {
		l.metrics.limit.Set(float64(l.control.slots()))
	}
}

package flow

import (
	"sync"
	"time"
)

const (
	firstReminder = 10 * time.Second // between the first two log lines about a subject; doubles
	lastReminder  = 10 * time.Minute
)

// reminders say when to log again what a loop finds in each of its passes. The first time is at once, and then the
// pauses double: a line a second would hide everything else in the log, and one line alone is lost with the log's
// rotation.
type reminders struct {
	now func() time.Time

	mu       sync.Mutex
	subjects map[string]reminder
}

// reminder is about one subject.
type reminder struct {
	seen, next time.Time
	pause      time.Duration // after next
}

func newReminders(now func() time.Time) *reminders {
	return &reminders{now: now, subjects: map[string]reminder{}}
}

// due reports whether a subject, which has been found now, is to be logged. A subject that has not been found for
// [lastReminder] is forgotten, and is new the next time.
func (r *reminders) due(subject string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	s, known := r.subjects[subject]
	if known && now.Sub(s.seen) > lastReminder {
		s = reminder{}
	}
	s.seen = now
	due := !now.Before(s.next)
	if due {
		r.forget(now)
		s.pause = min(max(firstReminder, 2*s.pause), lastReminder)
		s.next = now.Add(s.pause)
	}
	r.subjects[subject] = s
	return due
}

// forget deletes what has not been found for long.
func (r *reminders) forget(now time.Time) {
	for subject, s := range r.subjects {
		if now.Sub(s.seen) > lastReminder {
			delete(r.subjects, subject)
		}
	}
}

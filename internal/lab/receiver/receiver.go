// Package receiver is the buyer's side of notifications, for holdfast webhook-listen and the lesson: it verifies each
// one, executes an event once, and may be slow or fail.
package receiver

import (
	"net/http"
	"sync"
	"time"

	"holdfast/pkg/wait"
	"holdfast/pkg/webhook"
)

// Delivery is a notification that came, and the answer to it.
type Delivery struct {
	At      time.Time
	Event   webhook.Event
	Attempt string // as the sender counts
	Repeat  bool   // the event was executed before
	Status  int    // of the answer
	Err     error  // why it was not accepted; nil otherwise
}

// Receiver handles notifications. Set its fields before it serves.
type Receiver struct {
	Secret string
	Slow   time.Duration // before each answer

	// Broken reports that a verified notification, counted from 1, is answered with 500; nil: none is.
	Broken func(verified int, now time.Time) bool
	// Deliver is called for each notification, by one goroutine at a time; nil: nothing is called.
	Deliver func(Delivery)

	mu       sync.Mutex
	verified int
	executed map[string]bool
}

// ServeHTTP implements http.Handler. It verifies first: what is not signed may come from anywhere. It remembers the
// events that it has executed by their ids: the sender repeats an event whose answer it did not get, so every event may
// come twice.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	d := Delivery{At: time.Now(), Attempt: req.Header.Get(webhook.HeaderAttempt)}
	d.Event, d.Err = webhook.Read(req, r.Secret, d.At)
	if r.Slow > 0 {
		_ = wait.Sleep(req.Context(), r.Slow) // a sender that gives up ends the wait
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d.Status = r.answer(&d)
	w.WriteHeader(d.Status)
	if r.Deliver != nil {
		r.Deliver(d)
	}
}

// answer executes the event and returns the status of the answer. A receiver with a database writes the id in the
// transaction of the effect: a map is lost with the process.
func (r *Receiver) answer(d *Delivery) int {
	if d.Err != nil {
		return http.StatusBadRequest
	}
	r.verified++
	if r.Broken != nil && r.Broken(r.verified, d.At) {
		return http.StatusInternalServerError
	}
	if r.executed == nil {
		r.executed = map[string]bool{}
	}
	d.Repeat = r.executed[d.Event.ID]
	r.executed[d.Event.ID] = true
	return http.StatusOK
}

// Executed returns how many events were executed.
func (r *Receiver) Executed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.executed)
}

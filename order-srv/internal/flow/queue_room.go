package flow

import "sync"

// room counts the orders that have a place in the queue: those that the last reading of queued_orders found, and those
// of this process that it cannot contain. So this process alone never has more than max orders let in, however long
// their inserts take. It is safe for concurrent use.
//
// What other replicas let in is not known before the next reading.
type room struct {
	max int

	mu       sync.Mutex
	depth    int // orders in the table, as last read
	entering int // let in, and their insert has not ended
	// entered are those inserted since the last reading began. It may contain some of them, and they count twice until the
	// next one.
	entered int
}

// take takes a place, or returns false when none exists.
func (r *room) take() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.depth+r.entering+r.entered >= r.max {
		return false
	}
	r.entering++
	return true
}

// settle ends what take has begun. The place is free at once if the order was certainly not inserted. Otherwise the
// order keeps it until a reading that began after its insert.
func (r *room) settle(inserted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entering--
	if inserted {
		r.entered++
	}
}

// begin is called before a reading, which contains all orders that have entered by then or that have left since. It
// returns their number, for end.
func (r *room) begin() (contained int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entered
}

// end is called after a reading.
func (r *room) end(contained, depth int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entered -= contained
	r.depth = depth
}

// used returns how many orders the last reading found, and how many it does not contain.
func (r *room) used() (depth, since int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.depth, r.entering + r.entered
}

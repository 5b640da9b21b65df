package events

import "sync"

// keptReleases is how many released orders a process remembers.
const keptReleases = 16384

// released remembers the orders that this process has released last, to recognise repeated deliveries. It has no
// releases of other replicas or of earlier processes: it counts too few, never too many.
type released struct {
	mu     sync.Mutex
	orders map[string]struct{}
	ring   []string // in the order of the releases; next is overwritten
	next   int
}

func newReleased(limit int) *released {
	return &released{orders: make(map[string]struct{}, limit), ring: make([]string, limit)}
}

// record adds a release and reports whether the order had been released before.
func (r *released) record(orderNo string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.orders[orderNo]; ok {
		return true
	}
	delete(r.orders, r.ring[r.next])
	r.orders[orderNo] = struct{}{}
	r.ring[r.next] = orderNo
	r.next = (r.next + 1) % len(r.ring)
	return false
}

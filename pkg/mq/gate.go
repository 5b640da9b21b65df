package mq

import "sync"

// gate lets handlers in until it is shut, and tells when the last one has left. A sync.WaitGroup alone cannot: Add must
// not race with Wait.
type gate struct {
	mu      sync.Mutex
	closed  bool
	inside  int
	empty   chan struct{} // closed when the gate is shut and no handler runs
	release chan struct{} // closed when those turned away may go
}

func (g *gate) init() {
	g.empty = make(chan struct{})
	g.release = make(chan struct{})
}

// enter reports whether the caller may work; if so it must leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

// leave undoes enter.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.closed && g.inside == 0 {
		close(g.empty)
	}
}

// shut turns everybody away from now on. It must be called once.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.inside == 0 {
		close(g.empty)
	}
}

// idle is closed when the gate is shut and no handler runs.
func (g *gate) idle() <-chan struct{} { return g.empty }

// open lets those go that wait in turnedAway.
func (g *gate) open() { close(g.release) }

// turnedAway blocks a callback that may not run its handler until the consumer is shut down. The library then ignores
// the result, and the broker delivers the message to another consumer without counting an attempt.
func (g *gate) turnedAway() { <-g.release }

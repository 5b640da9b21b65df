package lock

import "sync"

// background is goroutines that outlive the call which started them.
type background struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// start runs do in a goroutine that close waits for; false after close.
func (b *background) start(do func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.running.Go(do)
	return true
}

func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.running.Wait()
}

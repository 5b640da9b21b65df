package lock

import "sync"

// wakes hands reports of freed keys to the contender that waits for them. The gate sees to it that there is at most one
// contender per key in this process.
type wakes struct {
	mu         sync.Mutex
	contenders map[string]chan struct{}
}

func newWakes() *wakes { return &wakes{contenders: make(map[string]chan struct{})} }

// join returns a channel that gets a value when one of the keys was freed after join. The caller is inside the gates
// of the keys until leave.
func (w *wakes) join(keys []string) <-chan struct{} {
	woken := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		w.contenders[key] = woken
	}
	return woken
}

func (w *wakes) leave(keys []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		delete(w.contenders, key)
	}
}

// onFreed wakes the contender for the key, if there is one. It never blocks: one pending wake-up is as good as two.
func (w *wakes) onFreed(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if woken, ok := w.contenders[key]; ok {
		signal(woken)
	}
}

// onReady wakes each contender once, as reports may have been missed until now.
func (w *wakes) onReady() {
	w.mu.Lock()
	defer w.mu.Unlock()
	signaled := make(map[chan struct{}]bool) // a contender for several keys is in the map several times
	for _, woken := range w.contenders {
		if !signaled[woken] {
			signaled[woken] = true
			signal(woken)
		}
	}
}

func signal(woken chan struct{}) {
	select {
	case woken <- struct{}{}:
	default:
	}
}

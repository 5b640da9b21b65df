package lock

import (
	"context"
	"slices"
	"sync"
)

// gate lets one goroutine of this process at a time contend for a key, in the order in which they came. Without it a
// thousand waiters would each ask Redis after every release, and the last to come would as likely win as the first.
type gate struct {
	mu     sync.Mutex
	queues map[string][]chan struct{} // the first of each queue is inside; a closed channel says so to its owner
}

func newGate() *gate { return &gate{queues: make(map[string][]chan struct{})} }

// enter passes the gates of all keys one after the other. Keys must be sorted: two callers who went through the same
// gates in opposite order would wait for each other for ever. On an error it is inside none of them.
func (g *gate) enter(ctx context.Context, keys []string) error {
	for i, key := range keys {
		if err := g.enterOne(ctx, key); err != nil {
			g.leave(keys[:i])
			return err
		}
	}
	return nil
}

func (g *gate) enterOne(ctx context.Context, key string) error {
	turn := make(chan struct{})
	g.mu.Lock()
	g.queues[key] = append(g.queues[key], turn)
	first := len(g.queues[key]) == 1
	g.mu.Unlock()
	if first {
		return nil
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		g.remove(key, turn)
		return ctx.Err()
	}
}

// leave lets the next in each queue in.
func (g *gate) leave(keys []string) {
	for _, key := range keys {
		g.mu.Lock()
		turn := g.queues[key][0]
		g.mu.Unlock()
		g.remove(key, turn)
	}
}

// remove takes turn out of the queue wherever it stands; if it stood first, the next one's turn has come.
func (g *gate) remove(key string, turn chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	queue := g.queues[key]
	i := slices.Index(queue, turn)
	queue = slices.Delete(queue, i, i+1)
	if len(queue) == 0 {
		delete(g.queues, key)
		return
	}
	g.queues[key] = queue
	if i == 0 {
		close(queue[0])
	}
}

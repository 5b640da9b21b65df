package flow

import (
	"sync"
	"testing"
)

// TestRoom has many orders enter a table while it is read and drained. It never has more rows than there is room for,
// whatever the order of inserts, readings and their ends; and all places are free in the end.
func TestRoom(t *testing.T) {
	t.Parallel()
	const limit, orders, clerks = 8, 400, 16
	r := &room{max: limit}
	var mu sync.Mutex
	rows, deepest := 0, 0
	insert := func() {
		mu.Lock()
		defer mu.Unlock()
		rows++
		deepest = max(deepest, rows)
	}
	remove := func() { // a worker decides an order
		mu.Lock()
		defer mu.Unlock()
		rows = max(0, rows-1)
	}
	read := func() {
		contained := r.begin()
		mu.Lock()
		depth := rows
		mu.Unlock()
		r.end(contained, depth)
	}
	stop := make(chan struct{})
	var reading, entering sync.WaitGroup
	reading.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				read()
			}
		}
	})
	for range clerks {
		entering.Go(func() {
			for i := 0; i < orders; {
				if !r.take() {
					remove()
					continue
				}
				i++
				if i%5 == 0 {
					r.settle(false)
					continue
				}
				insert()
				r.settle(true)
			}
		})
	}
	entering.Wait()
	close(stop)
	reading.Wait()
	if deepest > limit {
		t.Errorf("%d rows at once, want at most %d", deepest, limit)
	}
	rows = 0
	read()
	if depth, since := r.used(); depth != 0 || since != 0 {
		t.Errorf("depth %d, since %d; want 0 and 0", depth, since)
	}
}

package waiting_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/waiting"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rows are the statuses of orders.
type rows struct {
	mu       sync.Mutex
	statuses map[string]order.Status
	err      error
	reads    int
	asked    int // orders of the last read
}

// Statuses implements waiting.Orders.
func (r *rows) Statuses(_ context.Context, orderNos []string) (map[string]order.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	r.asked = len(orderNos)
	found := map[string]order.Status{}
	for _, no := range orderNos {
		if s, ok := r.statuses[no]; ok {
			found[no] = s
		}
	}
	return found, r.err
}

func (r *rows) set(orderNo string, s order.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.statuses[orderNo] = s
}

func (r *rows) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *rows) count() (reads, asked int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads, r.asked
}

// inRoom runs a test with a room, in synthetic time. "a" and "b" are PENDING orders.
func inRoom(t *testing.T, most int, test func(t *testing.T, room *waiting.Room, r *rows)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rows{statuses: map[string]order.Status{"a": order.Pending, "b": order.Pending}}
		room := waiting.New(waiting.Config{Orders: r, Max: most, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { room.Run(ctx) })
		defer running.Wait()
		defer cancel()
		test(t, room, r)
	})
}

// waitFor returns how long the wait took.
func waitFor(t *testing.T, room *waiting.Room, orderNo string, d time.Duration) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	begin := time.Now()
	room.Wait(ctx, orderNo)
	return time.Since(begin)
}

// few is a few polls.
const few = 75 * time.Millisecond

func TestRoom_Wait(t *testing.T) {
	t.Parallel()
	const decides = time.Second
	for name, tt := range map[string]struct {
		order    string
		decide   func(room *waiting.Room, r *rows)
		from, to time.Duration
	}{
		"this process decides":    {"a", func(room *waiting.Room, _ *rows) { room.Decided([]string{"b", "a"}) }, decides, decides},
		"another process decides": {"a", func(_ *waiting.Room, r *rows) { r.set("a", order.Rejected) }, decides, decides + few},
		"another order":           {"a", func(room *waiting.Room, r *rows) { r.set("b", order.Placed); room.Decided([]string{"b"}) }, 5 * time.Second, 5 * time.Second},
		"nothing decides":         {"a", func(*waiting.Room, *rows) {}, 5 * time.Second, 5 * time.Second},
		"decided before":          {"placed", func(*waiting.Room, *rows) {}, 0, few},
		"the process stops":       {"a", func(room *waiting.Room, _ *rows) { room.Close() }, decides, decides},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inRoom(t, 0, func(t *testing.T, room *waiting.Room, r *rows) {
				r.set("placed", order.Placed)
				deciding := time.AfterFunc(decides, func() { tt.decide(room, r) })
				defer deciding.Stop()
				var running sync.WaitGroup
				for range 3 { // they wait together
					running.Go(func() {
						if took := waitFor(t, room, tt.order, 5*time.Second); took < tt.from || took > tt.to {
							t.Errorf("it took %v, want %v to %v", took, tt.from, tt.to)
						}
					})
				}
				running.Wait()
			})
		})
	}
}

// TestRoom_statements: one statement every 25 ms for all orders that are waited for, and none while no request waits,
// also after callers that have hung up.
func TestRoom_statements(t *testing.T) {
	t.Parallel()
	inRoom(t, 0, func(t *testing.T, room *waiting.Room, r *rows) {
		time.Sleep(time.Hour)
		if n, _ := r.count(); n != 0 {
			t.Errorf("%d statements while no request waits", n)
		}
		var running sync.WaitGroup
		hangUp, cancel := context.WithCancel(t.Context())
		for range 10 {
			running.Go(func() { waitFor(t, room, "a", time.Second) })
			running.Go(func() { room.Wait(hangUp, "b") })
		}
		time.Sleep(510 * time.Millisecond)
		if n, asked := r.count(); n != 20 || asked != 2 {
			t.Errorf("%d statements in 510 ms, the last about %d orders; want 20, about 2", n, asked)
		}
		cancel()
		time.Sleep(few)
		if _, asked := r.count(); asked != 1 {
			t.Errorf("the last statement was about %d orders, want that of the callers that wait", asked)
		}
		running.Wait()
		before, _ := r.count()
		time.Sleep(time.Hour)
		if after, _ := r.count(); after > before {
			t.Errorf("%d statements after the last request", after-before)
		}
	})
}

// TestRoom_failure: while the database cannot be read, the room looks less often, and recovers.
func TestRoom_failure(t *testing.T) {
	t.Parallel()
	inRoom(t, 0, func(t *testing.T, room *waiting.Room, r *rows) {
		r.fail(errors.New("down"))
		deciding := time.AfterFunc(2*time.Second, func() { r.set("a", order.Placed); r.fail(nil) })
		defer deciding.Stop()
		if took := waitFor(t, room, "a", 10*time.Second); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("it took %v, want a moment more than 2 s", took)
		}
		if n, _ := r.count(); n > 6 {
			t.Errorf("%d statements in 2 s", n)
		}
	})
}

func TestRoom_Enter(t *testing.T) {
	t.Parallel()
	inRoom(t, 0, func(t *testing.T, room *waiting.Room, _ *rows) {
		var leave func()
		for n := range waiting.DefaultMax {
			var ok bool
			if leave, ok = room.Enter(); !ok {
				t.Fatalf("request %d has no place", n+1)
			}
		}
		if _, ok := room.Enter(); ok {
			t.Error("request 1,001 has a place")
		}
		leave()
		if _, ok := room.Enter(); !ok {
			t.Error("a place that was left is not free")
		}
		leave()
		room.Close()
		if _, ok := room.Enter(); ok {
			t.Error("a request has a place while the process stops")
		}
		if took := waitFor(t, room, "a", time.Second); took > 0 {
			t.Errorf("a request waited %v while the process stops", took)
		}
	})
}

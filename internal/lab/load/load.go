// Package load sends orders to a shop: in a closed loop, in which buyers wait for their answers, and in an open loop,
// in which orders arrive at a rate. The generator shares the machine with the shop, so it must use little CPU: each
// connection is one goroutine that writes a request from a template and reads the answer's status and length, without
// net/http.
package load

import (
	"context"
	"sync"
	"time"

	"holdfast/pkg/wait"
)

const (
	// dialling is the maximum number of connections that are being opened at the same time.
	dialling = 64
	// refusedPause is how long a buyer of a closed loop waits after a refusal. Without it the loop would act as an open
	// one.
	refusedPause = 100 * time.Millisecond
	// tick is the interval at which an open loop sends the orders that are due.
	tick = time.Millisecond
)

// Run is one load.
type Run struct {
	Target      Target
	Name        string // no other run on the target has it: its orders have keys of their own
	Connections int
	Time        time.Duration
	Deadline    time.Duration // an order that is placed later is late
	Began       func()        // called when measuring begins; nil: nothing
}

func (r Run) began() time.Time {
	if r.Began != nil {
		r.Began()
	}
	return time.Now()
}

// Closed runs a buyer on each connection that sends the next order after each answer. The first quarter of the time is
// not measured. It returns the counts and how long was measured.
func (r Run) Closed(ctx context.Context) (*Tally, time.Duration) {
	out := &Tally{deadline: r.Deadline}
	ctx, cancel := context.WithTimeout(ctx, r.Time)
	defer cancel()
	var running sync.WaitGroup
	for i := range r.Connections {
		running.Go(func() {
			c := NewConn(r.Target, r.Name, i)
			defer c.Close()
			for ctx.Err() == nil {
				begin := time.Now()
				status, err := c.Order(ctx)
				out.add(status, err, time.Since(begin))
				if status != 201 {
					_ = wait.Sleep(ctx, refusedPause)
				}
			}
		})
	}
	_ = wait.Sleep(ctx, r.Time/4)
	begin := r.began()
	out.measured.Store(true)
	<-ctx.Done()
	out.measured.Store(false)
	measured := time.Since(begin)
	running.Wait()
	return out, measured
}

// Open sends rate orders per second over the connections and waits for all answers. An order that is due while all
// connections are busy counts as unsent. It returns the counts and how long orders were due.
func (r Run) Open(ctx context.Context, rate float64) (*Tally, time.Duration) {
	out := &Tally{deadline: r.Deadline}
	out.measured.Store(true)
	due := make(chan time.Time, r.Connections)
	var running sync.WaitGroup
	for _, c := range r.dial(ctx) {
		running.Go(func() {
			defer c.Close()
			for at := range due {
				status, err := c.Order(ctx)
				out.add(status, err, time.Since(at))
			}
		})
	}
	begin := r.began()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	given := 0
	for now := begin; ; now = <-ticker.C {
		elapsed := min(now.Sub(begin), r.Time) // a late tick gives every order that was due, and none beyond the end
		for ; float64(given) < rate*elapsed.Seconds(); given++ {
			select {
			case due <- begin.Add(time.Duration(float64(given) / rate * float64(time.Second))):
			default:
				out.Unsent.Add(1)
			}
		}
		if elapsed == r.Time || ctx.Err() != nil {
			break
		}
	}
	measured := time.Since(begin)
	close(due)
	running.Wait()
	return out, measured
}

// dial opens the connections. Each sends a small request, because a server closes a new connection that stays silent. A
// connection that fails is opened again with its first order.
func (r Run) dial(ctx context.Context) []*Conn {
	conns := make([]*Conn, r.Connections)
	next := make(chan int, len(conns))
	for i := range conns {
		conns[i] = NewConn(r.Target, r.Name, i)
		next <- i
	}
	close(next)
	var running sync.WaitGroup
	for range dialling {
		running.Go(func() {
			for i := range next {
				conns[i].warmUp(ctx)
			}
		})
	}
	running.Wait()
	return conns
}

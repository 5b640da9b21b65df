package main

import (
	"context"
	"fmt"
	"sync"
	"syscall"
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

// closedLoop runs buyers that send their next order after each answer. The first part of the time is not measured.
func closedLoop(ctx context.Context, t target, n int, d, deadline time.Duration) (*tally, time.Duration) {
	out := &tally{deadline: deadline}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			c := newConn(t, fmt.Sprintf("closed%d", n), i)
			defer c.close()
			for ctx.Err() == nil {
				begin := time.Now()
				status, err := c.order(ctx)
				out.add(status, err, time.Since(begin))
				if status != 201 {
					_ = wait.Sleep(ctx, refusedPause)
				}
			}
		})
	}
	_ = wait.Sleep(ctx, d/4)
	begin := time.Now()
	out.measured.Store(true)
	<-ctx.Done()
	out.measured.Store(false)
	measured := time.Since(begin)
	running.Wait()
	return out, measured
}

// openLoop sends rate orders per second for d over n connections and waits for all answers. An order that is due while
// all connections are busy counts as unsent.
func openLoop(ctx context.Context, t target, n int, rate float64, d, deadline time.Duration) (*tally, time.Duration) {
	out := &tally{deadline: deadline}
	out.measured.Store(true)
	due := make(chan time.Time, n)
	var running sync.WaitGroup
	conns := make([]*conn, n)
	dial(ctx, t, conns, fmt.Sprintf("open%.0f", rate))
	for _, c := range conns {
		running.Go(func() {
			defer c.close()
			for at := range due {
				status, err := c.order(ctx)
				out.add(status, err, time.Since(at))
			}
		})
	}
	begin := time.Now()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	given := 0
	for now := begin; now.Sub(begin) < d && ctx.Err() == nil; now = <-ticker.C {
		for ; float64(given) < rate*now.Sub(begin).Seconds(); given++ {
			select {
			case due <- begin.Add(time.Duration(float64(given) / rate * float64(time.Second))):
			default:
				out.unsent.Add(1)
			}
		}
	}
	measured := time.Since(begin)
	close(due)
	running.Wait()
	return out, measured
}

// dial fills conns with open connections. Each sends a small request, because a server closes a new connection that
// stays silent. A connection that fails is opened again with its first order.
func dial(ctx context.Context, t target, conns []*conn, run string) {
	next := make(chan int, len(conns))
	for i := range conns {
		conns[i] = newConn(t, fmt.Sprintf("%s-%d", run, len(conns)), i)
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
}

// cpuTime returns the CPU time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

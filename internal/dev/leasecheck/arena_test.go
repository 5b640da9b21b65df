package leasecheck_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"holdfast/internal/dev/leasecheck"
	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
	"holdfast/pkg/lock"
)

const (
	leaseTTL = 400 * time.Millisecond
	plenty   = 1_000_000 // units of each key
)

// arena is a Redis that may be harmed, the proxy through which all lockers reach it, and workers on it.
type arena struct {
	*leasecheck.Bench
	redis *stack.Redis
	proxy *tcpproxy.Proxy
	keys  []string

	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func newArena(t *testing.T, settings ...string) *arena {
	t.Helper()
	own := stacktest.OwnRedis(t, settings...)
	a := &arena{
		Bench: leasecheck.NewBench(t, leasecheck.Real(), own.Addr), redis: own, proxy: tcpproxy.New(t, own.Addr), keys: []string{"a", "b"},
	}
	a.Put(plenty, a.keys...)
	return a
}

// Write makes the arena the journal's writer.
func (a *arena) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text.Write(p)
}

func (a *arena) history(t *testing.T) leasecheck.History {
	t.Helper()
	a.mu.Lock()
	text := bytes.Clone(a.text.Bytes())
	a.mu.Unlock()
	h, err := leasecheck.Read(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// work starts three lockers, each as another process would be, with two workers each. stop ends and waits for them.
func (a *arena) work(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	journal := leasecheck.NewJournal(a)
	var all sync.WaitGroup
	for i := range 3 {
		locker := a.LockerAt(a.proxy.Addr(), lock.WithTTL(leaseTTL), lock.WithMaxHold(2*leaseTTL), lock.WithObserver(leasecheck.Observer{Journal: journal}))
		for j := range 2 {
			w := leasecheck.Worker{
				Name: fmt.Sprintf("%d/%d", i, j), Locker: locker, Stock: a.Stock, Journal: journal, Keys: a.keys,
				Linger: 3 * leaseTTL, Rand: rand.New(rand.NewPCG(uint64(i), uint64(j))),
			}
			all.Go(func() { w.Run(ctx) })
		}
	}
	stop = func() {
		cancel()
		all.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// accepts waits until n more deductions were accepted: everything works, or works again.
func (a *arena) accepts(t *testing.T, n int) {
	t.Helper()
	before := a.history(t).Count(leasecheck.Accepted)
	leasecheck.Eventually(t, "deductions are accepted", func() bool { return a.history(t).Count(leasecheck.Accepted) >= before+n })
}

// noted waits until an event was noted more often than it was before.
func (a *arena) noted(t *testing.T, before leasecheck.History, event string) {
	t.Helper()
	leasecheck.Eventually(t, event, func() bool { return a.history(t).Events[event] > before.Events[event] })
}

// verify checks each key's history against the models.
func (a *arena) verify(t *testing.T, h leasecheck.History) {
	t.Helper()
	for _, key := range a.keys {
		if err := a.Verify(h, key, plenty); err != nil {
			t.Errorf("key %s: %v", key, err)
		}
	}
	summary := fmt.Sprintf("%d accepted, %d stale, %d unknown, %d cut",
		h.Count(leasecheck.Accepted), h.Count(leasecheck.Stale), h.Count(leasecheck.Unknown), h.Count(leasecheck.Nothing))
	for _, event := range slices.Sorted(maps.Keys(h.Events)) {
		summary += fmt.Sprintf("; %s %d", event, h.Events[event])
	}
	t.Log(summary)
}

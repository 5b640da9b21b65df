package leasecheck_test

import (
	"context"
	"testing"
	"time"

	"holdfast/internal/dev/leasecheck"
	"holdfast/internal/dev/tcpproxy"
)

// happen makes a fault happen, waits until it has ended, and reports whether it had an effect.
func (s *soak) happen(t *testing.T, w *window, e event) bool {
	t.Helper()
	proxy := s.proxies[e.holder]
	switch e.kind {
	case blackHole:
		return holdBack(proxy, tcpproxy.Both, e.lasts)
	case lateReplies:
		return holdBack(proxy, tcpproxy.Replies, e.lasts)
	case lateCommands:
		return holdBack(proxy, tcpproxy.Commands, e.lasts)
	case reset:
		return soon(func() bool { return proxy.Reset() > 0 })
	case halfOpenLinks:
		return soon(func() bool { return proxy.HalfOpen() > 0 })
	case flushed:
		return soon(func() bool {
			names := s.bench.Redis.DBSize(t.Context()).Val()
			return s.bench.Redis.FlushAll(t.Context()).Err() == nil && names > 0
		})
	case frozen:
		return standStill(t, s.redis.Process, e.lasts)
	case restarted:
		before := s.redis.PID
		if err := s.redis.Restart(leasecheck.Within(t)); err != nil {
			t.Errorf("restart Redis: %v", err)
		}
		return s.redis.PID != before
	case stoppedHolder:
		return standStill(t, w.holder(e.holder), e.lasts)
	case killedHolder:
		return w.kill(t, e.holder)
	}
	t.Errorf("nobody knows how to make %q happen", e.kind)
	return false
}

// soon tries until something could be harmed: there may be no connection, or nothing in Redis, right after another
// fault.
func soon(ok func() bool) bool {
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// holdBack has landed when something was held back.
func holdBack(p *tcpproxy.Proxy, d tcpproxy.Direction, lasts time.Duration) bool {
	before := p.Stopped()
	p.Hold(d)
	defer p.Pass()
	time.Sleep(lasts)
	return soon(func() bool { return p.Stopped() > before })
}

// process is what can be made to stand still.
type process interface {
	Freeze() error
	Thaw() error
	Stopped(ctx context.Context) bool
}

// standStill has landed when the process was seen to stand still at the beginning and at the end.
func standStill(t *testing.T, p process, lasts time.Duration) bool {
	t.Helper()
	if p.Freeze() != nil { // it has ended, which is another's failure
		return false
	}
	time.Sleep(lasts / 2)
	first := p.Stopped(t.Context())
	time.Sleep(lasts / 2)
	landed := first && p.Stopped(t.Context())
	return p.Thaw() == nil && landed
}

// holder is the i-th process that works in this window at present.
func (w *window) holder(i int) *leasecheck.Holder {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.working[i]
}

func hasEnded(h *leasecheck.Holder) bool {
	select {
	case <-h.Done():
		return true
	default:
		return false
	}
}

// kill ends a holder in the middle of its work and starts another in its place. It has landed when the holder was at
// work.
func (w *window) kill(t *testing.T, i int) bool {
	t.Helper()
	old := w.holder(i)
	landed := soon(func() bool { return len(read(t, old).Ops) > 0 }) && !hasEnded(old)
	if err := old.Kill(); err != nil {
		t.Errorf("kill a holder: %v", err)
	}
	w.start(t, i)
	return landed
}

func read(t *testing.T, h *leasecheck.Holder) leasecheck.History {
	t.Helper()
	got, err := h.History()
	if err != nil {
		t.Errorf("journal of %s: %v", h.Name, err)
	}
	return got
}

// Package testkit holds what tests of several packages need: waiting for a condition, a buffer that a test reads while
// servers write their logs to it, an address that refuses connections, and the number of tests that run at once.
package testkit

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

const (
	firstPause = time.Millisecond
	lastPause  = 20 * time.Millisecond
)

// Eventually repeats check until it returns nil. After the given time it ends the test with check's last error. It
// must be called in the test's own goroutine.
func Eventually(tb testing.TB, within time.Duration, what string, check func() error) {
	tb.Helper()
	end := time.Now().Add(within)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("%s: not within %v: %v", what, within, err)
		}
		time.Sleep(pause)
	}
}

var errFalse = errors.New("the condition is false")

// EventuallyTrue is [Eventually] for a condition without a state to report.
func EventuallyTrue(tb testing.TB, within time.Duration, what string, condition func() bool) {
	tb.Helper()
	Eventually(tb, within, what, func() error {
		if !condition() {
			return errFalse
		}
		return nil
	})
}

// Buffer is a buffer for several goroutines. The zero value is empty.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns all that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// RefusingAddr returns an address that refuses connections until the test ends. The port of a listener that was closed
// would not: the next listener of another test may get it. This one is the local port of a connection, so no server
// can listen there.
func RefusingAddr(tb testing.TB) string {
	tb.Helper()
	ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	c, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c.LocalAddr().String()
}

package web

import (
	"bytes"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/gin-gonic/gin"

	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
)

const (
	// smallBody is a body, in bytes, that is read without a reservation: an order of some 80 lines.
	smallBody = 4 << 10
	// largeBodies bounds the larger bodies that wait for a slot, in bytes together.
	largeBodies = 16 << 20
)

// Admit returns a handler that lets a request pass when l has a slot for it. The slot is held until the handlers behind
// it have returned, also when the client has gone. A refused request is answered with admit.ErrOverloaded: 429 and
// Retry-After. Admit belongs behind the engine's own handlers, which set the deadline, and before whatever costs more
// than a refusal.
//
// The body is read before the slot is taken: a client that sends slowly holds a connection, not a slot. The memory for
// it is bounded by smallBody for a connection and by largeBodies for all.
func Admit(l *admit.Limiter) gin.HandlerFunc {
	var large atomic.Int64
	return func(c *gin.Context) {
		release, err := readBody(c.Request, &large)
		defer release()
		if err != nil {
			Problem(c, err)
			return
		}
		slot, err := l.Acquire(c.Request.Context())
		if err != nil {
			Problem(c, err)
			return
		}
		defer func() { slot.Release(outcome(c)) }() // a panic passes here, too
		c.Next()
	}
}

// readBody replaces the body by a copy in memory. An error of reading is left to Decode, which reads up to it as well.
// The returned function gives back what the body has reserved of large.
func readBody(r *http.Request, large *atomic.Int64) (release func(), err error) {
	release = func() {}
	if r.ContentLength == 0 {
		return release, nil
	}
	if n := r.ContentLength; n < 0 || n > smallBody {
		if n < 0 {
			n = defaultMaxBody // its size is not known before the end
		}
		release = func() { large.Add(-n) }
		if large.Add(n) > largeBodies {
			return release, admit.ErrOverloaded
		}
	}
	body, err := io.ReadAll(r.Body)
	var rest io.Reader = bytes.NewReader(body)
	if err != nil {
		rest = io.MultiReader(rest, failed{err})
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{rest, r.Body}
	return release, nil
}

// failed is the end of a body that could not be read.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// outcome says what the request's time means to the limiter.
func outcome(c *gin.Context) admit.Outcome {
	last := c.Errors.Last()
	if last == nil {
		return admit.Served
	}
	switch fault.KindOf(last.Err) {
	case fault.Limited:
		return admit.Overload
	case fault.Invalid, fault.TooLarge, fault.Unauthenticated, fault.Forbidden, fault.NotFound, fault.Mismatch:
		return admit.Malformed
	default:
		return admit.Served
	}
}

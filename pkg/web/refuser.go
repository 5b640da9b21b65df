package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"holdfast/pkg/admit"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/telemetry"
)

// Route is a method and a pattern, as they are registered.
type Route struct{ Method, Pattern string }

// Refuser refuses requests to routes whose limiter is full, before anything else is done for them: at ten times the
// capacity nine of ten requests end here, and what they cost the others do not get. It stands in two places.
// [Refuser.Refuse] answers before net/http has read the request, for routes without parameters. The engine's first
// handler answers what comes another way; it costs neither a body, a timer, a context nor a copy of the request. The
// answers, the metrics and the access lines of both are those of any request.
//
// The route's Admit has the same limiter and decides about the requests that pass.
type Refuser struct {
	routes map[Route]*fullRoute
	lines  map[string]*fullRoute // by request line
	answer [2][]byte             // what stands before and after the request id in the body
	access accessLog
}

type fullRoute struct {
	Route
	limiter *admit.Limiter
	refused requestMetrics
}

// NewRefuser returns a refuser of these routes. It refuses nothing until an engine has it.
func NewRefuser(limiters map[Route]*admit.Limiter) *Refuser {
	r := &Refuser{routes: map[Route]*fullRoute{}}
	for route, l := range limiters {
		r.routes[route] = &fullRoute{Route: route, limiter: l}
	}
	return r
}

// use has the refuser count and log like the engine.
func (r *Refuser) use(m metrics, access accessLog) {
	r.access, r.lines = access, map[string]*fullRoute{}
	for _, f := range r.routes {
		f.refused = m.of(f.Route, http.StatusTooManyRequests)
		if !strings.ContainsAny(f.Pattern, ":*") {
			r.lines[f.Method+" "+f.Pattern+" HTTP/1.1"] = f
		}
	}
	const id = "THE-REQUEST-ID"
	body, err := json.Marshal(problemOf(fault.From(admit.ErrOverloaded), id))
	if err != nil {
		panic(err) // it has no details
	}
	before, after, _ := bytes.Cut(body, []byte(id))
	r.answer = [2][]byte{before, after}
}

// Refuse returns the answer to a request with this request line and X-Request-Id if its route is full, and nil
// otherwise. It is a [holdfast/pkg/server.Refuse].
func (r *Refuser) Refuse(line, id []byte) []byte {
	f := r.lines[string(line)]
	if f == nil || !f.limiter.Refuses() {
		return nil
	}
	begin, requestID := time.Now(), saneID(string(id))
	b := make([]byte, 0, 768)
	b = append(b, "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nRetry-After: 1\r\nX-Request-Id: "...)
	b = append(b, requestID...)
	b = append(b, "\r\nDate: "...)
	b = begin.UTC().AppendFormat(b, http.TimeFormat)
	b = append(b, "\r\nContent-Length: "...)
	size := len(r.answer[0]) + len(requestID) + len(r.answer[1])
	b = strconv.AppendInt(b, int64(size), 10)
	b = append(b, "\r\n\r\n"...)
	b = append(b, r.answer[0]...)
	b = append(b, requestID...)
	b = append(b, r.answer[1]...)
	f.refused.observe(begin)
	r.access.write(telemetry.WithRequestID(context.Background(), requestID), access{
		method: f.Method, path: f.Pattern, status: http.StatusTooManyRequests, bytes: size, begin: begin, fault: admit.ErrOverloaded,
	})
	return b
}

// handle is the engine's first handler.
func (r *Refuser) handle(c *gin.Context) {
	begin := time.Now()
	f := r.routes[Route{c.Request.Method, c.FullPath()}]
	if f == nil || !f.limiter.Refuses() {
		c.Next()
		return
	}
	c.Abort()
	id := saneID(c.GetHeader(header.RequestID))
	c.Header(header.RequestID, id)
	writeProblem(c, admit.ErrOverloaded, id)
	f.refused.observe(begin)
	r.access.write(telemetry.WithRequestID(c.Request.Context(), id), accessOf(c, begin, admit.ErrOverloaded))
}

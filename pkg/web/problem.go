package web

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/wire"
)

// Status is the HTTP status of a kind. An unknown kind is an internal error.
func Status(k fault.Kind) int {
	switch k {
	case fault.Invalid:
		return http.StatusBadRequest
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.Unauthenticated:
		return http.StatusUnauthorized
	case fault.Forbidden:
		return http.StatusForbidden
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Conflict, fault.Closed:
		return http.StatusConflict
	case fault.Mismatch:
		return http.StatusUnprocessableEntity
	case fault.Limited:
		return http.StatusTooManyRequests
	case fault.Contended, fault.Unavailable:
		return http.StatusServiceUnavailable
	case fault.Timeout:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// Problem answers with err as application/problem+json and ends the request's handling. The access line shows the error
// with its cause, which the client does not get to see. When an answer has begun already, nothing is written.
func Problem(c *gin.Context, err error) {
	f := fault.From(err)
	_ = c.Error(f) // for the access line
	c.Abort()
	if !c.Writer.Written() {
		writeProblem(c, f, telemetry.RequestID(c.Request.Context()))
	}
}

func writeProblem(c *gin.Context, f *fault.Error, requestID string) {
	p := problemOf(f, requestID)
	switch f.Kind {
	case fault.Limited, fault.Contended:
		c.Header(header.RetryAfter, "1")
	case fault.Unauthenticated:
		if f.Code != ErrServiceCredential.Code { // which is no scheme of HTTP
			c.Header("WWW-Authenticate", "Bearer")
		}
	}
	render(c, p.Status, "application/problem+json", p)
}

// problemOf is the body of an answer.
func problemOf(f *fault.Error, requestID string) fault.Problem {
	p := fault.ToProblem(f)
	p.Status = Status(f.Kind)
	if f.Code == errMethodNotAllowed.Code {
		p.Status = http.StatusMethodNotAllowed // HTTP has a status of its own for it; callers treat it as invalid
	}
	p.RequestID = requestID
	return p
}

// render encodes before it writes, so that a body which cannot be encoded becomes a problem and not half an answer.
func render(c *gin.Context, status int, contentType string, body any) {
	b, err := wire.Marshal(body)
	if err != nil {
		if _, isProblem := body.(fault.Problem); isProblem {
			c.Status(http.StatusInternalServerError) // its details cannot be encoded; without a body it is ambiguous
			return
		}
		Problem(c, err)
		return
	}
	c.Data(status, contentType, b)
}

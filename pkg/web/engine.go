// Package web is everything HTTP on a service's server side: the engine with its middleware, strict decoding of bodies,
// and the one place where a fault becomes an HTTP status.
//
// A handler decodes, calls one method of its service and returns what to render; it passes on c.Request.Context(),
// never the gin context, whose cancellation gin loses.
package web

import (
	"log/slog"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/pkg/config"
	"holdfast/pkg/fault"
	"holdfast/pkg/header"
)

// defaultMaxBody is room for an order of 100 lines, or for 1,000 reservations of a few lines each.
const defaultMaxBody = 1 << 20

// EngineConfig is what an engine needs.
type EngineConfig struct {
	Log      *slog.Logger
	Registry prometheus.Registerer   // nil: nothing is registered; two engines need two registries
	Timeout  time.Duration           // of each request; zero: only the caller's X-Deadline-Ms counts
	Timeouts map[Route]time.Duration // of the requests of some routes instead
	Waiting  Route                   // whose requests have more time by as much as they want to wait, see QueryWait
	MaxBody  int64                   // bytes; default 1 MiB

	Refuser *Refuser // nil: nothing is refused before its handlers

	// Sampled has requests that succeed share ten access lines a second; each counts those before it that have
	// none. Default: each has a line.
	Sampled bool

	Credentials []config.Secret // a request needs one of them as its service credential; none: it needs nothing
}

// NewEngine returns an engine whose requests have a request id, one access line unless they share it, a deadline, a
// bounded body and metrics, and whose every failure, an unknown route and a panic included, is answered with problem
// details.
func NewEngine(cfg EngineConfig) *gin.Engine {
	if cfg.MaxBody == 0 {
		cfg.MaxBody = defaultMaxBody
	}
	gin.SetMode(gin.ReleaseMode) // gin's debug mode prints to stdout
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false // a redirected POST is sent again as a GET
	e.UseRawPath = true             // an escaped slash belongs to its path parameter
	e.UnescapePathValues = true
	_ = e.SetTrustedProxies(nil) // nil cannot be malformed
	m, access := newMetrics(cfg.Registry), newAccessLog(cfg.Log, cfg.Sampled)
	if cfg.Refuser != nil {
		cfg.Refuser.use(m, access)
		e.Use(cfg.Refuser.handle)
	}
	e.Use(
		identify,
		m.measure,
		access.log,
		recoverPanic(cfg.Log),
	)
	if len(cfg.Credentials) > 0 {
		e.Use(requireCredential(cfg.Credentials))
	}
	e.Use(
		limitBody(cfg.MaxBody),
		limitTime(cfg),
	)
	e.NoRoute(func(c *gin.Context) { Problem(c, errNotFound) })
	e.NoMethod(func(c *gin.Context) {
		Problem(c, errMethodNotAllowed.WithText("%s is not allowed here", c.Request.Method))
	})
	return e
}

// Handle turns fn into a handler. A nil error renders body with status, or no body at all when it is nil; an error is
// rendered as a problem, and status and body are ignored.
func Handle(fn func(c *gin.Context) (status int, body any, err error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		status, body, err := fn(c)
		switch {
		case err != nil:
			Problem(c, err)
		case body == nil:
			c.Status(status)
		default:
			render(c, status, "application/json", body)
		}
	}
}

// The faults of HTTP itself.
var (
	errNotFound         = fault.New(fault.NotFound, "not_found", "there is nothing at this address")
	errMethodNotAllowed = fault.New(fault.Invalid, "method_not_allowed", "this method is not allowed here")
	errInvalidParameter = fault.New(fault.Invalid, "invalid_parameter", "a query parameter is not valid")
	errInvalidDeadline  = fault.New(fault.Invalid, "invalid_deadline", header.Deadline+" is a number of milliseconds")
)

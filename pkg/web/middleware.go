package web

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/telemetry"
)

// saneRequestID is what we take from a caller: an id ends up in log lines and headers, so it has no room for anything
// that means something there.
var saneRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// identify takes the caller's request id or makes one, and repeats it in the answer.
func identify(c *gin.Context) {
	id := saneID(c.GetHeader(header.RequestID))
	c.Request = c.Request.WithContext(telemetry.WithRequestID(c.Request.Context(), id))
	c.Header(header.RequestID, id)
	c.Next()
}

// saneID is the caller's request id, or a new one.
func saneID(id string) string {
	if saneRequestID.MatchString(id) {
		return id
	}
	return telemetry.NewRequestID()
}

// metrics are the same for each service, so that one dashboard shows them all.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) metrics {
	labels := []string{"method", "route", "status"}
	return metrics{
		requests: promauto.With(r).NewCounterVec(prometheus.CounterOpts{
			Name: "http_requests_total", Help: "Requests answered.",
		}, labels),
		seconds: promauto.With(r).NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_seconds", Help: "Time from a request's header to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, labels),
	}
}

// measure labels with the route's pattern: paths, and methods that no route has, are endless.
func (m metrics) measure(c *gin.Context) {
	begin := time.Now()
	defer func() {
		method, route := c.Request.Method, c.FullPath()
		if route == "" {
			method, route = "any", "none"
		}
		m.of(Route{method, route}, c.Writer.Status()).observe(begin)
	}()
	c.Next()
}

// requestMetrics are the metrics of one route's answers with one status.
type requestMetrics struct {
	requests prometheus.Counter
	seconds  prometheus.Observer
}

func (m metrics) of(r Route, status int) requestMetrics {
	labels := []string{r.Method, r.Pattern, strconv.Itoa(status)}
	return requestMetrics{m.requests.WithLabelValues(labels...), m.seconds.WithLabelValues(labels...)}
}

func (r requestMetrics) observe(begin time.Time) {
	r.requests.Inc()
	r.seconds.Observe(time.Since(begin).Seconds())
}

// accessLog writes one line for each request, when it has been answered. The line of a failed request has its fault
// with its cause, so nothing else logs it. Of the requests that are refused because there are too many, one in
// limitedEvery has a line, which counts the others: a log that grows with the load fills the disk when the load is
// highest. So it is, unless succeeded is nil, with those that succeed.
type accessLog struct {
	logger             *slog.Logger
	limited, succeeded *sampler
}

func newAccessLog(logger *slog.Logger, sampled bool) accessLog {
	a := accessLog{logger: logger, limited: &sampler{every: limitedEvery}}
	if sampled {
		a.succeeded = &sampler{every: succeededEvery}
	}
	return a
}

func (a accessLog) log(c *gin.Context) {
	begin := time.Now()
	defer func() {
		var f *fault.Error
		if last := c.Errors.Last(); last != nil {
			f = fault.From(last.Err)
		}
		a.write(c.Request.Context(), accessOf(c, begin, f))
	}()
	c.Next()
}

// access is what an access line says.
type access struct {
	method, path  string
	status, bytes int
	begin         time.Time
	fault         *fault.Error // nil unless the request failed
}

func accessOf(c *gin.Context, begin time.Time, f *fault.Error) access {
	return access{
		method: c.Request.Method, path: c.Request.URL.Path,
		status: c.Writer.Status(), bytes: max(0, c.Writer.Size()), begin: begin, fault: f,
	}
}

func (a accessLog) write(ctx context.Context, r access) {
	skipped := 0
	sampled := a.samplerOf(r)
	if sampled != nil {
		var due bool
		if skipped, due = sampled.due(r.begin); !due {
			return
		}
	}
	attrs := []slog.Attr{
		slog.String("method", r.method), slog.String("path", r.path),
		slog.Int("status", r.status), slog.Int("bytes", r.bytes), slog.Duration("took", time.Since(r.begin)),
	}
	level := slog.LevelInfo
	if r.fault != nil {
		level = faultLevel(r.fault.Kind)
		attrs = append(attrs, slog.String("code", r.fault.Code), slog.Any("err", r.fault))
	}
	if sampled != nil {
		attrs = append(attrs, slog.Int("not_logged", skipped))
	}
	a.logger.LogAttrs(ctx, level, "request", attrs...)
}

// samplerOf is the sampler of requests that end like this one; nil: each has a line.
func (a accessLog) samplerOf(r access) *sampler {
	switch {
	case r.fault != nil && r.fault.Kind == fault.Limited:
		return a.limited
	case r.fault == nil && r.status < http.StatusMultipleChoices:
		return a.succeeded
	}
	return nil
}

// The time between two access lines of requests that were refused because there are too many, and of those that
// succeeded.
const (
	limitedEvery   = time.Second
	succeededEvery = 100 * time.Millisecond
)

// sampler lets one of many events through in each period, and counts the others.
type sampler struct {
	every time.Duration

	mu      sync.Mutex
	next    time.Time
	skipped int
}

// due reports whether an event at now is let through, and how many were not since the last one.
func (s *sampler) due(now time.Time) (skipped int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		s.skipped++
		return 0, false
	}
	skipped, s.skipped, s.next = s.skipped, 0, now.Add(s.every)
	return skipped, true
}

// faultLevel: refusals are everyday, a dependency that fails is handled but odd, a bug needs someone.
func faultLevel(k fault.Kind) slog.Level {
	switch k {
	case fault.Internal:
		return slog.LevelError
	case fault.Unavailable, fault.Timeout:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}

// recoverPanic answers a panic with an internal problem and logs it with its stack. When the answer has begun already
// it breaks the connection: a caller must not take half an answer for a whole one.
func recoverPanic(log *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it the same way.
				panic(v)
			}
			log.ErrorContext(c.Request.Context(), "handler panicked", "panic", v, "stack", string(debug.Stack()))
			begun := c.Writer.Written()
			Problem(c, fault.ErrInternal)
			if begun {
				panic(http.ErrAbortHandler)
			}
		}()
		c.Next()
	}
}

// limitBody bounds what Decode reads, to maximum bytes.
func limitBody(maximum int64) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maximum)
		c.Next()
	}
}

// transferTime is for a request and its answer on the wire.
const transferTime = 10 * time.Second

// ownTime is the time of a request that differs from the engine's timeout; 0: it does not.
func ownTime(c *gin.Context, cfg EngineConfig) time.Duration {
	route := Route{c.Request.Method, c.FullPath()}
	if own, ok := cfg.Timeouts[route]; ok {
		return own
	}
	if route != cfg.Waiting {
		return 0
	}
	if d, err := QueryWait(c); err == nil && d > 0 && cfg.Timeout > 0 {
		return cfg.Timeout + d
	}
	return 0
}

// limitTime gives the request's context the shorter of the timeout and the time that the caller has left. Work that
// continues after the caller has given up is wasted, and a repeat of the request can meet it half done. The server's
// deadlines fit the engine's timeout, so a request with a time of its own moves them.
func limitTime(cfg EngineConfig) gin.HandlerFunc {
	return func(c *gin.Context) {
		limit := ownTime(c, cfg)
		if limit > 0 {
			connection, end := http.NewResponseController(c.Writer), time.Now().Add(limit+transferTime)
			_, _ = connection.SetReadDeadline(end), connection.SetWriteDeadline(end) // a test's recorder has none
		} else {
			limit = cfg.Timeout
		}
		if text := c.GetHeader(header.Deadline); text != "" {
			ms, err := strconv.ParseInt(text, 10, 64)
			if err != nil || ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
				Problem(c, errInvalidDeadline)
				return
			}
			remaining := time.Duration(ms) * time.Millisecond
			if remaining == 0 {
				Problem(c, fault.ErrTimeout.NotExecuted())
				return
			}
			if limit == 0 || remaining < limit {
				limit = remaining
			}
		}
		if limit == 0 {
			c.Next()
			return
		}
		ctx, cancel := context.WithTimeout(c.Request.Context(), limit)
		defer cancel()
		c.Request = c.Request.WithContext(ctx)
		c.Next()
	}
}

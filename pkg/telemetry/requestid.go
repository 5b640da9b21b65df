// Package telemetry is what a service tells about itself: one structured logger, the request id that leads through all
// of an order's log lines, the metrics registry, and adapters that bring third-party loggers into ours.
package telemetry

import (
	"context"

	"github.com/oklog/ulid/v2"
)

type requestIDKey struct{}

// WithRequestID returns a context that carries id. Log lines written with it, HTTP calls and messages repeat the id.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID returns the context's request id, or "" when it has none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// NewRequestID makes a ULID: unique, and sorted by time.
func NewRequestID() string { return ulid.Make().String() }

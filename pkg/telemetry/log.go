package telemetry

import (
	"context"
	"io"
	"log/slog"
	"os"
)

// NewLogger writes to w: text when w is a terminal, one JSON object per line otherwise. Every line names the service,
// and one that is logged with a context carries its request id.
func NewLogger(w io.Writer, service string) *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: durationsWithUnits}
	var h slog.Handler = slog.NewJSONHandler(w, options)
	if isTerminal(w) {
		h = slog.NewTextHandler(w, options)
	}
	return slog.New(requestIDHandler{h}).With("service", service)
}

// durationsWithUnits writes "1.5ms" instead of a number of nanoseconds.
func durationsWithUnits(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// isTerminal takes any character device for a terminal, which is right for everything but /dev/null, where it does not
// matter.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// requestIDHandler adds the context's request id to each record.
type requestIDHandler struct{ slog.Handler }

var _ slog.Handler = requestIDHandler{}

// Handle implements slog.Handler.
func (h requestIDHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r.AddAttrs(slog.String("request_id", id))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler. Without it the embedded handler's method would return a handler that has lost
// ours.
func (h requestIDHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestIDHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h requestIDHandler) WithGroup(name string) slog.Handler {
	return requestIDHandler{h.Handler.WithGroup(name)}
}

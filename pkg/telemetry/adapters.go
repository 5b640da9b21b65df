package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
	gormlogger "gorm.io/gorm/logger"
)

// slowQuery is how long a statement may take before it is worth a warning.
const slowQuery = 200 * time.Millisecond

// quoted is a text literal as gorm renders a parameter, with quotes doubled.
var quoted = regexp.MustCompile(`'(?:[^']|'')*'`)

// gormAdapter is gorm's logger on ours.
type gormAdapter struct{ log *slog.Logger }

var _ gormlogger.Interface = gormAdapter{}

// GormLogger adapts log for gorm. Statements slower than 200 ms are warnings; failed ones are debug lines, because
// their error is returned and its handler logs it. Texts within statements are not shown: they are users, keys and
// payloads.
func GormLogger(log *slog.Logger) gormlogger.Interface { return gormAdapter{log} }

// LogMode implements gorm's logger. Levels are the slog handler's business, so it changes nothing.
func (a gormAdapter) LogMode(gormlogger.LogLevel) gormlogger.Interface { return a }

// Info implements gorm's logger.
func (a gormAdapter) Info(ctx context.Context, format string, args ...any) {
	a.log.DebugContext(ctx, "gorm", "text", fmt.Sprintf(format, args...))
}

// Warn implements gorm's logger.
func (a gormAdapter) Warn(ctx context.Context, format string, args ...any) {
	a.log.WarnContext(ctx, "gorm", "text", fmt.Sprintf(format, args...))
}

// Error implements gorm's logger.
func (a gormAdapter) Error(ctx context.Context, format string, args ...any) {
	a.log.ErrorContext(ctx, "gorm", "text", fmt.Sprintf(format, args...))
}

// Trace implements gorm's logger. The statement is rendered only when its line is written.
func (a gormAdapter) Trace(ctx context.Context, begin time.Time, statement func() (string, int64), err error) {
	took := time.Since(begin)
	level := slog.LevelDebug
	if took > slowQuery {
		level = slog.LevelWarn
	}
	if !a.log.Enabled(ctx, level) {
		return
	}
	sql, rows := statement()
	sql = quoted.ReplaceAllLiteralString(sql, "'?'") // Scan renders its parameters past ParamsFilter
	attrs := []slog.Attr{slog.String("sql", sql), slog.Int64("rows", rows), slog.Duration("took", took)}
	if err != nil {
		attrs = append(attrs, slog.Any("err", err))
	}
	if level == slog.LevelWarn {
		a.log.LogAttrs(ctx, level, "slow query", attrs...)
		return
	}
	a.log.LogAttrs(ctx, level, "query", attrs...)
}

// ParamsFilter has gorm leave the parameters out of the rendered statement.
func (a gormAdapter) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}

// redisAdapter is go-redis's logger on ours.
type redisAdapter struct{ log *slog.Logger }

// RedisLogger adapts log for redis.SetLogger. The client has no levels and speaks only of trouble it handles, so each
// line is a warning.
func RedisLogger(log *slog.Logger) interface {
	Printf(ctx context.Context, format string, v ...any)
} {
	return redisAdapter{log}
}

// Printf implements go-redis's logger.
func (a redisAdapter) Printf(ctx context.Context, format string, v ...any) {
	a.log.WarnContext(ctx, "redis client", "text", fmt.Sprintf(format, v...))
}

// rocketAdapter is the RocketMQ client's logger on ours.
type rocketAdapter struct {
	log     *slog.Logger
	minimum *slog.LevelVar
}

var _ rlog.Logger = rocketAdapter{}

// RocketMQLogger adapts log for rlog.SetLogger. The client's Info is a stream of internals and becomes Debug. Its Fatal
// becomes an error line and does not end the process: a library does not decide that.
func RocketMQLogger(log *slog.Logger) rlog.Logger {
	minimum := &slog.LevelVar{}
	minimum.Set(slog.LevelDebug)
	return rocketAdapter{log: log, minimum: minimum}
}

// Debug implements rlog.Logger.
func (a rocketAdapter) Debug(msg string, fields map[string]any) {
	a.write(slog.LevelDebug, msg, fields)
}

// Info implements rlog.Logger.
func (a rocketAdapter) Info(msg string, fields map[string]any) { a.write(slog.LevelDebug, msg, fields) }

// Warning implements rlog.Logger.
func (a rocketAdapter) Warning(msg string, fields map[string]any) {
	a.write(slog.LevelWarn, msg, fields)
}

// Error implements rlog.Logger.
func (a rocketAdapter) Error(msg string, fields map[string]any) {
	a.write(slog.LevelError, msg, fields)
}

// Fatal implements rlog.Logger.
func (a rocketAdapter) Fatal(msg string, fields map[string]any) {
	a.write(slog.LevelError, msg, fields)
}

// Level implements rlog.Logger: lines below it are dropped. An unknown name changes nothing.
func (a rocketAdapter) Level(level string) {
	switch strings.ToLower(level) {
	case "debug", "info":
		a.minimum.Set(slog.LevelDebug)
	case "warn":
		a.minimum.Set(slog.LevelWarn)
	case "error", "fatal":
		a.minimum.Set(slog.LevelError)
	}
}

// OutputPath implements rlog.Logger. Our logger knows where it writes, so the path is ignored.
func (a rocketAdapter) OutputPath(string) error { return nil }

func (a rocketAdapter) write(level slog.Level, msg string, fields map[string]any) {
	ctx := context.Background()
	if msg == "" && len(fields) == 0 || level < a.minimum.Level() || !a.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, len(fields)+1)
	attrs = append(attrs, slog.String("text", msg))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		attrs = append(attrs, slog.Any(name, fields[name]))
	}
	a.log.LogAttrs(ctx, level, "rocketmq client", attrs...)
}

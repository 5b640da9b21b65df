package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/mysql"
	"gorm.io/gorm"

	"holdfast/pkg/telemetry"
)

// lines parses what a JSON logger wrote.
func lines(tb testing.TB, b *bytes.Buffer) []map[string]any {
	tb.Helper()
	var out []map[string]any
	for line := range strings.Lines(b.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			tb.Fatalf("line %q: %v", line, err)
		}
		out = append(out, m)
	}
	return out
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	if got := telemetry.RequestID(t.Context()); got != "" {
		t.Errorf("an empty context has the request id %q", got)
	}
	ctx := telemetry.WithRequestID(t.Context(), "r1")
	if got := telemetry.RequestID(ctx); got != "r1" {
		t.Errorf("got %q, want r1", got)
	}
	if a, b := telemetry.NewRequestID(), telemetry.NewRequestID(); a == b || len(a) != 26 {
		t.Errorf("new ids %q and %q", a, b)
	}
}

func TestNewLogger_addsServiceAndRequestID(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := telemetry.NewLogger(&b, "order-srv")
	ctx := telemetry.WithRequestID(t.Context(), "r1")
	log.InfoContext(ctx, "one", "took", 1500*time.Microsecond)
	log.With("sku", "A").InfoContext(ctx, "derived loggers too")
	log.InfoContext(t.Context(), "none")
	log.DebugContext(ctx, "too quiet")
	got := lines(t, &b)
	if len(got) != 3 {
		t.Fatalf("got %d lines, want 3: %v", len(got), got)
	}
	for i, want := range []any{"r1", "r1", nil} {
		if got[i]["request_id"] != want || got[i]["service"] != "order-srv" {
			t.Errorf("line %d: %v, want request_id %v", i, got[i], want)
		}
	}
	if got[0]["took"] != "1.5ms" {
		t.Errorf("a duration is %v, want 1.5ms", got[0]["took"])
	}
	if got[1]["sku"] != "A" {
		t.Errorf("the attribute was lost: %v", got[1])
	}
}

// debugLogger shows all levels.
func debugLogger(b *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestGormLogger_levels(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := telemetry.GormLogger(debugLogger(&b))
	statement := func() (string, int64) { return "SELECT 1", 1 }
	log.Trace(t.Context(), time.Now(), statement, nil)
	log.Trace(t.Context(), time.Now(), statement, errors.New("boom"))
	log.Trace(t.Context(), time.Now().Add(-time.Second), statement, nil)
	log.Trace(t.Context(), time.Now(), statement, gorm.ErrRecordNotFound)
	want := []struct{ level, msg string }{
		{"DEBUG", "query"}, {"DEBUG", "query"}, {"WARN", "slow query"}, {"DEBUG", "query"},
	}
	got := lines(t, &b)
	if len(got) != len(want) {
		t.Fatalf("got %d lines, want %d", len(got), len(want))
	}
	if got[1]["err"] != "boom" || got[0]["err"] != nil {
		t.Errorf("the errors: %v, %v", got[0], got[1])
	}
	for i, w := range want {
		if got[i]["level"] != w.level || got[i]["msg"] != w.msg || got[i]["sql"] != "SELECT 1" {
			t.Errorf("line %d: got %v, want %v", i, got[i], w)
		}
	}
}

func TestGormLogger_rendersNothingThatIsNotWritten(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := telemetry.GormLogger(telemetry.NewLogger(&b, "test"))
	log.Trace(t.Context(), time.Now(), func() (string, int64) {
		t.Error("a fast query's statement was rendered")
		return "", 0
	}, nil)
}

// TestGormLogger_hidesParameters goes through gorm itself, which renders parameters in more than one place.
func TestGormLogger_hidesParameters(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	db, err := gorm.Open(mysql.New(mysql.Config{DSN: "nobody@tcp(127.0.0.1:1)/none", SkipInitializeWithVersion: true}),
		&gorm.Config{DryRun: true, DisableAutomaticPing: true, SkipDefaultTransaction: true, Logger: telemetry.GormLogger(debugLogger(&b))})
	if err != nil {
		t.Fatal(err)
	}
	var n int
	db.WithContext(t.Context()).Raw("SELECT n FROM users WHERE name = ?", "hush' or hush").Scan(&n)
	db.WithContext(t.Context()).Exec("UPDATE users SET name = ?", "hush")
	got := b.String()
	if !strings.Contains(got, "FROM users WHERE name") || !strings.Contains(got, "UPDATE users") || strings.Contains(got, "hush") {
		t.Errorf("got %s", got)
	}
}

func TestRedisLogger(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	telemetry.RedisLogger(telemetry.NewLogger(&b, "test")).Printf(t.Context(), "no route to %s", "redis")
	if got := lines(t, &b)[0]; got["msg"] != "redis client" || got["text"] != "no route to redis" || got["level"] != "WARN" {
		t.Errorf("got %v", got)
	}
}

func TestRocketMQLogger(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := telemetry.RocketMQLogger(debugLogger(&b))
	log.Info("started", map[string]any{"group": "g"})
	log.Warning("odd", nil)
	log.Fatal("end", nil) // and the test goes on
	log.Debug("", nil)
	if err := log.OutputPath("/nowhere"); err != nil {
		t.Error(err)
	}
	log.Level("error")
	log.Warning("dropped", nil)
	log.Level("a level nobody knows")
	log.Error("kept", nil)
	got := lines(t, &b)
	want := []struct{ level, text string }{{"DEBUG", "started"}, {"WARN", "odd"}, {"ERROR", "end"}, {"ERROR", "kept"}}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i, w := range want {
		if got[i]["level"] != w.level || got[i]["text"] != w.text {
			t.Errorf("line %d: got %v, want %v", i, got[i], w)
		}
	}
	if got[0]["group"] != "g" {
		t.Errorf("the field was lost: %v", got[0])
	}
}

func TestNewRegistry_hasProcessAndRuntime(t *testing.T) {
	t.Parallel()
	families, err := telemetry.NewRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range families {
		found[f.GetName()] = true
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if !found[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

package mq

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	"holdfast/pkg/telemetry"
)

// The client library keeps its logger, its panic handler and its table of clients in package variables. It assigns the
// first two without a lock, and two buses with one identity silently share a client. So the guards are process-wide,
// too: a process could hold two of a value that callers pass to [Open], and the guards of one would not see the other's
// buses.
//
//nolint:gochecknoglobals // see above; nothing but the guards of the library's own globals lives here.
var library struct {
	setup     sync.Once
	mu        sync.Mutex
	instances map[string]bool
}

// setupLibrary gives the library our logger. It must happen before the first client exists, and only once: the first
// bus of a process decides.
func setupLibrary(log *slog.Logger) {
	library.setup.Do(func() {
		rlog.SetLogger(quietLogger{telemetry.RocketMQLogger(log)})
		rlog.SetLogLevel("warn")
		primitive.DefaultPanicHandler = func(v any) {
			log.Error("panic inside the rocketmq client", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	})
}

// claimInstance reserves an instance name in this process. Two buses under one name would share a client of the
// library, and check-backs would reach only the one that was there first.
func claimInstance(name string) error {
	library.mu.Lock()
	defer library.mu.Unlock()
	if library.instances[name] {
		return fmt.Errorf("mq: instance %q is in use by another bus of this process", name)
	}
	if library.instances == nil {
		library.instances = make(map[string]bool)
	}
	library.instances[name] = true
	return nil
}

// releaseInstance undoes claimInstance.
func releaseInstance(name string) {
	library.mu.Lock()
	defer library.mu.Unlock()
	delete(library.instances, name)
}

// quietLogger drops lines that report a normal event as trouble, or something that this package logs itself and better.
type quietLogger struct{ rlog.Logger }

// Debug drops the line.
func (quietLogger) Debug(string, map[string]any) {}

// Info drops the line.
func (quietLogger) Info(string, map[string]any) {}

// Warning drops what the consumer's verdict says already, with whole message bodies.
func (q quietLogger) Warning(msg string, fields map[string]any) {
	switch msg {
	case "consumeMessage Orderly return not OK",
		"the message queue not be able to consume, because it's dropped.",
		"processQueue is dropped without process consume result.":
		return
	}
	q.Logger.Warning(msg, fields)
}

// Error drops the line that every rolled back transaction writes, message body included.
func (q quietLogger) Error(msg string, fields map[string]any) {
	if msg == "executeLocalTransaction but state unexpected" {
		return
	}
	q.Logger.Error(msg, fields)
}

package stacktest

import (
	"context"
	"sync"
	"time"

	"holdfast/internal/dev/stack"
)

// startTimeout bounds the start of one server on a busy machine, including its installation.
const startTimeout = 3 * time.Minute

// shared returns the servers that the tests of this process share. The first call starts a server, which ends with the
// process, so a run without tests of a server does not pay for its start. A TestMain would start it for every run.
//
//nolint:gochecknoglobals // see above; the tests of a package have no common caller, and nothing assigns it
var shared = struct {
	mysql  func() (mysqlServer, error)
	redis  func() (*stack.Redis, error)
	nodes  func() ([]string, error)
	broker func() (broker, error)
}{onFirstCall(startMySQL), onFirstCall(startRedis), onFirstCall(startNodes), onFirstCall(startBroker)}

// onFirstCall returns a function whose first call calls start. Every call returns that result.
func onFirstCall[T any](start func(ctx context.Context) (T, error)) func() (T, error) {
	return sync.OnceValues(func() (T, error) {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		return start(ctx)
	})
}

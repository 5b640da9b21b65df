package rest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/rest"
	"holdfast/pkg/server"
)

// TestClient_Do_replicaStops stops one of two replicas under load and starts it again, several times, with pkg/server's
// drain. Neither the closing of kept-alive connections nor that of the port may cost a call, and none is sent twice.
func TestClient_Do_replicaStops(t *testing.T) {
	t.Parallel()
	var byStay, byLeave, answered atomic.Int64
	handler := func(handled *atomic.Int64) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			handled.Add(1)
			time.Sleep(time.Millisecond) // the work
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer{"done"})
		})
	}
	stay, stopStay := runReplica(t, "127.0.0.1:0", handler(&byStay))
	defer stopStay()
	leave, stopLeave := runReplica(t, "127.0.0.1:0", handler(&byLeave))
	c := client(t, rest.Config{URLs: []string{"http://" + stay, "http://" + leave}, Timeout: 20 * time.Second})

	ctx, cancel := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	defer callers.Wait()
	defer cancel()
	for range 16 {
		callers.Go(func() {
			for ctx.Err() == nil {
				var got answer
				if err := c.Do(context.WithoutCancel(ctx), "POST", "/", answer{"do"}, &got); err != nil || got.Text != "done" {
					t.Errorf("got %q, %v", got.Text, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	more := func(count *atomic.Int64) {
		want := count.Load() + 200
		testkit.Eventually(t, 30*time.Second, "200 more calls", func() error {
			if got := count.Load(); got < want && !t.Failed() {
				return fmt.Errorf("%d of %d calls", got, want)
			}
			return nil
		})
	}
	for range 3 {
		// It is in use: a client that still avoids it from the last time would come back to it just as it closes its port.
		more(&byLeave)
		stopLeave()
		more(&answered)
		_, stopLeave = runReplica(t, leave, handler(&byLeave))
	}
	more(&byLeave)
	cancel()
	callers.Wait()
	stopLeave()
	if handled := byStay.Load() + byLeave.Load(); handled != answered.Load() {
		t.Errorf("%d calls were handled and %d answered", handled, answered.Load())
	}
}

// runReplica runs a server until stop is called, which returns when it has gone.
func runReplica(t *testing.T, addr string, h http.Handler) (listens string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	started := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		done <- server.Run(ctx, server.Config{
			Addr: addr, OpsAddr: "127.0.0.1:0", Handler: h, DrainDelay: 500 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
			Started: func(addr, _ net.Addr) { started <- addr.String() },
		})
	}()
	select {
	case listens = <-started:
	case err := <-done:
		t.Fatal(err)
	}
	return listens, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

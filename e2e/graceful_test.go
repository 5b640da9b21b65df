package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/wait"
)

// TestGracefulStop stops one of two replicas of each service with SIGTERM under load, and starts it again. Clients
// must notice nothing: every order is placed with the first answer. The clients behave as if behind a load balancer:
// they use gateways whose /readyz is ok, and retry a refused connection at another gateway.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	const sku = "STEADY"
	env := patient()
	env["DRAIN_DELAY"] = "1s"
	sh := newShop(t, setup{replicas: 2, env: env})
	sh.product(sku, 100_000)
	s := &steady{sh: sh, token: sh.login("ann", "buyer"), sku: sku}
	stop := s.begin(8)
	defer stop() // also if the test fails
	for _, replicas := range [][]*service{sh.inventories, sh.orders, sh.gateways} {
		leaving := replicas[0]
		s.more(50)
		before := s.placed.Load()
		if err := leaving.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-leaving.gone
		if code := leaving.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%s left with %d:\n%s", leaving.name, code, tail(leaving.log.String(), 20))
		}
		during := s.placed.Load() - before
		s.more(50)
		sh.restart(leaving)
		s.more(50)
		if during == 0 {
			t.Errorf("no order was placed while %s stopped: that proves nothing", leaving.name)
		}
		t.Logf("%s stopped while %d orders were placed", leaving.name, during)
	}
	stop()
	r := sh.audit(60 * time.Second)
	if got := r.Orders[orderapi.StatusPlaced]; int64(got) != s.placed.Load() || len(r.Orders) != 1 {
		t.Errorf("orders by status %v; %d answers said placed", r.Orders, s.placed.Load())
	}
	t.Logf("%d orders, %d refused connections tried elsewhere", s.placed.Load(), s.elsewhere.Load())
}

// steady is a load without an end.
type steady struct {
	sh         *shop
	token, sku string

	ready     [2]atomic.Bool // gateways that may be used, as a load balancer sees them
	placed    atomic.Int64
	elsewhere atomic.Int64
}

// begin starts n buyers that order one after the other until stop is called.
func (s *steady) begin(n int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i, g := range s.sh.gateways {
		s.ready[i].Store(true)
		running.Go(func() {
			for ctx.Err() == nil {
				s.ready[i].Store(s.sh.readyz(g).Status == "ok")
				_ = wait.Sleep(ctx, 50*time.Millisecond)
			}
		})
	}
	for b := range n {
		running.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				s.order(fmt.Sprintf("steady-%d-%d", b, i), i)
			}
		})
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// order places one order. Only a refused connection is retried.
func (s *steady) order(key string, turn int) {
	for try := range 100 {
		g := (turn + try) % len(s.ready)
		if !s.ready[g].Load() {
			g = 1 - g
		}
		a, err := s.sh.callWith(context.Background(), s.sh.client, s.sh.gateways[g], http.MethodPost, "/v1/orders", s.token,
			fmt.Sprintf(`{"items":[{"sku":%q,"quantity":1}]}`, s.sku), "Idempotency-Key", key)
		if errors.Is(err, syscall.ECONNREFUSED) {
			s.elsewhere.Add(1)
			continue
		}
		if err != nil || a.Status != http.StatusCreated {
			s.sh.tb.Errorf("order %s at %s: %v, %d %s", key, s.sh.gateways[g].name, err, a.Status, a.Body)
			return
		}
		s.placed.Add(1)
		return
	}
	s.sh.tb.Errorf("order %s: every gateway refuses connections", key)
}

// more returns after n more orders were placed.
func (s *steady) more(n int64) {
	s.sh.tb.Helper()
	want := s.placed.Load() + n
	testkit.Eventually(s.sh.tb, 60*time.Second, "orders go on", func() error {
		if got := s.placed.Load(); got < want {
			return fmt.Errorf("%d orders, want %d", got, want)
		}
		return nil
	})
}

package strategy_test

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/fault"
	"holdfast/pkg/lock"
)

func realRedlock(t *testing.T, i replicatest.Instance) replicatest.Reserver {
	return named(t, "redlock", i)
}

// trusting believes in its lease and reads and writes without a guard, as it could if leases did not end.
func trusting(_ *testing.T, i replicatest.Instance) replicatest.Reserver {
	return &mutant{ledger: i.Store.Ledger(), locker: i.Nodes.Acquirer(), leaseEnds: true}
}

// overtakenOnNodes has every node lose the lock, which the holder cannot know.
func overtakenOnNodes() loss {
	return loss{
		lease: []lock.Option{lock.WithTTL(replicatest.Patience)},
		happens: func(t *testing.T, w *replicatest.World, sku string) {
			for _, addr := range stacktest.RedlockNodes(t) {
				client := redis.NewClient(&redis.Options{Addr: addr})
				if err := errors.Join(client.Del(t.Context(), "{"+w.Prefix+"}key:stock:"+sku).Err(), client.Close()); err != nil {
					t.Fatalf("lose the lock: %v", err)
				}
			}
		},
	}
}

// TestRedlock_Stalled is what is lost without fencing tokens, and what is not. When the nodes lose a lock, two holders
// work at once: mutual exclusion is gone, and no token is there by which the row could refuse the first. An order that
// trusts the lease loses a sale. The strategy does not trust it and loses none.
func TestRedlock_Stalled(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		loss  loss
		make  holder
		again bool // the holder notices and begins again
		loses bool
	}{
		{"overtaken", overtakenOnNodes(), realRedlock, false, false},
		{"slept", slept(), realRedlock, true, false},
		{"overtaken, trusting the lease", overtakenOnNodes(), trusting, false, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := stallHolder(t, c.loss, c.make, replicatest.BeforeWrite)
			if lost := got.faults != nil; lost != c.loses || got.tries > 1 != c.again {
				t.Errorf("the ledger: %v; the holder tried %d times; want a lost sale: %v, again: %v", got.faults, got.tries, c.loses, c.again)
			}
		})
	}
}

// TestRedlock_LastUnit: two holders at once, one unit. The database gives it to one of them and tells the other the
// truth.
func TestRedlock_LastUnit(t *testing.T) {
	t.Parallel()
	l := overtakenOnNodes()
	w := replicatest.NewWorld(t, l.lease...)
	w.Has(t, "LAST", 1)
	ctx := replicatest.Soon(t)
	stopped := replicatest.StallAt(t, w.One, replicatest.BeforeWrite)
	holding := replicatest.GoReserve(ctx, named(t, "redlock", w.One), replicatest.Order("HOLDER", "redlock", replicatest.Line("LAST", 1)))
	stopped.Await(t, holding)
	l.happens(t, w, "LAST")
	if _, err := named(t, "redlock", w.Two).Reserve(ctx, replicatest.Order("OTHER", "redlock", replicatest.Line("LAST", 1))); err != nil {
		t.Errorf("the other: %v", err)
	}
	close(stopped.Resume)
	if err := <-holding; !errors.Is(err, stock.ErrOutOfStock) {
		t.Errorf("the holder: got %v, want out of stock", err)
	}
	w.WantLedger(t, "LAST", 0, 1, 0)
}

// TestRedlock_Tokens: there are none. A claim of the fence, as redis-lock makes it, has nothing to write.
func TestRedlock_Tokens(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	lease, err := w.One.Nodes.Acquirer().Acquire(replicatest.Soon(t), "stock:A")
	if err != nil {
		t.Fatal(err)
	}
	if token := lease.Token("stock:A"); token != 0 {
		t.Errorf("token %d: then redlock could claim the fence, and should", token)
	}
	if err := lease.Release(replicatest.Soon(t)); err != nil {
		t.Error(err)
	}
}

// TestRedlock_Nodes loses one of three nodes, which costs nothing, and then another, which costs the sale and nothing
// else.
func TestRedlock_Nodes(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Has(t, "A", 10)
	var proxies []*tcpproxy.Proxy
	var addrs []string
	for _, addr := range stacktest.RedlockNodes(t) {
		p := tcpproxy.New(t, addr)
		proxies, addrs = append(proxies, p), append(addrs, p.Addr())
	}
	nodes, err := strategy.OpenNodes(addrs, lock.WithPrefix(w.Prefix))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nodes.Close() })
	w.One.Nodes = nodes
	s := named(t, "redlock", w.One)
	ctx := replicatest.Soon(t)
	proxies[1].Cut()
	if _, err := s.Reserve(ctx, replicatest.Order("TWO-OF-THREE", "redlock", replicatest.Line("A", 1))); err != nil {
		t.Errorf("with two of three nodes: %v", err)
	}
	if err := nodes.Probe(ctx); err != nil {
		t.Errorf("with two of three nodes the probe says %v", err)
	}
	proxies[2].Cut()
	if err := nodes.Probe(ctx); err == nil {
		t.Error("with one of three nodes the probe is content")
	}
	_, err = s.Reserve(ctx, replicatest.Order("ONE-OF-THREE", "redlock", replicatest.Line("A", 1)))
	if f := fault.From(err); f == nil || f.Kind != fault.Unavailable || f.Ambiguous {
		t.Errorf("with one of three nodes: got %v, want unavailable, not executed", err)
	}
	w.WantLedger(t, "A", 9, 1, 0)
}

// TestRedlock_NoNodes is a service without nodes.
func TestRedlock_NoNodes(t *testing.T) {
	t.Parallel()
	w := replicatest.NewWorld(t)
	w.Has(t, "A", 10)
	nodes, err := strategy.OpenNodes(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.One.Nodes = nodes
	_, err = named(t, "redlock", w.One).Reserve(replicatest.Soon(t), replicatest.Order("ORDER", "redlock", replicatest.Line("A", 1)))
	if f := fault.From(err); f == nil || f.Code != "redlock_unavailable" || f.Kind != fault.Unavailable || f.Ambiguous {
		t.Errorf("without nodes: got %v, want redlock_unavailable, not executed", err)
	}
	if err := errors.Join(nodes.Probe(t.Context()), nodes.Close()); err != nil {
		t.Errorf("no nodes: %v", err)
	}
	if _, err := strategy.OpenNodes([]string{"127.0.0.1:1", "127.0.0.1:2"}); err == nil {
		t.Error("two nodes, which have no majority without each other, were accepted")
	}
}

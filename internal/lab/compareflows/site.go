package compareflows

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/bench"
	"holdfast/internal/lab/load"
	"holdfast/internal/lab/shop"
	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/wait"
)

const (
	replicas = 2 // of each service
	poll     = 50 * time.Millisecond
	patience = 2 * time.Minute // for the shop to come to rest
	still    = 300 * time.Millisecond

	secondReplica = 10 // its ports are so far above those of the first one
)

// site is a shop of its own: servers, two replicas of each service, a product that does not sell out, and buyers.
type site struct {
	dir       string
	db        *stdsql.DB
	meter     bench.Meter
	broker    string
	admin     *shop.Client
	buyers    []*buyer
	sku       string
	inventory []*os.Process
	close     func() error
	release   func() error // of the ports
}

// open starts the shop in a folder.
func open(ctx context.Context, o Options) (_ *site, err error) {
	p, release, err := stack.ClaimPorts()
	if err != nil {
		return nil, err
	}
	env := map[string]string{"STOCK_STRATEGY": strategy}
	maps.Copy(env, o.Preset.Settings)
	err = stack.Up(ctx, stack.UpOptions{
		Dir: o.Dir, Bin: o.Bin, Broker: o.Broker, Progress: io.Discard, Ports: p, Replicas: replicas, Tie: true, Env: env,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the shop: %w", err), release())
	}
	s := &site{dir: o.Dir, release: release, close: func() error { return nil }}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop(context.WithoutCancel(ctx)))
		}
	}()
	db, err := database.Open(ctx, fmt.Sprintf("root@tcp(127.0.0.1:%d)/orders", p.MySQL), database.Options{})
	if err != nil {
		return nil, err
	}
	s.close = func() error { return database.Close(db) }
	if s.db, err = db.DB(); err != nil {
		return nil, err
	}
	s.meter = bench.Meter{DB: s.db, Namesrv: fmt.Sprintf("127.0.0.1:%d", p.Namesrv)}
	if err := s.processes(); err != nil {
		return nil, err
	}
	gateway := func(port int) string { return fmt.Sprintf("http://127.0.0.1:%d", port) }
	return s, s.people(ctx, o.Preset.Connections, gateway(p.Gateway), gateway(p.Gateway+secondReplica))
}

// processes finds the processes of inventory-srv, for the outage.
func (s *site) processes() error {
	state, err := stack.Load(s.dir)
	if err != nil {
		return err
	}
	broker, _, _ := strings.Cut(state.Broker(), " on ") // the address means nothing in a report
	_, s.broker, _ = strings.Cut(broker, ", ")          // nor the name of the part
	for _, c := range state.Components {
		if !strings.HasPrefix(c.Name, "inventory-srv") {
			continue
		}
		p, err := os.FindProcess(c.PID)
		if err != nil {
			return err
		}
		s.inventory = append(s.inventory, p)
	}
	if len(s.inventory) != replicas {
		return fmt.Errorf("the shop has %d processes of inventory-srv, want %d", len(s.inventory), replicas)
	}
	return nil
}

// people creates the product, the administrator and the buyers, who use the gateways in turn.
func (s *site) people(ctx context.Context, buyers int, gateways ...string) (err error) {
	if s.admin, err = shop.Login(ctx, gateways[0], "flows-admin", orderapi.RoleAdmin); err != nil {
		return err
	}
	_, skus, err := load.Prepare(ctx, s.admin, load.UniqueName("flows"), strategy, 1)
	if err != nil {
		return err
	}
	s.sku = skus[0]
	for i := range buyers {
		client, err := shop.Login(ctx, gateways[i%len(gateways)], fmt.Sprintf("flows-%d", i), orderapi.RoleBuyer)
		if err != nil {
			return err
		}
		s.buyers = append(s.buyers, newBuyer(client, s.sku))
	}
	return nil
}

// stop ends the shop. Its data stays in its folder.
func (s *site) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return errors.Join(s.close(), s.resume(), stack.Down(ctx, s.dir, io.Discard), s.release())
}

// pause stops all processes of inventory-srv with SIGSTOP: they keep their connections and answer nothing. A killed
// process would be easier for its callers, because a refused connection proves that nothing was executed.
func (s *site) pause() error {
	for _, p := range s.inventory {
		if err := stack.Freeze(p); err != nil {
			return fmt.Errorf("stop inventory-srv: %w", err)
		}
	}
	return nil
}

// resume ends pause. A process that was not paused is not affected.
func (s *site) resume() error {
	for _, p := range s.inventory {
		if err := stack.Thaw(p); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("resume inventory-srv: %w", err)
		}
	}
	return nil
}

// pending counts the orders of a flow that are not decided.
func (s *site) pending(ctx context.Context, flow string) (n int, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM orders.orders WHERE status = ? AND flow = ?", orderapi.StatusPending, flow).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the pending orders: %w", err)
	}
	return n, nil
}

// decided waits until a flow has no pending order.
func (s *site) decided(ctx context.Context, flow string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		n, err := s.pending(ctx, flow)
		if err != nil || n == 0 {
			return err
		}
		if err := wait.Sleep(ctx, poll); err != nil {
			return fmt.Errorf("%d orders of %s are pending: %w", n, flow, err)
		}
	}
}

// rest waits until a flow's orders are decided and the broker stores no further message, and reads the counters. What
// is sent after the last answer belongs to the orders, too.
func (s *site) rest(ctx context.Context, flow string) (bench.Counters, error) {
	if err := s.decided(ctx, flow); err != nil {
		return bench.Counters{}, err
	}
	last, err := s.meter.Read(ctx)
	if err != nil {
		return last, err
	}
	for end := time.Now().Add(patience); ; {
		if err := wait.Sleep(ctx, still); err != nil {
			return last, err
		}
		now, err := s.meter.Read(ctx)
		if err != nil || now.Messages == last.Messages {
			return now, err
		}
		if time.Now().After(end) {
			return now, fmt.Errorf("the broker stores messages of %s without an end", flow)
		}
		last = now
	}
}

// audit has both ledgers and the wallets audited until nothing is in flight.
func (s *site) audit(ctx context.Context, full bool) (found check.Report, err error) {
	for end := time.Now().Add(patience); ; {
		found, err = s.admin.Audit(ctx, full, nil)
		if err != nil {
			return found, fmt.Errorf("audit: %w", err)
		}
		if len(found.Unsettled) == 0 || time.Now().After(end) {
			return found, nil
		}
		if err := wait.Sleep(ctx, poll); err != nil {
			return found, err
		}
	}
}

// findings are the violations of a report, and what stayed unsettled.
func findings(found check.Report) []string {
	var all []string
	for _, v := range append(found.Violations, found.Unsettled...) {
		all = append(all, v.String())
	}
	return all
}

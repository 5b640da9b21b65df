package scale

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
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
	paymentTimeout = 30 * time.Second // of the shops that are measured, so that orders expire during a measurement
	callers        = 16               // that pay and list at the same time
	admin          = "scale-admin"
	poll           = 250 * time.Millisecond
)

// site is a whole stack with a history, in a folder of its own.
type site struct {
	name   string
	dir    string
	url    string
	pool   *stdsql.DB
	meter  bench.Meter
	target load.Target
	close  func() error

	release func() error // of the ports

	mu      sync.Mutex
	clients map[string]*shop.Client // by user
}

// open starts a stack on free ports.
func open(ctx context.Context, o Options, name string) (s *site, err error) {
	p, release, err := stack.ClaimPorts()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, release())
		}
	}()
	s = &site{
		release: release, name: name, dir: filepath.Join(o.Dir, name), url: fmt.Sprintf("http://127.0.0.1:%d", p.Gateway), clients: map[string]*shop.Client{},
	}
	err = stack.Up(ctx, stack.UpOptions{
		Dir: s.dir, Bin: o.Bin, Broker: o.Broker, Progress: io.Discard, Ports: p, Tie: true,
		Env: map[string]string{"STOCK_STRATEGY": "group-commit", "PAYMENT_TIMEOUT": paymentTimeout.String()},
	})
	if err != nil {
		return nil, fmt.Errorf("start the %s shop: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stack.Down(context.WithoutCancel(ctx), s.dir, io.Discard))
		}
	}()
	db, err := database.Open(ctx, fmt.Sprintf("root@tcp(127.0.0.1:%d)/orders", p.MySQL), database.Options{IOTimeout: 10 * time.Minute})
	if err != nil {
		return nil, err
	}
	if s.pool, err = db.DB(); err != nil {
		return nil, err
	}
	s.close = func() error { return database.Close(db) }
	state, err := stack.Load(s.dir)
	if err != nil {
		return nil, err
	}
	pids := map[string]int{}
	for _, c := range state.Components {
		pids[c.Name] = c.PID
	}
	s.meter = bench.Meter{DB: s.pool, Namesrv: fmt.Sprintf("127.0.0.1:%d", p.Namesrv), PIDs: pids}
	var skus []string
	c, err := s.client(ctx, admin)
	if err != nil {
		return nil, err
	}
	s.target, skus, err = load.Prepare(ctx, c, load.UniqueName("scale"), "group-commit", 1)
	if err != nil {
		return nil, err
	}
	s.target.Baskets = []string{load.Basket(skus[0])}
	return s, nil
}

// stop ends the stack and deletes its data.
func (s *site) stop(ctx context.Context) error {
	return errors.Join(s.close(), stack.Down(ctx, s.dir, io.Discard), s.release(), os.RemoveAll(s.dir))
}

// memory returns the resident memory of the services, in MB.
func (s *site) memory() map[string]int {
	mb := map[string]int{}
	for name, pid := range s.meter.PIDs {
		mb[name] = stack.Component{PID: pid}.MemoryMB()
	}
	return mb
}

// client returns the client of a user; it logs in once.
func (s *site) client(ctx context.Context, user string) (*shop.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.clients[user]; ok {
		return c, nil
	}
	role := orderapi.RoleBuyer
	if user == admin {
		role = orderapi.RoleAdmin
	}
	c, err := shop.Login(ctx, s.url, user, role)
	if err == nil {
		s.clients[user] = c
	}
	return c, err
}

// call sends a request of the user.
func (s *site) call(ctx context.Context, user, method, path string) error {
	c, err := s.client(ctx, user)
	if err != nil {
		return err
	}
	return c.Do(ctx, method, path, nil, nil)
}

// each calls do for every item, by several callers at the same time, and returns the first error.
func each[T any](items []T, do func(T) error) error {
	var next atomic.Int64
	var running sync.WaitGroup
	errs := make([]error, callers)
	for c := range callers {
		running.Go(func() {
			for errs[c] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(items) {
					return
				}
				errs[c] = do(items[i])
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// none waits until the query counts nothing.
func (s *site) none(ctx context.Context, what, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		var n int
		if err := s.pool.QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
			return fmt.Errorf("wait until there are no %s: %w", what, err)
		}
		if n == 0 {
			return nil
		}
		if err := wait.Sleep(ctx, poll); err != nil {
			return fmt.Errorf("there are %d %s: %w", n, what, err)
		}
	}
}

// audit runs an audit to its end.
func (s *site) audit(ctx context.Context, full bool) (check.Report, error) {
	c, err := s.client(ctx, admin)
	if err != nil {
		return check.Report{}, err
	}
	return c.Audit(ctx, full, nil)
}

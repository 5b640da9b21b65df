package scale

import (
	"bytes"
	"context"
	stdsql "database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/lab/bench"
	"holdfast/internal/lab/load"
	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/wait"
)

const (
	paymentTimeout = 20 * time.Second // of the shops that are measured, so that orders expire during a measurement
	callers        = 16               // that pay and list at the same time
	admin          = "scale-admin"
	poll           = 250 * time.Millisecond
)

// shop is a whole stack with a history, in a folder of its own.
type shop struct {
	name   string
	dir    string
	url    string
	pool   *stdsql.DB
	meter  bench.Meter
	target load.Target
	close  func() error

	mu     sync.Mutex
	tokens map[string]string // by user
}

// open starts a stack on free ports.
func open(ctx context.Context, o Options, name string) (s *shop, err error) {
	ports, err := stack.FreePorts(12)
	if err != nil {
		return nil, err
	}
	p := stack.Ports{Gateway: ports[0], Order: ports[1], Inventory: ports[2], MySQL: ports[3], Redis: ports[4], Namesrv: ports[8]}
	s = &shop{name: name, dir: filepath.Join(o.Dir, name), url: fmt.Sprintf("http://127.0.0.1:%d", p.Gateway), tokens: map[string]string{}}
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
	s.target, skus, err = load.NewShop(s.url).Prepare(ctx, load.UniqueName("scale"), "group-commit", 1)
	if err != nil {
		return nil, err
	}
	s.target.Baskets = []string{load.Basket(skus[0])}
	return s, nil
}

// stop ends the stack and deletes its data.
func (s *shop) stop(ctx context.Context) error {
	return errors.Join(s.close(), stack.Down(ctx, s.dir, io.Discard), os.RemoveAll(s.dir))
}

// memory returns the resident memory of the services, in MB.
func (s *shop) memory() map[string]int {
	mb := map[string]int{}
	for name, pid := range s.meter.PIDs {
		mb[name] = stack.Component{PID: pid}.MemoryMB()
	}
	return mb
}

func (s *shop) token(ctx context.Context, user string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tokens[user]; ok {
		return t, nil
	}
	role := orderapi.RoleBuyer
	if user == admin {
		role = orderapi.RoleAdmin
	}
	var out struct {
		Token string `json:"token"`
	}
	if err := s.send(ctx, "", "POST", "/v1/login", map[string]string{"user": user, "role": role}, &out); err != nil {
		return "", fmt.Errorf("log in: %w", err)
	}
	s.tokens[user] = out.Token
	return out.Token, nil
}

// call sends a request of the user.
func (s *shop) call(ctx context.Context, user, method, path string, in, out any) error {
	token, err := s.token(ctx, user)
	if err != nil {
		return err
	}
	return s.send(ctx, token, method, path, in, out)
}

func (s *shop) send(ctx context.Context, token, method, path string, in, out any) (err error) {
	body := []byte("{}")
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if method == http.MethodGet {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode > 299 {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 500)) // the status alone is sufficient
		return fmt.Errorf("%s %s: %s %s", method, path, res.Status, text)
	}
	if out == nil {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	return json.NewDecoder(res.Body).Decode(out)
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
func (s *shop) none(ctx context.Context, what, query string, args ...any) error {
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
func (s *shop) audit(ctx context.Context, full bool) (check.Report, int64, error) {
	var job orderapi.AuditJob
	if err := s.call(ctx, admin, "POST", "/v1/admin/audits", orderapi.AuditRequest{Full: full}, &job); err != nil {
		return check.Report{}, 0, err
	}
	for job.State != orderapi.AuditDone {
		if job.State == orderapi.AuditFailed {
			return check.Report{}, 0, errors.New(job.Failure)
		}
		if err := wait.Sleep(ctx, 20*time.Millisecond); err != nil {
			return check.Report{}, 0, err
		}
		if err := s.call(ctx, admin, "GET", "/v1/admin/audits/"+job.ID, nil, &job); err != nil {
			return check.Report{}, 0, err
		}
	}
	return *job.Report, job.OrdersChecked, nil
}

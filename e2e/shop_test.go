package e2e_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/check"
	"holdfast/internal/stack"
	"holdfast/internal/stack/stacktest"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
)

// shop is the three services running as processes on fresh databases and a namespace of their own.
type shop struct {
	tb        testing.TB
	gateway   *service
	order     *service
	inventory *service
	ordersDB  *sql.DB
	stockDB   *sql.DB
	admin     string // token
	client    *http.Client
}

// setup is what a test may choose. The zero value is the quick default.
type setup struct {
	strategy string            // default redis-lock
	env      map[string]string // for all services
	mysql    func(dsn string) string
	redis    string
	namesrv  string

	inventory func(addr string) string // the address by which order-srv reaches inventory-srv
	server    string                   // an administrator's DSN of a MySQL of the test's own
	crash     bool                     // builds with crash points
}

// service is one process with its addresses and its log.
type service struct {
	name string
	http string // host:port
	ops  string
	cmd  *exec.Cmd
	log  *safeBuffer
	gone chan struct{}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, p := range []*programs{ordinary, withCrashPoints} {
		if p.dir != "" {
			_ = os.RemoveAll(p.dir)
		}
	}
	os.Exit(code)
}

func newShop(tb testing.TB, s setup) *shop {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs MySQL, Redis and RocketMQ")
	}
	build := ordinary
	if s.crash {
		build = withCrashPoints
	}
	dir, err := build.build()
	if err != nil {
		tb.Fatalf("build the services: %v", err)
	}
	ordersDSN, stockDSN := s.databases(tb)
	if s.redis == "" {
		s.redis = stacktest.Redis(tb)
	}
	if s.namesrv == "" {
		s.namesrv = stacktest.RocketMQ(tb)
	}
	via := s.mysql
	if via == nil {
		via = func(dsn string) string { return dsn }
	}
	ports, err := stack.FreePorts(6)
	if err != nil {
		tb.Fatal(err)
	}
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	sh := &shop{tb: tb, client: &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 300}}}
	common := map[string]string{
		"MQ_NAMESPACE": fmt.Sprintf("e2e%d", ports[0]), "LAB_MODE": "true", "DEMO_LOGIN": "true",
		"NAMESRV_ADDRS": s.namesrv, "REDIS_ADDRS": s.redis, "STOCK_STRATEGY": s.strategy,
		"ORDER_URLS": "http://" + addr(1), "INVENTORY_URLS": "http://" + addr(2),
	}
	if s.inventory != nil {
		common["INVENTORY_URLS"] = "http://" + s.inventory(addr(2))
	}
	maps.Copy(common, s.env)
	sh.inventory = sh.start(dir, "inventory-srv", addr(2), addr(5), common, map[string]string{"MYSQL_DSN": via(stockDSN), "INSTANCE_ID": "inventory-1"})
	sh.order = sh.start(dir, "order-srv", addr(1), addr(4), common, map[string]string{"MYSQL_DSN": via(ordersDSN), "INSTANCE_ID": "order-1"})
	sh.gateway = sh.start(dir, "api-gateway", addr(0), addr(3), common, nil)
	for _, svc := range []*service{sh.inventory, sh.order, sh.gateway} {
		sh.waitReady(svc)
	}
	sh.ordersDB, sh.stockDB = openDB(tb, ordersDSN), openDB(tb, stockDSN)
	sh.admin = sh.login("admin", "admin")
	return sh
}

func openDB(tb testing.TB, dsn string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func (sh *shop) start(dir, name, addr, ops string, envs ...map[string]string) *service {
	sh.tb.Helper()
	s := &service{name: name, http: addr, ops: ops, log: &safeBuffer{}}
	env := append(os.Environ(), "HTTP_ADDR="+addr, "OPS_ADDR="+ops)
	for _, more := range envs {
		env = append(env, environ(more)...)
	}
	sh.launch(s, filepath.Join(dir, name), env)
	sh.tb.Cleanup(func() { sh.stop(s) })
	return s
}

func environ(vars map[string]string) []string {
	var env []string
	for k, v := range vars {
		env = append(env, k+"="+v)
	}
	return env
}

// launch starts the service's process, its first or a later one.
func (sh *shop) launch(s *service, program string, env []string) {
	sh.tb.Helper()
	cmd, gone := exec.Command(program), make(chan struct{})
	cmd.Env, cmd.Stdout, cmd.Stderr = env, s.log, s.log
	if err := cmd.Start(); err != nil {
		sh.tb.Fatalf("start %s: %v", s.name, err)
	}
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	s.cmd, s.gone = cmd, gone
}

// stop asks the service to end and insists after a while; a service that does not stop gracefully fails the test.
func (sh *shop) stop(s *service) {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.gone:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.gone
		sh.tb.Errorf("%s did not stop within 30 s", s.name)
	}
	if sh.tb.Failed() {
		sh.tb.Logf("log of %s:\n%s", s.name, tail(s.log.String(), 60))
	}
}

func tail(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (sh *shop) waitReady(s *service) {
	sh.tb.Helper()
	sh.eventually(60*time.Second, s.name+" is ready", func() error {
		select {
		case <-s.gone:
			sh.tb.Fatalf("%s ended:\n%s", s.name, tail(s.log.String(), 40))
		default:
		}
		if got := sh.readyz(s); got.Status != "ok" {
			return fmt.Errorf("readyz: %+v", got)
		}
		return nil
	})
}

type readiness struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks"`
}

func (sh *shop) readyz(s *service) readiness {
	sh.tb.Helper()
	var r readiness
	res, err := sh.client.Get("http://" + s.ops + "/readyz")
	if err != nil {
		return readiness{Status: err.Error()}
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
		return readiness{Status: err.Error()}
	}
	return r
}

// eventually polls until f returns nil, and fails the test with f's last error after the deadline.
func (sh *shop) eventually(d time.Duration, what string, f func() error) {
	sh.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			sh.tb.Fatalf("%s: not within %v: %v", what, d, err)
		case <-tick.C:
		}
	}
}

// answer is a gateway's answer.
type answer struct {
	Status int
	Header http.Header
	Body   []byte
}

func (a answer) code() string {
	var p struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(a.Body, &p)
	return p.Code
}

func (a answer) order(tb testing.TB) orderapi.Order {
	tb.Helper()
	var o orderapi.Order
	if err := json.Unmarshal(a.Body, &o); err != nil {
		tb.Fatalf("answer %d is no order: %v\n%s", a.Status, err, a.Body)
	}
	return o
}

// call sends a request to the gateway; headers are name, value, name, value.
func (sh *shop) call(method, path, token, body string, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, "http://"+sh.gateway.http+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := sh.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, b}, err
}

// must is call for requests that have to be answered with the wanted status.
func (sh *shop) must(want int, method, path, token, body string, headers ...string) answer {
	sh.tb.Helper()
	a, err := sh.call(method, path, token, body, headers...)
	if err != nil {
		sh.tb.Fatalf("%s %s: %v", method, path, err)
	}
	if a.Status != want {
		sh.tb.Fatalf("%s %s: status %d, want %d\n%s", method, path, a.Status, want, a.Body)
	}
	return a
}

func (sh *shop) login(user, role string) string {
	sh.tb.Helper()
	a := sh.must(http.StatusOK, http.MethodPost, "/v1/login", "", fmt.Sprintf(`{"user":%q,"role":%q}`, user, role))
	var out struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(a.Body, &out); err != nil || out.Token == "" {
		sh.tb.Fatalf("login answered %s", a.Body)
	}
	return out.Token
}

// product makes a SKU with units in stock through the public admin routes.
func (sh *shop) product(sku string, units int) {
	sh.tb.Helper()
	sh.must(http.StatusCreated, http.MethodPost, "/v1/admin/products", sh.admin, fmt.Sprintf(`{"sku":%q,"title":"Thing %s","price_cents":1250}`, sku, sku))
	sh.must(http.StatusOK, http.MethodPost, "/v1/admin/products/"+sku+"/inbound", sh.admin,
		fmt.Sprintf(`{"quantity":%d,"reference":"first-%s","reason":"test"}`, units, sku))
}

func (sh *shop) available(sku string) int64 {
	sh.tb.Helper()
	var p inventoryapi.Product
	a := sh.must(http.StatusOK, http.MethodGet, "/v1/products/"+sku, "", "")
	if err := json.Unmarshal(a.Body, &p); err != nil {
		sh.tb.Fatal(err)
	}
	return p.Available
}

// order places an order of one unit.
func (sh *shop) place(token, key, sku string) (answer, error) {
	return sh.call(http.MethodPost, "/v1/orders", token, fmt.Sprintf(`{"items":[{"sku":%q,"quantity":1}]}`, sku), "Idempotency-Key", key)
}

func (sh *shop) mustPlace(token, key, sku string) orderapi.Order {
	sh.tb.Helper()
	a, err := sh.place(token, key, sku)
	if err != nil || a.Status != http.StatusCreated {
		sh.tb.Fatalf("place: %v, status %d\n%s", err, a.Status, a.Body)
	}
	return a.order(sh.tb)
}

// audit asks until nothing is unsettled and returns the last report.
func (sh *shop) audit(d time.Duration) check.Report {
	sh.tb.Helper()
	var r check.Report
	sh.eventually(d, "the audit finds the shop at rest", func() error {
		r = check.Report{}
		a, err := sh.call(http.MethodGet, "/v1/admin/audit", sh.admin, "")
		if err != nil {
			return err
		}
		if a.Status != http.StatusOK {
			return fmt.Errorf("status %d: %s", a.Status, a.Body)
		}
		if err := json.Unmarshal(a.Body, &r); err != nil {
			return err
		}
		if len(r.Violations) > 0 {
			sh.tb.Fatalf("violations: %v", r.Violations)
		}
		if len(r.Unsettled) > 0 {
			return fmt.Errorf("unsettled: %v", r.Unsettled)
		}
		return nil
	})
	return r
}

func (sh *shop) status(orderNo string) string {
	sh.tb.Helper()
	var s string
	err := sh.ordersDB.QueryRow("SELECT status FROM orders WHERE order_no = ?", orderNo).Scan(&s)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		sh.tb.Fatal(err)
	}
	return s
}

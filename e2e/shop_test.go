package e2e_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
	"holdfast/internal/lab/history"
)

// shop is the services, running as processes on fresh databases with a namespace of their own.
type shop struct {
	tb       testing.TB
	ordersDB *sql.DB
	stockDB  *sql.DB
	walletDB *sql.DB // nil unless there is a wallet
	admin    string  // token
	client   *http.Client
	turn     *atomic.Int64    // counter for the round robin over the gateways
	users    *sync.Map        // user names by token
	history  *history.History // the clients' calls and answers; see truthful

	gateway, order, inventory     *service   // the first replica of each
	gateways, orders, inventories []*service // all replicas
	wallets                       []*service // none unless setup.wallet
}

// setup is the configuration of a shop. The zero value is the default.
type setup struct {
	strategy string            // default: redis-lock
	env      map[string]string // environment of all services
	mysql    func(dsn string) string
	redis    string
	namesrv  string
	replicas int  // replicas of each service; default: one
	empty    bool // the databases have no tables at the start
	wallet   bool // as many wallets as replicas, for the flow tcc

	inventory func(addr string) string // returns the address at which order-srv calls an inventory-srv
	server    string                   // administrator DSN of a MySQL of the test
	crash     bool                     // use builds with crash points
}

// service is a process with its addresses and its log. [shop.restart] replaces the process.
type service struct {
	name    string
	program string
	args    []string
	http    string // host:port
	ops     string
	env     []string
	cmd     *exec.Cmd
	log     *testkit.Buffer
	gone    chan struct{}
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
	n := max(1, s.replicas)
	ports, err := stack.FreePorts(8 * n)
	if err != nil {
		tb.Fatal(err)
	}
	addr := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	sh := emptyShop(tb)
	common := map[string]string{
		"MQ_NAMESPACE": fmt.Sprintf("e2e%d", ports[0]), "LAB_MODE": "true", "DEMO_LOGIN": "true",
		"NAMESRV_ADDRS": s.namesrv, "REDIS_ADDRS": s.redis, "STOCK_STRATEGY": s.strategy, "DRAIN_DELAY": "0s",
		"BROKER_CHECK_INTERVAL": "2s", // stack.QuickTransactions
	}
	if s.inventory == nil {
		s.inventory = func(addr string) string { return addr }
	}
	var orderURLs, inventoryURLs, walletURLs []string
	for k := range n {
		orderURLs, inventoryURLs = append(orderURLs, "http://"+addr(8*k+1)), append(inventoryURLs, "http://"+s.inventory(addr(8*k+2)))
		walletURLs = append(walletURLs, "http://"+addr(8*k+3))
	}
	common["ORDER_URLS"], common["INVENTORY_URLS"] = strings.Join(orderURLs, ","), strings.Join(inventoryURLs, ",")
	common["WALLET_URLS"] = strings.Join(walletURLs, ",")
	maps.Copy(common, s.env)
	start := func(program string, k, port int, env map[string]string) *service {
		return sh.start(dir, program, k+1, addr(8*k+port), addr(8*k+port+4), common, env)
	}
	if s.wallet {
		dsn := s.walletDatabase(tb)
		sh.walletDB = openDB(tb, dsn)
		for k := range n {
			sh.wallets = append(sh.wallets, start("wallet", k, 3, map[string]string{"WALLET_DSN": via(dsn)}))
		}
	}
	for k := range n {
		id := func(program string) string { return fmt.Sprintf("%s-%d", program, k+1) }
		sh.inventories = append(sh.inventories, start("inventory-srv", k, 2, map[string]string{"MYSQL_DSN": via(stockDSN), "INSTANCE_ID": id("inventory")}))
		sh.orders = append(sh.orders, start("order-srv", k, 1, map[string]string{"MYSQL_DSN": via(ordersDSN), "INSTANCE_ID": id("order")}))
		sh.gateways = append(sh.gateways, start("api-gateway", k, 0, nil))
	}
	sh.inventory, sh.order, sh.gateway = sh.inventories[0], sh.orders[0], sh.gateways[0]
	for _, svc := range slices.Concat(sh.inventories, sh.wallets, sh.orders, sh.gateways) {
		sh.waitReady(svc)
	}
	sh.ordersDB, sh.stockDB = openDB(tb, ordersDSN), openDB(tb, stockDSN)
	sh.admin = sh.login("admin", "admin")
	return sh
}

func emptyShop(tb testing.TB) *shop {
	return &shop{
		tb: tb, turn: &atomic.Int64{}, users: &sync.Map{}, history: &history.History{},
		client: &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 300}},
	}
}

// on returns the shop for a subtest, whose failures are its own.
func (sh *shop) on(tb testing.TB) *shop {
	other := *sh
	other.tb = tb
	return &other
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

// exec executes a statement without the services' knowledge.
func (sh *shop) exec(db *sql.DB, statement string) {
	sh.tb.Helper()
	if _, err := db.Exec(statement); err != nil {
		sh.tb.Fatalf("%s: %v", statement, err)
	}
}

func (sh *shop) start(dir, program string, k int, addr, ops string, envs ...map[string]string) *service {
	sh.tb.Helper()
	s := &service{name: fmt.Sprintf("%s-%d", program, k), program: filepath.Join(dir, program), http: addr, ops: ops, log: &testkit.Buffer{}}
	if program == "wallet" { // order-srv's program
		s.program, s.args = filepath.Join(dir, "order-srv"), []string{"wallet"}
	}
	s.env = append(os.Environ(), "HTTP_ADDR="+addr, "OPS_ADDR="+ops)
	for _, env := range envs {
		s.env = append(s.env, environ(env)...)
	}
	sh.run(s)
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

// run starts the service's process, also again.
func (sh *shop) run(s *service) {
	sh.tb.Helper()
	s.cmd, s.gone = exec.Command(s.program, s.args...), make(chan struct{})
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.env, s.log, s.log
	if err := s.cmd.Start(); err != nil {
		sh.tb.Fatalf("start %s: %v", s.name, err)
	}
	go func(cmd *exec.Cmd, gone chan struct{}) {
		_ = cmd.Wait()
		close(gone)
	}(s.cmd, s.gone)
}

// kill ends the service with SIGKILL.
func (sh *shop) kill(s *service) {
	_ = s.cmd.Process.Kill()
	<-s.gone
}

// restart starts a service that has ended again, as the same replica.
func (sh *shop) restart(s *service) {
	sh.tb.Helper()
	sh.run(s)
	sh.waitReady(s)
}

// stop sends SIGTERM, and SIGKILL after a while. A service that does not stop gracefully fails the test.
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

// tail omits the reconciler's requests, which may be several per second.
func tail(text string, lines int) string {
	all := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.Contains(line, "/v1/reservations/states") })
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (sh *shop) waitReady(s *service) {
	sh.tb.Helper()
	testkit.Eventually(sh.tb, 60*time.Second, s.name+" is ready", func() error {
		select {
		case <-s.gone:
			sh.tb.Fatalf("%s ended:\n%s", s.name, tail(s.log.String(), 40))
		default:
		}
		got := sh.readyz(s)
		if got.Status != "ok" {
			return fmt.Errorf("readyz: %+v", got)
		}
		for _, name := range []string{"broker", "inventory"} { // order-srv is ready without them, but the shop is not
			if state, checked := got.Checks[name]; checked && state != "ok" {
				return fmt.Errorf("readyz: %+v", got)
			}
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

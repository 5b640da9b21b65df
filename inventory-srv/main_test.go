package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/tcpproxy"
	"holdfast/internal/dev/testkit"
	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/pkg/config"
	"holdfast/pkg/database"
	"holdfast/pkg/fault"
	"holdfast/pkg/rest"
	"holdfast/sql"
)

const patience = 30 * time.Second

// environment is a service's variables: an empty database, a Redis behind a proxy, and a broker that is not there.
func environment(t *testing.T, redis string) map[string]string {
	t.Helper()
	ports, err := stack.FreePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"HTTP_ADDR":     fmt.Sprintf("127.0.0.1:%d", ports[0]),
		"OPS_ADDR":      fmt.Sprintf("127.0.0.1:%d", ports[1]),
		"NAMESRV_ADDRS": fmt.Sprintf("127.0.0.1:%d", ports[2]),
		"MYSQL_DSN":     dbtest.NewDSN(t, nil),
		"REDIS_ADDRS":   redis,
	}
}

func getenv(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

// TestRun_Serve starts the service while neither Redis nor the broker is there. It serves, says what is missing, and
// sells as soon as Redis comes.
func TestRun_Serve(t *testing.T) {
	t.Parallel()
	redis := tcpproxy.New(t, stacktest.Redis(t))
	redis.Cut()
	vars := environment(t, redis.Addr())
	for range 2 { // again changes nothing
		if err := run(t.Context(), []string{"seed"}, getenv(vars), io.Discard); err != nil {
			t.Fatalf("seed: %v", err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, nil, getenv(vars), io.Discard) }()

	ops := "http://" + vars["OPS_ADDR"]
	eventually(t, "a service without Redis and broker", func() bool {
		status, body := get(t, ops+"/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, `"mysql":"ok"`) &&
			!strings.Contains(body, `"redis":"ok"`) && strings.Contains(body, `"broker":"broker_unavailable`)
	})
	if status, _ := get(t, ops+"/livez"); status != http.StatusOK {
		t.Errorf("livez: %d", status)
	}
	if err := run(t.Context(), []string{"healthcheck"}, getenv(vars), io.Discard); err == nil {
		t.Error("the health check of a service that is not ready succeeded")
	}

	client, err := rest.New(rest.Config{URLs: []string{"http://" + vars["HTTP_ADDR"]}, Name: "inventory-srv", Credential: config.DemoServiceCredential})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	inventory := inventoryapi.NewClient(client)
	buy := func(no string) inventoryapi.ReserveResult {
		results, err := inventory.Reserve(t.Context(), []inventoryapi.ReserveOrder{{OrderNo: no, Lines: []inventoryapi.Line{{SKU: "LAMP-LIMITED", Quantity: 1}}}})
		if err != nil {
			t.Fatal(err)
		}
		return results[0]
	}
	if p := buy("WITHOUT-REDIS").Problem; p == nil || p.Code != "redis_unavailable" || p.Kind != fault.Unavailable || p.Ambiguous {
		t.Errorf("without Redis: %+v", p)
	}
	redis.Restore()
	eventually(t, "a sale once Redis is there", func() bool { return buy("WITH-REDIS").Receipt != nil })
	eventually(t, "readiness of Redis", func() bool {
		_, body := get(t, ops+"/readyz")
		return strings.Contains(body, `"redis":"ok"`)
	})
	lamp, err := inventory.Product(t.Context(), "LAMP-LIMITED")
	if err != nil || lamp.Available != 19 {
		t.Errorf("%+v, error %v; want 19 of 20 left", lamp, err)
	}
	if _, body := get(t, ops+"/metrics"); !strings.Contains(body, "lock_wait_seconds_count") || !strings.Contains(body, "stock_stale_fence_total 0") {
		t.Error("the metrics of locks and fences are missing")
	}

	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the end: %v", err)
		}
	case <-time.After(patience):
		t.Error("the service does not end")
	}
}

// TestRun_MigrateAfterBranches: a prepared branch keeps the migration of inventory's schema from beginning. The log
// says which one and what ends it, and the migration goes on when another process has ended it.
func TestRun_MigrateAfterBranches(t *testing.T) {
	t.Parallel()
	before := fstest.MapFS{} // the schema of the version before
	names, err := fs.Glob(sql.Inventory(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names[:len(names)-1] {
		text, err := fs.ReadFile(sql.Inventory(), name)
		if err != nil {
			t.Fatal(err)
		}
		before[name] = &fstest.MapFile{Data: text}
	}
	dsn := dbtest.NewDSN(t, before)
	branches := database.NewBranches(dbtest.Open(t, dsn, database.Options{}))
	const no = "01JD0000000000000000000001"
	err = branches.Prepare(t.Context(), no, func(tx *gorm.DB) error {
		return tx.Exec("INSERT INTO products (sku, title, price_cents, created_at) VALUES ('A', 'A', 1, UTC_TIMESTAMP(6))").Error
	})
	if err != nil {
		t.Fatal(err)
	}
	var log testkit.Buffer
	ended := make(chan error, 1)
	go func() {
		ended <- app.Run(context.WithoutCancel(t.Context()), []string{"migrate"}, getenv(map[string]string{"LAB_MODE": "true", "MYSQL_DSN": dsn}), &log)
	}()
	eventually(t, "the log says for what the migration waits", func() bool {
		return strings.Contains(log.String(), "migration waits for prepared branches") && strings.Contains(log.String(), no) &&
			strings.Contains(log.String(), "xa_log")
	})
	if found, err := branches.Rollback(t.Context(), no); !found || err != nil {
		t.Fatalf("roll back: %v, %v", found, err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the migration does not end")
	}
}

// outside is a strategy that the service does not know. It reserves as for-update does.
type outside struct {
	strategy.RowStock
	ledger *store.Ledger
}

// Reserve implements stock.Reserver.
func (o outside) Reserve(ctx context.Context, r stock.Request) (stock.Receipt, error) {
	return o.ledger.Reserve(ctx, r, func(tx *gorm.DB, lines []stock.Line) error {
		rows, err := strategy.LockRows(tx, lines)
		if err != nil {
			return err
		}
		if err := rows.Take(lines); err != nil {
			return err
		}
		return rows.Save(tx)
	})
}

func outsider() strategy.Strategy {
	return strategy.Strategy{Name: "mine", Layout: stock.LayoutRow, Idea: "from outside", Safe: true, New: func(d strategy.Deps) stock.Reserver {
		return outside{strategy.NewRowStock(d.Ledger), d.Ledger}
	}}
}

// TestRun_Extra serves a strategy from outside: it is listed, an order may choose it, its orders are confirmed and
// released, and it can be the default.
func TestRun_Extra(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]map[string]string{
		"chosen": {"LAB_MODE": "true", "STOCK_STRATEGY": "conditional"}, "default": {"STOCK_STRATEGY": "mine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			vars := environment(t, stacktest.Redis(t))
			maps.Copy(vars, settings)
			if err := app.Run(t.Context(), []string{"seed"}, getenv(vars), io.Discard, outsider()); err != nil {
				t.Fatalf("seed: %v", err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- app.Run(ctx, nil, getenv(vars), io.Discard, outsider()) }()
			defer func() {
				stop()
				if err := <-ended; err != nil {
					t.Errorf("run: %v", err)
				}
			}()
			eventually(t, "the service answers", func() bool {
				status, _ := get(t, "http://"+vars["OPS_ADDR"]+"/readyz")
				return status != 0
			})
			client, err := rest.New(rest.Config{URLs: []string{"http://" + vars["HTTP_ADDR"]}, Name: "inventory-srv", Credential: config.DemoServiceCredential})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			sellByOutsider(t, inventoryapi.NewClient(client), name == "chosen")
		})
	}
}

func sellByOutsider(t *testing.T, inventory *inventoryapi.Client, lab bool) {
	t.Helper()
	known, err := inventory.Strategies(t.Context())
	if err != nil || !slices.ContainsFunc(known.Strategies, func(s inventoryapi.Strategy) bool { return s.Name == "mine" && s.Layout == "row" && s.Safe }) {
		t.Errorf("the strategies are %+v, error %v; want mine among them", known, err)
	}
	asked := ""
	if lab {
		asked = "mine"
	}
	for _, no := range []string{"SOLD", "BACK"} {
		results, err := inventory.Reserve(t.Context(), []inventoryapi.ReserveOrder{{
			OrderNo: no, Strategy: asked, Lines: []inventoryapi.Line{{SKU: "LAMP-LIMITED", Quantity: 3}},
		}})
		if err != nil || results[0].Receipt == nil || results[0].Receipt.Strategy != "mine" {
			t.Fatalf("reserve %s: %+v, error %v", no, results, err)
		}
	}
	if err := errors.Join(inventory.Confirm(t.Context(), "SOLD"), inventory.Release(t.Context(), "BACK")); err != nil {
		t.Errorf("end the orders: %v", err)
	}
	if lamp, err := inventory.Product(t.Context(), "LAMP-LIMITED"); err != nil || lamp.Available != 17 {
		t.Errorf("%+v, error %v; want 17 of 20 left", lamp, err)
	}
}

// TestRun_ExtraRefuses: a strategy that takes the name of another one, or has a layout that does not exist, ends the
// start.
func TestRun_ExtraRefuses(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]strategy.Strategy{
		"the name is taken":         {Name: "for-update", Layout: stock.LayoutRow, New: outsider().New},
		`there is no layout "heap"`: {Name: "mine", Layout: "heap", New: outsider().New},
		"1 to 32":                   {Name: "Mine", Layout: stock.LayoutRow, New: outsider().New},
		"a function New":            {Name: "mine", Layout: stock.LayoutRow},
	} {
		err := app.Run(t.Context(), nil, getenv(map[string]string{"HTTP_ADDR": "127.0.0.1:0"}), io.Discard, s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestRun_Refuses(t *testing.T) {
	t.Parallel()
	vars := map[string]string{
		"STOCK_STRATEGY": "hope", "REDLOCK_ADDRS": "a:1,b:2", "REQUEST_TIMEOUT": "soon", "LOCK_TTL": "1ms",
		"MYSQL_DSN": "root:topsecret@tcp(127.0.0.1:1)/x", "REDIS_ADDRS": "a:1,", "NAMESRV_ADDRS": "a:1,a:1",
	}
	var out bytes.Buffer
	err := run(t.Context(), nil, getenv(vars), &out)
	for _, want := range []string{"STOCK_STRATEGY", "hope", "optimistic, redis-lock, redlock", "REDLOCK_ADDRS", "REQUEST_TIMEOUT", "LOCK_TTL", "REDIS_ADDRS", "NAMESRV_ADDRS"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	for _, name := range []string{"naive", "mutex"} {
		err := run(t.Context(), nil, getenv(map[string]string{"STOCK_STRATEGY": name, "HTTP_ADDR": "127.0.0.1:0"}), &out)
		if err == nil || !strings.Contains(err.Error(), "LAB_MODE") {
			t.Errorf("%s outside of the lab: %v", name, err)
		}
	}
	good := map[string]string{"LAB_MODE": "true", "MYSQL_DSN": "root:topsecret@tcp(127.0.0.1:1)/x"}
	if err := run(t.Context(), []string{"dance"}, getenv(good), &out); err == nil || !strings.Contains(err.Error(), "dance") {
		t.Errorf("an unknown command: %v", err)
	}
	err = run(t.Context(), []string{"migrate"}, getenv(good), &out)
	if err == nil || strings.Contains(err.Error()+out.String(), "topsecret") {
		t.Errorf("without a database: error %v, output %s", err, out.String())
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(body)
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within %s", what, patience)
		}
		time.Sleep(10 * time.Millisecond) // between two looks at the condition
	}
}

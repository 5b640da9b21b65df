package strategy_test

import (
	"context"
	gosql "database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/layout"
	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/stocktest"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/database"
	"holdfast/pkg/lock"
	"holdfast/sql"
)

// patience is how long a test waits for what must happen.
const patience = stocktest.Patience

// instance is what one replica of the service has for itself.
type instance struct {
	db        *gorm.DB
	deadlocks *atomic.Int64         // that its statements met
	sent      *stocktest.Statements // hooked in before the replica works
	store     *store.Store
	client    redis.UniversalClient // the locker's
	locker    strategy.Locker
	nodes     *strategy.Nodes
	lockPool  *gosql.DB
	registry  *prometheus.Registry

	inRedis bool // it works with stock in Redis, see world.open
	app     *app.App
	redis   *redisstock.Reserver
}

// world is one inventory that two instances share: one database, one Redis.
type world struct {
	one, two instance
	dsn      string
	options  []lock.Option
	redis    redis.UniversalClient
	prefix   string // of the locks
	lab      bool   // its products may be harmed
	layout   string // of its products; "" is the row
	spoilt   bool   // not fit for another test
	counters string // the prefix of the counters in Redis
	dial     func() redis.UniversalClient
}

func newWorld(t *testing.T, options ...lock.Option) *world {
	t.Helper()
	return newWorldOn(t, stacktest.Redis(t), options...)
}

func newWorldOn(t *testing.T, addr string, options ...lock.Option) *world {
	t.Helper()
	return newWorldBy(t, func() redis.UniversalClient { return lock.NewClient([]string{addr}) }, options...)
}

// newWorldBy is newWorldOn for whatever dial connects to.
func newWorldBy(t *testing.T, dial func() redis.UniversalClient, options ...lock.Option) *world {
	t.Helper()
	return newWorldAt(t, dbtest.NewDSN(t, sql.Inventory()), dial, options...)
}

// newWorldAt is newWorldBy on the database at dsn, whose schema is up to date.
func newWorldAt(t *testing.T, dsn string, dial func() redis.UniversalClient, options ...lock.Option) *world {
	t.Helper()
	w := &world{dsn: dsn, dial: dial, prefix: fmt.Sprintf("suite-%d:", rand.Uint64()), redis: dial()}
	t.Cleanup(func() { _ = w.redis.Close() })
	w.options, w.counters = append(options, lock.WithPrefix(w.prefix)), "{"+w.prefix+"}:"
	w.one, w.two = w.instance(t, dsn), w.instance(t, dsn)
	return w
}

// instance makes another one, on this world's database by way of dsn.
func (w *world) instance(t *testing.T, dsn string) instance {
	t.Helper()
	i := newInstance(t, dsn, w.dial(), w.options)
	if w.one.inRedis {
		i.toRedis(t, redisstock.Config{Prefix: w.counters})
	}
	return i
}

// toRedis makes the instance's strategies, with stock in Redis; cfg may say what the default is not to be.
func (i *instance) toRedis(t *testing.T, cfg redisstock.Config) {
	t.Helper()
	cfg.Client = i.client
	i.registry = prometheus.NewRegistry()
	i.inRedis, i.app = true, i.build(t, app.Config{Strategy: strategy.Default, Lab: true, Redis: cfg})
	i.redis, _ = i.app.Stock.Reserver(redisLua).(*redisstock.Reserver)
}

// build makes strategies on the instance's servers.
func (i instance) build(t *testing.T, cfg app.Config) *app.App {
	t.Helper()
	if i.registry != nil {
		cfg.Registry = i.registry
	}
	cfg.Log, cfg.DB, cfg.Locker, cfg.Redlock, cfg.LockPool = quiet(), i.db, i.locker, i.nodes, i.lockPool
	built, err := app.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("make the strategies: %v", err)
	}
	t.Cleanup(func() {
		if err := built.Close(); err != nil {
			t.Errorf("close the strategies: %v", err)
		}
	})
	return built
}

// open has the instances work with stock in Redis from now on. The world is not fit for another test then.
func (w *world) open(t *testing.T) {
	t.Helper()
	w.toRedis(t)
	w.one.follow(t)
	w.two.follow(t)
}

// toRedis is open without anybody who follows Redis.
func (w *world) toRedis(t *testing.T) {
	t.Helper()
	w.spoilt = true
	w.layout = stock.LayoutRedis
	w.one.toRedis(t, redisstock.Config{Prefix: w.counters})
	w.two.toRedis(t, redisstock.Config{Prefix: w.counters})
}

// follow runs the part of a replica that has MySQL follow Redis, until the test ends or the returned function is
// called.
func (i instance) follow(t *testing.T) (stop func() error) {
	t.Helper()
	return inBackground(t, i.redis.Run)
}

// inBackground runs a function until the test ends or stop is called.
func inBackground(t *testing.T, run func(context.Context)) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	stop = func() error {
		cancel()
		running.Wait()
		return nil
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// settle waits until MySQL knows what Redis knows.
func (w *world) settle(t *testing.T) {
	t.Helper()
	if !w.one.inRedis {
		return
	}
	if err := w.one.redis.Settled(soon(t)); err != nil {
		t.Fatalf("MySQL does not follow Redis: %v", err)
	}
}

// worlds lends worlds to the subtests of one test: to empty one is quicker than to make one.
type worlds struct {
	owner *testing.T // with whose end they end
	free  chan *world
}

func newWorlds(owner *testing.T) *worlds {
	owner.Helper()
	stacktest.SkipIfShort(owner, "MySQL and Redis") // here: a subtest must not skip its parent
	return &worlds{owner: owner, free: make(chan *world, 100)}
}

// take returns an empty world until the subtest ends.
func (ws *worlds) take(t *testing.T) *world {
	t.Helper()
	var w *world
	select {
	case w = <-ws.free:
		w.clear(t)
	default:
		w = newWorld(ws.owner)
	}
	t.Cleanup(func() {
		if !w.spoilt {
			ws.free <- w
		}
	})
	return w
}

func (w *world) clear(t *testing.T) {
	t.Helper()
	for _, table := range []string{
		"reservation_allocations", "stock_buckets", "stock_units", "unit_counts", "reservation_lines", "reservations", "stock_inbound", "stock", "products",
	} {
		if err := w.one.db.Exec("DELETE FROM " + table).Error; err != nil {
			t.Fatalf("clear the world: %v", err)
		}
	}
	w.lab, w.layout = false, ""
	for _, i := range []*instance{&w.one, &w.two} {
		i.registry = prometheus.NewRegistry()
		i.deadlocks.Store(0)
	}
}

// countDeadlocks counts what the ledger repeats without a word.
func countDeadlocks(t *testing.T, db *gorm.DB) *atomic.Int64 {
	t.Helper()
	n := new(atomic.Int64)
	count := func(tx *gorm.DB) {
		if e, ok := errors.AsType[*mysql.MySQLError](tx.Error); ok && e.Number == 1213 {
			n.Add(1)
		}
	}
	err := errors.Join(
		db.Callback().Raw().After("gorm:raw").Register("test:deadlocks", count),
		db.Callback().Query().After("gorm:query").Register("test:deadlocks", count))
	if err != nil {
		t.Fatalf("hook into the statements: %v", err)
	}
	return n
}

func newInstance(t *testing.T, dsn string, client redis.UniversalClient, options []lock.Option) instance {
	t.Helper()
	db := dbtest.Open(t, dsn, database.Options{MaxOpen: 32})
	servers, err := app.Open(t.Context(), app.Config{
		Log: quiet(), DB: db, DSN: dsn, LockPoolSize: strategy.DefaultLockPool, LockClient: client, RedlockAddrs: stacktest.RedlockNodes(t), LockOptions: options,
	})
	if err != nil {
		t.Fatalf("open the servers: %v", err)
	}
	t.Cleanup(func() { _, _ = servers.Close(), client.Close() })
	return instance{
		db: db, deadlocks: countDeadlocks(t, db), sent: stocktest.Watch(t, db), store: servers.Store, client: client,
		locker: servers.Locker, nodes: servers.Nodes, lockPool: servers.LockPool, registry: prometheus.NewRegistry(),
	}
}

func (i instance) ledger() stocktest.Ledger { return stocktest.Ledger{Store: i.store, DB: i.db} }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// set makes the strategies of one instance; orders may choose.
func (i instance) set(t *testing.T) *strategy.Set {
	t.Helper()
	if i.inRedis {
		return i.app.Stock
	}
	return i.build(t, app.Config{Strategy: strategy.Default, Lab: true}).Stock
}

func (i instance) setLayout(ctx context.Context, sku, to string) (err error) {
	if i.inRedis {
		_, err = i.app.Stock.SetLayout(ctx, sku, layout.Shape{Layout: to})
		return err
	}
	_, err = i.store.SetLayout(ctx, sku, layout.Shape{Layout: to})
	return err
}

// has puts units of a new SKU into the shop.
func (w *world) has(t *testing.T, sku string, units int64) {
	t.Helper()
	if err := w.bring(t.Context(), sku, units); err != nil {
		t.Fatalf("bring %s into the shop: %v", sku, err)
	}
}

// bring is has for those who may have to try again.
func (w *world) bring(ctx context.Context, sku string, units int64) error {
	_, err := w.one.store.CreateProduct(ctx, store.Product{SKU: sku, Title: "Title of " + sku, PriceCents: 250, Lab: w.lab})
	if err == nil && w.layout != "" {
		err = w.one.setLayout(ctx, sku, w.layout)
	}
	if err != nil || units == 0 {
		return err
	}
	_, err = w.one.store.Receive(ctx, store.Inbound{SKU: sku, Quantity: units, Reference: "first-" + sku, Reason: "test", Actor: "test"})
	return err
}

// hasMany is has for many SKUs, in a few statements: one by one, they would cost a test more than what it is about.
func (w *world) hasMany(t *testing.T, skus []string, units int64) {
	t.Helper()
	var products, stocks, inbounds []any
	for _, sku := range skus {
		products = append(products, sku, "Title of "+sku, 250)
		stocks = append(stocks, sku, w.lab)
		inbounds = append(inbounds, sku, units, "first-"+sku, "test", "test")
	}
	rows := func(row string) string { return strings.TrimSuffix(strings.Repeat(row+",", len(skus)), ",") }
	db := w.one.db.WithContext(soon(t))
	err := db.Transaction(func(tx *gorm.DB) error {
		return errors.Join(
			tx.Exec("INSERT INTO products (sku, title, price_cents, created_at) VALUES "+rows("(?, ?, ?, UTC_TIMESTAMP(6))"), products...).Error,
			tx.Exec("INSERT INTO stock (sku, lab, updated_at) VALUES "+rows("(?, ?, UTC_TIMESTAMP(6))"), stocks...).Error)
	})
	for _, sku := range skus {
		if err == nil && w.layout != "" {
			err = w.one.setLayout(soon(t), sku, w.layout)
		}
	}
	if err == nil {
		err = db.Transaction(func(tx *gorm.DB) error {
			return errors.Join(
				tx.Exec("INSERT INTO stock_inbound (sku, quantity, reference, reason, actor, created_at) VALUES "+
					rows("(?, ?, ?, ?, ?, UTC_TIMESTAMP(6))"), inbounds...).Error,
				tx.Exec("UPDATE stock SET available = available + ?, version = version + 1 WHERE sku IN ?", units, skus).Error)
		})
	}
	if err != nil {
		t.Fatalf("bring %d SKUs into the shop: %v", len(skus), err)
	}
}

// faults checks the ledger identity and returns what is wrong.
func (w *world) faults(t *testing.T) []string {
	t.Helper()
	w.settle(t)
	return append(w.one.ledger().Faults(t), w.redisFaults(t)...)
}

// redisFaults compares the counters in Redis with MySQL's, which has followed. What MySQL has laid out and Redis has
// not heard of yet, because the order that laid it out has left, is told by the next one at the gate; so what has to
// agree is what was taken of it.
func (w *world) redisFaults(t *testing.T) (faults []string) {
	t.Helper()
	if !w.one.inRedis {
		return nil
	}
	rows, err := w.one.redis.RedisRows(soon(t))
	if err != nil {
		t.Fatalf("read MySQL's counters: %v", err)
	}
	p, err := w.one.redis.Position(soon(t))
	if err != nil {
		t.Fatalf("read the position: %v", err)
	}
	for _, r := range rows {
		var inRedis struct {
			Available int64 `redis:"a"`
			Allocated int64 `redis:"laid"`
		}
		if err := w.redis.HGetAll(soon(t), fmt.Sprintf("%s%d:stock:%s", w.counters, p.Epoch, r.SKU)).Scan(&inRedis); err != nil {
			t.Fatalf("read the counter of %s: %v", r.SKU, err)
		}
		if inRedis.Allocated-inRedis.Available != r.Allocated-r.Available || inRedis.Allocated > r.Allocated {
			faults = append(faults, fmt.Sprintf("%s: Redis has %d of %d, MySQL %d of %d", r.SKU, inRedis.Available, inRedis.Allocated, r.Available, r.Allocated))
		}
	}
	return faults
}

// entry returns one SKU's side of the ledger.
func (w *world) entry(t *testing.T, sku string) store.Entry {
	t.Helper()
	w.settle(t)
	return w.one.ledger().Entry(t, sku)
}

// wantLedger fails unless the identity holds and sku has these counters.
func (w *world) wantLedger(t *testing.T, sku string, available, reserved, sold int64) {
	t.Helper()
	if faults := w.faults(t); faults != nil {
		t.Errorf("the ledger is broken: %s", strings.Join(faults, "; "))
	}
	e := w.entry(t, sku)
	if e.Available != available || e.Reserved != reserved || e.Sold != sold {
		t.Errorf("%s: available %d, reserved %d, sold %d; want %d, %d, %d", sku, e.Available, e.Reserved, e.Sold, available, reserved, sold)
	}
}

// state returns the status of one reservation, "" when there is none.
func (w *world) state(t *testing.T, orderNo string) stock.Status {
	t.Helper()
	w.settle(t)
	return w.one.ledger().Status(t, orderNo)
}

// order makes a request of lines "SKU quantity".
func order(no, by string, lines ...stock.Line) stock.Request {
	return stock.Request{OrderNo: no, Lines: lines, Strategy: by}
}

func line(sku string, quantity int64) stock.Line { return stock.Line{SKU: sku, Quantity: quantity} }

// settle repeats a confirm or release for as long as it is contended.
func settle(ctx context.Context, op func(context.Context, string) error, orderNo string) error {
	for {
		err := op(ctx, orderNo)
		if !errors.Is(err, stock.ErrContended) || ctx.Err() != nil {
			return err
		}
	}
}

// atOnce runs n calls of fn at the same time and waits for them.
func atOnce(n int, fn func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	wg.Wait()
}

// soon returns a context that ends after patience.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within %s", what, patience)
		}
		time.Sleep(2 * time.Millisecond) // between two looks at the condition
	}
}

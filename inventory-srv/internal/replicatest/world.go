// Package replicatest gives a test two replicas of inventory-srv that share one database and one Redis, and the means
// to stop a replica at a statement and to kill its connections.
package replicatest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/inventory-srv/internal/redisstock"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/store"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/lock"
	"holdfast/sql"
)

// World is one inventory that two instances share: one database, one Redis.
type World struct {
	One, Two Instance
	DSN      string
	options  []lock.Option
	Redis    redis.UniversalClient
	Prefix   string // of the locks
	Lab      bool   // its products may be harmed
	Layout   string // of its products; "" is the row
	Spoilt   bool   // not fit for another test
	Counters string // the prefix of the counters in Redis
	dial     func() redis.UniversalClient
	extra    []strategy.Strategy // beside those of strategy.List
}

// NewWorld returns an empty inventory on the servers that the tests of this process share. It ends with the test.
func NewWorld(t *testing.T, options ...lock.Option) *World {
	t.Helper()
	return NewWorldOn(t, stacktest.Redis(t), options...)
}

// NewWorldOn is NewWorld with the locks on the Redis at addr.
func NewWorldOn(t *testing.T, addr string, options ...lock.Option) *World {
	t.Helper()
	return NewWorldBy(t, func() redis.UniversalClient { return lock.NewClient([]string{addr}) }, options...)
}

// NewWorldBy is NewWorldOn for whatever dial connects to.
func NewWorldBy(t *testing.T, dial func() redis.UniversalClient, options ...lock.Option) *World {
	t.Helper()
	return NewWorldAt(t, dbtest.NewDSN(t, sql.Inventory()), dial, options...)
}

// NewWorldAt is NewWorldBy on the database at dsn, whose schema is up to date.
func NewWorldAt(t *testing.T, dsn string, dial func() redis.UniversalClient, options ...lock.Option) *World {
	t.Helper()
	return newWorldOf(t, nil, dsn, dial, options...)
}

// newWorldOf is NewWorldAt with strategies beside those of strategy.List.
func newWorldOf(t *testing.T, extra []strategy.Strategy, dsn string, dial func() redis.UniversalClient, options ...lock.Option) *World {
	t.Helper()
	w := &World{DSN: dsn, dial: dial, Prefix: fmt.Sprintf("suite-%d:", rand.Uint64()), Redis: dial(), extra: extra}
	t.Cleanup(func() { _ = w.Redis.Close() })
	w.options, w.Counters = append(options, lock.WithPrefix(w.Prefix)), "{"+w.Prefix+"}:"
	w.One, w.Two = w.Instance(t, dsn), w.Instance(t, dsn)
	return w
}

// Instance makes another instance, on this world's database by way of dsn.
func (w *World) Instance(t *testing.T, dsn string) Instance {
	t.Helper()
	i := newInstance(t, dsn, w.dial(), w.options, w.extra)
	if w.One.InRedis {
		i.ToRedis(t, redisstock.Config{Prefix: w.Counters})
	}
	return i
}

// Open has the instances work with stock in Redis from now on. The world is not fit for another test then.
func (w *World) Open(t *testing.T) {
	t.Helper()
	w.ToRedis(t)
	w.One.Follow(t)
	w.Two.Follow(t)
}

// ToRedis is Open without a writer: MySQL does not follow Redis until Instance.Follow runs.
func (w *World) ToRedis(t *testing.T) {
	t.Helper()
	w.Spoilt = true
	w.Layout = stock.LayoutRedis
	w.One.ToRedis(t, redisstock.Config{Prefix: w.Counters})
	w.Two.ToRedis(t, redisstock.Config{Prefix: w.Counters})
}

// Settle waits until MySQL has recorded what Redis has answered.
func (w *World) Settle(t *testing.T) {
	t.Helper()
	if !w.One.InRedis {
		return
	}
	if err := w.One.Redis.Settled(Soon(t)); err != nil {
		t.Fatalf("MySQL does not follow Redis: %v", err)
	}
}

// Worlds lends worlds to the subtests of one test, because emptying one is faster than creating one.
type Worlds struct {
	owner *testing.T // with whose end they end
	extra []strategy.Strategy
	free  chan *World
}

// NewWorlds returns worlds without any world yet. extra are strategies beside those of strategy.List.
func NewWorlds(owner *testing.T, extra ...strategy.Strategy) *Worlds {
	owner.Helper()
	stacktest.SkipIfShort(owner, "MySQL and Redis") // here: a subtest must not skip its parent
	return &Worlds{owner: owner, extra: extra, free: make(chan *World, 100)}
}

// Take returns an empty world until the subtest ends.
func (ws *Worlds) Take(t *testing.T) *World {
	t.Helper()
	var w *World
	select {
	case w = <-ws.free:
		w.clear(t)
	default:
		addr := stacktest.Redis(ws.owner)
		w = newWorldOf(ws.owner, ws.extra, dbtest.NewDSN(ws.owner, sql.Inventory()), func() redis.UniversalClient { return lock.NewClient([]string{addr}) })
	}
	t.Cleanup(func() {
		if !w.Spoilt {
			ws.free <- w
		}
	})
	return w
}

func (w *World) clear(t *testing.T) {
	t.Helper()
	for _, table := range []string{
		"reservation_allocations", "stock_buckets", "stock_units", "unit_counts", "reservation_lines", "reservations", "stock_inbound", "stock", "products",
	} {
		if err := w.One.DB.Exec("DELETE FROM " + table).Error; err != nil {
			t.Fatalf("clear the world: %v", err)
		}
	}
	w.Lab, w.Layout = false, ""
	for _, i := range []*Instance{&w.One, &w.Two} {
		i.Registry = prometheus.NewRegistry()
		i.Deadlocks.Store(0)
	}
}

// Has puts units of a new SKU into the shop.
func (w *World) Has(t *testing.T, sku string, units int64) {
	t.Helper()
	if err := w.Bring(t.Context(), sku, units); err != nil {
		t.Fatalf("bring %s into the shop: %v", sku, err)
	}
}

// Bring is Has with an error, for a caller that retries.
func (w *World) Bring(ctx context.Context, sku string, units int64) error {
	_, err := w.One.Store.CreateProduct(ctx, store.Product{SKU: sku, Title: "Title of " + sku, PriceCents: 250, Lab: w.Lab})
	if err == nil && w.Layout != "" {
		err = w.One.SetLayout(ctx, sku, w.Layout)
	}
	if err != nil || units == 0 {
		return err
	}
	_, err = w.One.Store.Receive(ctx, store.Inbound{SKU: sku, Quantity: units, Reference: "first-" + sku, Reason: "test", Actor: "test"})
	return err
}

// HasMany is Has for many SKUs, in a few statements: one by one they would take longer than the test itself.
func (w *World) HasMany(t *testing.T, skus []string, units int64) {
	t.Helper()
	var products, stocks, inbounds []any
	for _, sku := range skus {
		products = append(products, sku, "Title of "+sku, 250)
		stocks = append(stocks, sku, w.Lab)
		inbounds = append(inbounds, sku, units, "first-"+sku, "test", "test")
	}
	rows := func(row string) string { return strings.TrimSuffix(strings.Repeat(row+",", len(skus)), ",") }
	db := w.One.DB.WithContext(Soon(t))
	err := db.Transaction(func(tx *gorm.DB) error {
		return errors.Join(
			tx.Exec("INSERT INTO products (sku, title, price_cents, created_at) VALUES "+rows("(?, ?, ?, UTC_TIMESTAMP(6))"), products...).Error,
			tx.Exec("INSERT INTO stock (sku, lab, updated_at) VALUES "+rows("(?, ?, UTC_TIMESTAMP(6))"), stocks...).Error)
	})
	for _, sku := range skus {
		if err == nil && w.Layout != "" {
			err = w.One.SetLayout(Soon(t), sku, w.Layout)
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

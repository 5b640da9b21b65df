package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/order-srv/internal/app"
	"holdfast/order-srv/internal/ordertest"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/database"
	"holdfast/pkg/mq"
	"holdfast/pkg/mq/mqtest"
	"holdfast/sql"
)

// storm is an edition of TestCheckBackStorm.
type storm struct {
	halves   int           // half messages that are left undecided
	timeout  time.Duration // the broker's transactionTimeOut
	interval time.Duration // and its transactionCheckInterval
}

// edition is the small one, or with HOLDFAST_HALF_MESSAGES that number with the timers of deploy/rocketmq/broker.conf.
func edition(t *testing.T) storm {
	t.Helper()
	text := os.Getenv("HOLDFAST_HALF_MESSAGES")
	if text == "" {
		return storm{1500, 5 * time.Second, 4 * time.Second}
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return storm{n, 12 * time.Second, 5 * time.Second}
}

// deliveries counts stock-release by order, and the broker's questions.
type deliveries struct {
	mu    sync.Mutex
	count map[string]int
	total int
	asked int
	last  time.Time // of the last question
}

func (d *deliveries) handle(_ context.Context, m mq.Message) error {
	var body orderapi.StockRelease
	if err := json.Unmarshal(m.Body, &body); err != nil {
		return mq.Discard(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, no := range body.Orders {
		d.count[no]++
		d.total++
	}
	return nil
}

// watched counts the questions that check answers.
func (d *deliveries) watched(check mq.Checker) mq.Checker {
	return func(m mq.Message) mq.TxState {
		d.mu.Lock()
		d.asked, d.last = d.asked+1, time.Now()
		d.mu.Unlock()
		return check(m)
	}
}

func (d *deliveries) snapshot() (orders, total, asked int, last time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.count), d.total, d.asked, d.last
}

// TestCheckBackStorm leaves many half messages undecided at once, three times what the memories of two replicas hold.
// Each is ended, and all but a few only once; then the questions stop. Goroutines do not pile up from one scan of the
// broker to the next, and in the end they and the memory are what they were before.
func TestCheckBackStorm(t *testing.T) {
	mqtest.SkipIfRace(t)
	s := edition(t)
	broker := stacktest.OwnRocketMQ(t,
		fmt.Sprintf("transactionTimeOut=%d", s.timeout.Milliseconds()), fmt.Sprintf("transactionCheckInterval=%d", s.interval.Milliseconds()))
	dsn := dbtest.NewDSN(t, sql.Orders())
	pending, rejected := insertUndecided(t, dbtest.Open(t, dsn, database.Options{}), s.halves)
	got := &deliveries{count: map[string]int{}}
	subscribeStorm(t, broker.NamesrvAddr, got)
	replicas := []mq.TxProducer{s.replica(t, dsn, broker.NamesrvAddr, got), s.replica(t, dsn, broker.NamesrvAddr, got)}
	goroutines, heap := runtime.NumGoroutine(), heapInUse()

	sendUndecided(t, replicas, append(append([]string{}, pending...), rejected...))
	most := s.wait(t, got, len(pending))

	twice := 0
	for _, no := range pending {
		switch n := got.count[no]; n {
		case 1:
		case 2:
			twice++
		default:
			t.Fatalf("order %s was released %d times", no, n)
		}
	}
	// A starved machine answers a few questions later than the next one comes, which delivers their messages once more.
	if twice > len(pending)/50 {
		t.Errorf("%d of %d half messages were ended twice", twice, len(pending))
	}
	for _, no := range rejected {
		if n := got.count[no]; n != 0 {
			t.Fatalf("order %s was REJECTED, and its half message was delivered %d times", no, n)
		}
	}
	// The client library starts a goroutine for each question. On a busy machine those of one scan can meet.
	if most > goroutines+s.halves {
		t.Errorf("%d goroutines at a time, with %d half messages in a scan", most, s.halves)
	}
	if now := runtime.NumGoroutine(); now > goroutines+50 {
		t.Errorf("%d goroutines in the end, %d before", now, goroutines)
	}
	if now := heapInUse(); now > heap+32<<20 {
		t.Errorf("%d MB in the end, %d MB before", now>>20, heap>>20)
	}
}

// wait samples the process until n orders are released and the broker has been silent for longer than two scans. It
// returns the highest number of goroutines.
func (s storm) wait(t *testing.T, got *deliveries, n int) (most int) {
	t.Helper()
	started := time.Now()
	deadline := time.NewTimer(160 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		most = max(most, runtime.NumGoroutine())
		orders, total, asked, last := got.snapshot()
		done := orders == n && time.Since(last) > 2*s.interval+time.Second
		if done || i%250 == 0 {
			t.Logf("%3.0f s: %d of %d orders released by %d deliveries, %d questions, %d goroutines, at most %d, heap %d MB",
				time.Since(started).Seconds(), orders, n, total, asked, runtime.NumGoroutine(), most, heapInUse()>>20)
		}
		if done {
			return most
		}
		select {
		case <-deadline.C:
			t.Errorf("not done: %d of %d orders released by %d deliveries, %d questions, at most %d goroutines", orders, n, total, asked, most)
			return most
		case <-tick.C:
		}
	}
}

// replica runs a check-back as order-srv does, with a sixth of the half messages as its memory.
func (s storm) replica(t *testing.T, dsn, namesrv string, got *deliveries) mq.TxProducer {
	t.Helper()
	bus := stormBus(t, namesrv)
	var tx mq.TxProducer
	a := ordertest.Open(t, dsn, ordertest.NewInventory(t), nil, func(cfg *app.Config) {
		cfg.BrokerCheckInterval, cfg.CheckMemory = s.interval, s.halves/6
		cfg.TxProducer = func(group string, check mq.Checker) mq.TxProducer {
			tx = bus.TxProducer(group, got.watched(check))
			return tx
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.CheckBack.Run(ctx) })
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	startStormBus(t, bus)
	return tx
}

func subscribeStorm(t *testing.T, namesrv string, got *deliveries) {
	t.Helper()
	bus := stormBus(t, namesrv)
	bus.Subscribe(mq.Subscription{Group: "storm-release", Topic: orderapi.TopicStockRelease, Handler: got.handle})
	startStormBus(t, bus)
}

func stormBus(t *testing.T, namesrv string) *mq.Bus {
	t.Helper()
	bus, err := mq.Open(mq.Config{
		Namesrv: []string{namesrv}, Topics: []mq.Topic{{Name: orderapi.TopicStockRelease}}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return bus
}

func startStormBus(t *testing.T, bus *mq.Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := bus.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = bus.Close(ctx)
	})
}

// insertUndecided writes n orders that are an hour old: nine of ten PENDING, the tenth REJECTED.
func insertUndecided(t *testing.T, db *gorm.DB, n int) (pending, rejected []string) {
	t.Helper()
	for from := 0; from < n; from += 500 {
		var values []string
		var args []any
		for i := from; i < min(n, from+500); i++ {
			no, status := ulid.Make().String(), "PENDING"
			if i%10 == 9 {
				status, rejected = "REJECTED", append(rejected, no)
			} else {
				pending = append(pending, no)
			}
			values = append(values, "(?, ?, 'ann', ?, 'h', ?, 'tx-message', '', UTC_TIMESTAMP(6) - INTERVAL 1 HOUR, UTC_TIMESTAMP(6) - INTERVAL 1 HOUR)")
			args = append(args, no, no, no, status)
		}
		err := db.Exec(`INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_hash, status, flow, strategy, created_at, updated_at)
			VALUES `+strings.Join(values, ", "), args...).Error
		if err != nil {
			t.Fatal(err)
		}
	}
	return pending, rejected
}

// sendUndecided sends a half message for each order and does not end it.
func sendUndecided(t *testing.T, replicas []mq.TxProducer, orderNos []string) {
	t.Helper()
	started := time.Now()
	var g errgroup.Group
	g.SetLimit(64)
	for i, no := range orderNos {
		g.Go(func() error {
			body, err := json.Marshal(orderapi.StockRelease{Orders: []string{no}})
			if err != nil {
				return err
			}
			m := mq.Message{Topic: orderapi.TopicStockRelease, Key: no, Body: body}
			return replicas[i%len(replicas)].SendInTx(t.Context(), m, func(context.Context) mq.TxState { return mq.TxUnknown })
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d half messages sent in %v", len(orderNos), time.Since(started))
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

package strategy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/internal/dev/dbtest"
	"holdfast/inventory-srv/internal/app"
	"holdfast/inventory-srv/internal/replicatest"
	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/internal/strategy"
	"holdfast/pkg/database"
	"holdfast/pkg/lock"
)

// Everything but the lines is written, and the lock is free already.
func playUnlockBeforeCommit(t *testing.T, s scene) damage {
	s.Has(t, "Z", 10)
	return overlap(t, s, replicatest.BeforeLines, replicatest.Line("A", 1), replicatest.Line("Z", 1))
}

// The lease ends while the first one sleeps.
func playSaveAfterExpiry(t *testing.T, s scene) damage {
	return overlap(t, s, replicatest.BeforeWrite, replicatest.Line("A", 1))
}

// playLeakedLock: one unit, and buyers one after the other. All but the first should get "sold out".
func playLeakedLock(t *testing.T, s scene) (d damage) {
	s.Has(t, "A", 1)
	r := s.at(t, s.One)
	if _, err := r.Reserve(replicatest.Soon(t), s.order("BUYER-0", replicatest.Line("A", 1))); err != nil {
		t.Errorf("the first buyer: %v", err)
	}
	for i := range 4 {
		ctx, cancel := context.WithTimeout(replicatest.Soon(t), 300*time.Millisecond)
		_, err := r.Reserve(ctx, s.order(fmt.Sprintf("BUYER-%d", i+1), replicatest.Line("A", 1)))
		cancel()
		if !errors.Is(err, stock.ErrOutOfStock) {
			d.stuck++
		}
	}
	return d
}

// playReleaseByAnyone: A is late with its unlock, B is at work under its own lock, C comes.
func playReleaseByAnyone(t *testing.T, s scene) damage {
	s.Has(t, "A", 10)
	ctx := replicatest.Soon(t)
	three := s.Instance(t, s.DSN)
	late := stallUnlock(t, s.One)
	a := replicatest.GoReserve(ctx, s.at(t, s.One), s.order("A", replicatest.Line("A", 1)))
	late.Await(t, a)
	for _, key := range []string{s.Prefix + "stock:A", "{" + s.Prefix + "}key:stock:A"} { // made by hand; pkg/lock's
		if err := s.Redis.Del(ctx, key).Err(); err != nil { // as if it had expired
			t.Fatal(err)
		}
	}
	_, goOn := stopAt(ctx, t, s.Two, s.at(t, s.Two), s.order("B", replicatest.Line("A", 1)), replicatest.BeforeWrite)
	close(late.Resume)
	errA := <-a
	c := replicatest.GoReserve(ctx, s.at(t, three), s.order("C", replicatest.Line("A", 1)))
	errC, done := s.turn(t, c)
	errB := goOn()
	if !done {
		errC = <-c
	}
	if err := errors.Join(errA, errB, errC); err != nil {
		t.Errorf("%s: %v", s.by, err)
	}
	return s.damageTo(t, "A")
}

// unlockStall stops the first command that an instance sends to Redis after its order has written the stock: the
// unlock.
type unlockStall struct {
	replicatest.Stall
	armed atomic.Bool
}

var _ redis.Hook = (*unlockStall)(nil)

func stallUnlock(t *testing.T, i replicatest.Instance) *unlockStall {
	t.Helper()
	s := &unlockStall{Stall: replicatest.Stall{At: "its unlock", Reached: make(chan struct{}), Resume: make(chan struct{})}}
	i.Client.AddHook(s)
	err := i.DB.Callback().Raw().After("gorm:raw").Register("test:arm", func(tx *gorm.DB) {
		if strings.HasPrefix(tx.Statement.SQL.String(), replicatest.BeforeWrite) {
			s.armed.Store(true)
		}
	})
	if err != nil {
		t.Fatalf("hook into the statements: %v", err)
	}
	return s
}

// DialHook implements redis.Hook.
func (s *unlockStall) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (s *unlockStall) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if s.armed.Load() {
			s.Stop()
		}
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements redis.Hook.
func (s *unlockStall) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// playEndlessRenewal: the first one hangs before it has touched the database. The second has time for two expiries.
func playEndlessRenewal(t *testing.T, s scene) (d damage) {
	s.Has(t, "A", 10)
	_, goOn := stopAt(replicatest.Soon(t), t, s.One, s.at(t, s.One), s.order("HUNG", replicatest.Line("A", 1)), "INSERT INTO reservations")
	ctx, cancel := context.WithTimeout(replicatest.Soon(t), 4*time.Second)
	defer cancel()
	if _, err := s.at(t, s.Two).Reserve(ctx, s.order("WAITING", replicatest.Line("A", 1))); err != nil {
		d.stuck++
	}
	if err := goOn(); err != nil {
		t.Errorf("the hung one, once it goes on: %v", err)
	}
	return d
}

// meeting is a locker whose callers, when they take single locks, each hold one before either asks for a second.
type meeting struct {
	strategy.Locker
	first *sync.WaitGroup
	mu    sync.Mutex
	came  int
}

// Acquire implements strategy.Locker.
func (m *meeting) Acquire(ctx context.Context, keys ...string) (*lock.Lease, error) {
	lease, err := m.Locker.Acquire(ctx, keys...)
	if err != nil || len(keys) > 1 {
		return lease, err
	}
	m.mu.Lock()
	m.came++
	meet := m.came == 1
	m.mu.Unlock()
	if meet {
		m.first.Done()
		m.first.Wait()
	}
	return lease, nil
}

// playUnsortedLocks: two carts with the same two things, the other way round.
func playUnsortedLocks(t *testing.T, s scene) damage {
	s.Has(t, "A", 10)
	s.Has(t, "B", 10)
	var first sync.WaitGroup
	first.Add(2)
	ctx, cancel := context.WithTimeout(replicatest.Soon(t), 2*time.Second)
	defer cancel()
	one, two := s.One, s.Two
	one.Locker, two.Locker = &meeting{Locker: one.Locker, first: &first}, &meeting{Locker: two.Locker, first: &first}
	at := [2]replicatest.Reserver{s.at(t, one), s.at(t, two)}
	carts := [2][]stock.Line{{replicatest.Line("A", 1), replicatest.Line("B", 1)}, {replicatest.Line("B", 1), replicatest.Line("A", 1)}}
	var stuck atomic.Int64
	replicatest.AtOnce(2, func(i int) {
		if _, err := at[i].Reserve(ctx, s.order(fmt.Sprintf("CART-%d", i), carts[i]...)); err != nil {
			stuck.Add(1)
		}
	})
	return damage{stuck: stuck.Load()}
}

// playOtherConnection: first two buyers, then more buyers than a small pool has connections.
func playOtherConnection(t *testing.T, s scene) damage {
	d := overlap(t, s, replicatest.BeforeWrite, replicatest.Line("A", 1))
	s.Has(t, "POOL", 100)
	small := s.Instance(t, s.DSN)
	small.DB = dbtest.Open(t, s.DSN, database.Options{MaxOpen: 2})
	small.Store = small.Build(t, app.Config{}).Store
	r := s.at(t, small)
	ctx, cancel := context.WithTimeout(replicatest.Soon(t), 3*time.Second)
	defer cancel()
	var stuck atomic.Int64
	replicatest.AtOnce(8, func(i int) {
		if _, err := r.Reserve(ctx, s.order(fmt.Sprintf("POOL-%d", i), replicatest.Line("POOL", 1))); err != nil {
			stuck.Add(1)
		}
	})
	d.stuck = stuck.Load()
	return d
}

// playAboveZero asks for ten where one is left, once with the CHECK on the column and once without, as most schemas
// are.
func playAboveZero(t *testing.T, s scene) damage {
	s.Has(t, "A", 1)
	r := s.at(t, s.One)
	var stuck int64
	if _, err := r.Reserve(replicatest.Soon(t), s.order("CHECKED", replicatest.Line("A", 10))); !errors.Is(err, stock.ErrOutOfStock) {
		stuck++ // an error, and no answer
	}
	if err := s.One.DB.Exec("ALTER TABLE stock DROP CONSTRAINT stock_available").Error; err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reserve(replicatest.Soon(t), s.order("UNCHECKED", replicatest.Line("A", 10))); err != nil && !errors.Is(err, stock.ErrOutOfStock) {
		t.Errorf("%s: %v", s.by, err)
	}
	d := s.damageTo(t, "A")
	d.stuck = stuck
	return d
}

// playUncheckedRows: two units, five buyers, one after the other.
func playUncheckedRows(t *testing.T, s scene) damage {
	s.Has(t, "A", 2)
	r := s.at(t, s.One)
	for i := range 5 {
		if _, err := r.Reserve(replicatest.Soon(t), s.order(fmt.Sprintf("BUYER-%d", i), replicatest.Line("A", 1))); err != nil && !errors.Is(err, stock.ErrOutOfStock) {
			t.Errorf("%s: buyer %d: %v", s.by, i, err)
		}
	}
	return s.damageTo(t, "A")
}

// lay has all units of a new SKU laid out where its layout has them: an order of the right strategy does it, and goes.
func lay(t *testing.T, w *replicatest.World, sku string) {
	t.Helper()
	if w.Layout == stock.LayoutRow {
		return
	}
	by := sellers()[slices.IndexFunc(sellers(), func(s seller) bool { return s.layout == w.Layout })].by
	r := named(t, by, w.Two)
	if _, err := r.Reserve(replicatest.Soon(t), replicatest.Order("LAY-"+sku, by, replicatest.Line(sku, 1))); err != nil {
		t.Fatalf("lay out %s: %v", sku, err)
	}
	if err := r.Release(replicatest.Soon(t), "LAY-"+sku); err != nil {
		t.Fatalf("lay out %s: %v", sku, err)
	}
}

// playOneBucket: as many buyers as there are units, one after the other. Every refusal is false.
func playOneBucket(t *testing.T, s scene) (d damage) {
	const units = 10
	s.Has(t, "A", units)
	lay(t, s.World, "A")
	r := s.at(t, s.One)
	for i := range units {
		switch _, err := r.Reserve(replicatest.Soon(t), s.order(fmt.Sprintf("BUYER-%d", i), replicatest.Line("A", 1))); {
		case errors.Is(err, stock.ErrOutOfStock):
			d.refused++
		case err != nil:
			t.Errorf("%s: buyer %d: %v", s.by, i, err)
		}
	}
	return d
}

// playSkipAndRefuse: the first has the last unit and goes without it.
func playSkipAndRefuse(t *testing.T, s scene) (d damage) {
	s.Has(t, "A", 1)
	s.Has(t, "Z", 1)
	lay(t, s.World, "A")
	lay(t, s.World, "Z")
	holding, giveUp := context.WithCancel(replicatest.Soon(t))
	defer giveUp()
	_, goOn := stopAt(holding, t, s.One, s.at(t, s.One), s.order("FIRST", replicatest.Line("A", 1), replicatest.Line("Z", 1)), replicatest.BeforeLines)
	second := replicatest.GoReserve(replicatest.Soon(t), s.at(t, s.Two), s.order("SECOND", replicatest.Line("A", 1)))
	err, done := s.turn(t, second)
	giveUp()
	if goOn() == nil {
		t.Error("the first was not cut: this run has shown nothing")
	}
	if !done {
		err = <-second
	}
	switch {
	case errors.Is(err, stock.ErrOutOfStock):
		d.refused++
	case err != nil:
		t.Errorf("%s: the second: %v", s.by, err)
	}
	return d
}

// playSnapshotLoop: another one sells between the first read and its write, once. The first has a second to get over
// it.
func playSnapshotLoop(t *testing.T, s scene) (d damage) {
	s.Has(t, "A", 10)
	ctx, cancel := context.WithCancel(replicatest.Soon(t))
	defer cancel()
	stopped, goOn := stopAt(ctx, t, s.One, s.at(t, s.One), s.order("FIRST", replicatest.Line("A", 1)), replicatest.BeforeWrite)
	if _, err := s.at(t, s.Two).Reserve(ctx, s.order("SECOND", replicatest.Line("A", 1))); err != nil {
		t.Errorf("the second: %v", err)
	}
	timer := time.AfterFunc(time.Second, cancel)
	defer timer.Stop()
	if err := goOn(); err != nil {
		d.stuck++
	}
	t.Logf("%s: tried to write %d times", s.by, stopped.Seen.Load())
	return d
}

// playLuaTwice: two units, and the first buyer's answer is lost on its way. The second one wants the other unit.
func playLuaTwice(t *testing.T, s scene) (d damage) {
	s.Has(t, "A", 2)
	r := s.at(t, s.One)
	for _, no := range []string{"FIRST", "FIRST", "SECOND"} {
		switch _, err := r.Reserve(replicatest.Soon(t), s.order(no, replicatest.Line("A", 1))); {
		case errors.Is(err, stock.ErrOutOfStock):
			d.refused++
		case err != nil:
			t.Errorf("%s: %s: %v", s.by, no, err)
		}
	}
	return d
}

// playReleaseInRedis: one unit is reserved, given back and reserved again.
func playReleaseInRedis(t *testing.T, s scene) damage {
	s.Has(t, "A", 1)
	r := s.at(t, s.One)
	releaser, ok := r.(interface {
		Release(ctx context.Context, orderNo string) error
	})
	if !ok {
		t.Fatalf("%s cannot release", s.by)
	}
	for _, no := range []string{"FIRST", "SECOND"} {
		if _, err := r.Reserve(replicatest.Soon(t), s.order(no, replicatest.Line("A", 1))); err != nil {
			t.Errorf("%s: %s: %v", s.by, no, err)
		}
		if no == "SECOND" {
			continue
		}
		if err := releaser.Release(replicatest.Soon(t), no); err != nil {
			t.Errorf("%s: release: %v", s.by, err)
		}
	}
	return s.damageTo(t, "A")
}

// playWarmUp: ten units, four are sold while a warm-up has read and not yet written, and then all buyers come.
func playWarmUp(t *testing.T, s scene) damage {
	const units, early, all = 10, 4, 20
	s.Has(t, "A", units)
	r := s.at(t, s.One)
	write := func() error { return nil }
	if w, ok := r.(interface {
		WarmUp(ctx context.Context, sku string) (func() error, error)
	}); ok {
		var err error
		if write, err = w.WarmUp(replicatest.Soon(t), "A"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range all {
		if i == early {
			if err := write(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Reserve(replicatest.Soon(t), s.order(fmt.Sprintf("BUYER-%d", i), replicatest.Line("A", 1))); err != nil && !errors.Is(err, stock.ErrOutOfStock) {
			t.Errorf("%s: buyer %d: %v", s.by, i, err)
		}
	}
	return s.damageTo(t, "A")
}

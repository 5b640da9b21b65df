package explore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"

	"holdfast/exercises/internal/explore"
	"holdfast/internal/lab/step"
	"holdfast/pkg/database"
)

// A lost update needs one switch between two actors, after the first has read and before it writes.
func TestExplore_lostUpdate(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	f := wantFinding(t, explored(t, s.buyers(readThenWrite, readThenWrite), explore.Limits{}), "oversold")
	if got := order(f.Steps); got != "A B A" {
		t.Errorf("the actors acted %s, want A B A: one switch, and B to its end", got)
	}
	read, ok := f.Steps[1], f.Steps[1].Kind == explore.Read && len(f.Steps[1].Rows) == 1
	if !ok || read.Rows[0]["available"] != "1" || read.Result != "available = 1" ||
		read.Does != "SELECT available FROM stock WHERE sku = 'mug'" {
		t.Errorf("step 2 is %+v, want A's read of 1", read)
	}
	write := f.Steps[len(f.Steps)-3]
	if write.Does != "UPDATE stock SET available = 0 WHERE sku = 'mug'" || write.Kind != explore.Write || write.Changed != 0 {
		t.Errorf("the last write is %+v, want A's of 0, which changes no row", write)
	}
	if last := f.Steps[len(f.Steps)-1]; last.Kind != explore.Commit || last.Does != "COMMIT" {
		t.Errorf("the last step is %+v, want COMMIT", last)
	}
}

// The same schedule is found each time.
func TestExplore_sameFindingEachTime(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	text := func() string {
		var b strings.Builder
		for _, s := range explored(t, s.buyers(readThenWrite, readThenWrite), explore.Limits{}).Steps {
			b.WriteString(s.Actor + " " + s.Does + " " + s.Result + "\n")
		}
		return b.String()
	}
	first := text()
	for range 3 {
		if again := text(); again != first {
			t.Errorf("found\n%s\nand then\n%s", first, again)
		}
	}
}

// Under the row lock nothing breaks, and the second actor is seen to wait.
func TestExplore_rowLock(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	scenario := s.buyers(lockThenWrite, lockThenWrite)
	runs, waited := 0, 0
	scenario.Judge = func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
		runs++
		for _, st := range r.Steps {
			if st.Waited {
				waited++
				if st.Kind != explore.LockingRead || st.Result != "available = 0" {
					t.Errorf("%s waited for %q and got %q, want a locking read of 0", st.Actor, st.Does, st.Result)
				}
			}
		}
		if r.Errs["A"] != nil && r.Errs["B"] != nil || r.Errs["A"] == nil && r.Errs["B"] == nil {
			t.Errorf("A got %v and B %v, want one order", r.Errs["A"], r.Errs["B"])
		}
		return s.oversold(ctx, r)
	}
	wantNone(t, explored(t, scenario, explore.Limits{}))
	if runs < 4 || waited < 2 {
		t.Errorf("%d runs, %d waits; want schedules with a switch under each actor's lock", runs, waited)
	}
	t.Logf("%d runs, %d waits", runs, waited)
}

// The server chooses a victim of a dead lock. The explorer shows it, and the victim may retry.
func TestExplore_deadlock(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	scenario := s.buyers(lockTwo("mug", "pen"), lockTwo("pen", "mug"))
	scenario.Judge = func(_ context.Context, r *explore.Run) (*explore.Finding, error) {
		for name, err := range r.Errs {
			if database.IsRetryable(err) {
				return &explore.Finding{ID: "deadlock", What: step.T("victim", name)}, nil
			}
		}
		return nil, nil
	}
	f := wantFinding(t, explored(t, scenario, explore.Limits{}), "deadlock")
	shown := false
	for _, st := range f.Steps {
		e, ok := errors.AsType[*mysql.MySQLError](st.Err)
		shown = shown || ok && e.Number == 1213 && st.Failed && strings.HasPrefix(st.Result, "error 1213: Deadlock")
	}
	if !shown {
		t.Error("no step shows the dead lock's victim")
	}

	retried := func(first, second string) buy {
		return func(ctx context.Context, db *gorm.DB) error {
			for {
				if err := lockTwo(first, second)(ctx, db); !database.IsRetryable(err) {
					return err
				}
			}
		}
	}
	retrying := s.buyers(retried("mug", "pen"), retried("pen", "mug"))
	retrying.Judge = func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
		var n int
		err := s.db.WithContext(ctx).Raw("SELECT SUM(available) FROM stock").Row().Scan(&n)
		if n != 6 || r.Errs["A"] != nil || r.Errs["B"] != nil {
			return &explore.Finding{ID: "wrong"}, err
		}
		return nil, err
	}
	wantNone(t, explored(t, retrying, explore.Limits{}))
}

// InTx takes its statements through the handle, too, and repeats the victim's transaction.
func TestExplore_inTx(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	seen := false
	locks := func(first, second string) buy {
		return func(ctx context.Context, db *gorm.DB) error {
			return database.InTx(ctx, db, func(tx *gorm.DB) error {
				for _, sku := range []string{first, second} {
					if err := tx.Exec("UPDATE stock SET available = available + 1 WHERE sku = ?", sku).Error; err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	scenario := s.buyers(locks("mug", "pen"), locks("pen", "mug"))
	scenario.Judge = func(_ context.Context, r *explore.Run) (*explore.Finding, error) {
		for _, st := range r.Steps {
			seen = seen || st.Failed
		}
		if r.Errs["A"] != nil || r.Errs["B"] != nil {
			return &explore.Finding{ID: "wrong"}, nil
		}
		return nil, nil
	}
	wantNone(t, explored(t, scenario, explore.Limits{Switches: 2}))
	if !seen {
		t.Error("no run had a dead lock")
	}
}

// An actor that is killed leaves what it had committed, and nothing else.
func TestExplore_death(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	one := func(sell buy) explore.Scenario {
		return explore.Scenario{
			Deaths: 1,
			Open: func(ctx context.Context) ([]explore.Actor, error) {
				return []explore.Actor{{Name: "A", Run: func(ctx context.Context, h *explore.Handle) error { return sell(ctx, h.DB(s.db)) }}}, s.reset(ctx)
			},
			Judge: func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
				var orders, left int
				err := errors.Join(
					s.db.WithContext(ctx).Raw("SELECT COUNT(*) FROM orders").Row().Scan(&orders),
					s.db.WithContext(ctx).Raw("SELECT available FROM stock WHERE sku = 'mug'").Row().Scan(&left))
				if orders+left != 1 {
					return &explore.Finding{ID: "half"}, err
				}
				if last := r.Steps[len(r.Steps)-1]; last.Died != errors.Is(r.Errs["A"], explore.ErrDied) {
					t.Errorf("the last step is %+v and A returned %v", last, r.Errs["A"])
				}
				return nil, err
			},
		}
	}
	wantNone(t, explored(t, one(lockThenWrite), explore.Limits{}))
	f := wantFinding(t, explored(t, one(func(ctx context.Context, db *gorm.DB) error { return sell(db.WithContext(ctx), 1) }), explore.Limits{}), "half")
	if last := f.Steps[len(f.Steps)-1]; !last.Died || last.Does != "INSERT INTO orders (sku) VALUES ('mug')" || len(f.Steps) != 2 {
		t.Errorf("the last step is %+v, want the INSERT before which A was killed", last)
	}
}

// The row locks of an actor that was killed are free when the next actor acts.
func TestExplore_deathFreesLocks(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	scenario := s.buyers(lockThenWrite, lockThenWrite)
	scenario.Deaths = 1
	scenario.Judge = func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
		died := -1
		for i, st := range r.Steps {
			switch {
			case st.Died:
				died = i
			case died >= 0 && st.Waited && st.Began > died:
				return &explore.Finding{ID: "waited-for-the-dead"}, nil
			}
		}
		return s.oversold(ctx, r)
	}
	wantNone(t, explored(t, scenario, explore.Limits{Switches: 2}))
}

// Learner code that ignores every error ends all the same when its actor is killed.
func TestExplore_deathOfLoop(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	scenario := s.buyers(func(_ context.Context, db *gorm.DB) error {
		for db.Exec("UPDATE stock SET available = available - 1 WHERE sku = 'mug'").Error != nil {
		}
		return nil
	}, readThenWrite)
	scenario.Deaths = 1
	wantNone(t, explored(t, scenario, explore.Limits{Switches: 1}))
}

func TestExplore_endless(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	f := wantFinding(t, explored(t, s.buyers(func(_ context.Context, db *gorm.DB) error {
		for {
			n, _ := available(db, "SELECT available FROM stock WHERE sku = 'mug'")
			if n > 1 {
				return nil
			}
		}
	}, readThenWrite), explore.Limits{}), explore.StandsStill)
	if f.What.Key != "explore.endless" {
		t.Errorf("What is %v, want the loop", f.What)
	}
}

// An actor whose polls find nothing lets the others act, which may give it what it polls for. It costs no switch.
func TestExplore_poll(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	wantNone(t, explored(t, s.buyers(func(_ context.Context, db *gorm.DB) error {
		for {
			if n, err := available(db, "SELECT available FROM stock WHERE sku = 'mug'"); err != nil || n == 0 {
				return err
			}
		}
	}, readThenWrite), explore.Limits{Switches: 1}))
}

func TestExplore_panic(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	f := wantFinding(t, explored(t, s.buyers(readThenWrite, func(ctx context.Context, db *gorm.DB) error {
		return db.WithContext(ctx).Transaction(func(*gorm.DB) error {
			var none *shop
			return none.reset(ctx)
		})
	}), explore.Limits{}), explore.Panicked)
	if f.What.Args[0] != "B" || !strings.Contains(f.What.Args[1].(string), "nil pointer") ||
		!strings.HasPrefix(f.What.Args[2].(string), "helpers_test.go:") {
		t.Errorf("What is %v, want B's nil pointer and its line", f.What)
	}
	if last := f.Steps[len(f.Steps)-1]; last.Kind != explore.Rollback {
		t.Errorf("the last step is %+v, want the rollback of B's transaction", last)
	}
}

func TestExplore_openTransaction(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	wantFinding(t, explored(t, s.buyers(func(ctx context.Context, db *gorm.DB) error {
		tx := db.WithContext(ctx).Begin()
		return sell(tx, 1)
	}, readThenWrite), explore.Limits{}), explore.OpenTransaction)

	wantNone(t, explored(t, s.buyers(func(ctx context.Context, db *gorm.DB) error {
		ctx, cancel := context.WithCancel(ctx) // whose end rolls back
		defer cancel()
		tx := db.WithContext(ctx).Begin()
		return tx.Exec("UPDATE stock SET available = 0 WHERE sku = 'pen'").Error
	}, readThenWrite), explore.Limits{Switches: 1}))
}

// A mutex makes the actors wait for each other only because both are in this process.
func TestExplore_mutex(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	var mu sync.Mutex
	locked := func(ctx context.Context, db *gorm.DB) error {
		mu.Lock()
		defer mu.Unlock()
		return readThenWrite(ctx, db)
	}
	wantFinding(t, explored(t, s.buyers(locked, locked), explore.Limits{Switches: 1}), explore.ProcessLock)
	// A mutex that no actor keeps during a step is nobody's concern.
	counted := func(ctx context.Context, db *gorm.DB) error {
		mu.Lock()
		mu.Unlock() //nolint:staticcheck // an empty critical section
		return lockThenWrite(ctx, db)
	}
	wantNone(t, explored(t, s.buyers(counted, counted), explore.Limits{Switches: 1}))
}

// Actors that wait for each other in memory are a finding, and their goroutines end with their contexts.
func TestExplore_standsStill(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	began := time.Now()
	f := wantFinding(t, explored(t, s.buyers(func(ctx context.Context, db *gorm.DB) error {
		return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			if err := sell(tx, 1); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		})
	}, lockThenWrite), explore.Limits{}), explore.StandsStill)
	if last := f.Steps[len(f.Steps)-1]; !last.Unfinished || last.Actor != "B" {
		t.Errorf("the last step is %+v, want B's, which still waits", last)
	}
	t.Logf("took %v", time.Since(began))
}

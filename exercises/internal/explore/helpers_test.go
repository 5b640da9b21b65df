package explore_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"gorm.io/gorm"

	"holdfast/exercises/internal/explore"
	"holdfast/internal/dev/dbtest"
	"holdfast/internal/dev/testkit"
	"holdfast/internal/lab/step"
	"holdfast/pkg/database"
)

// TestMain asserts that every goroutine has ended after all tests.
func TestMain(m *testing.M) {
	testkit.RunParallel(4)
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("holdfast/internal/dev/stack.watch.func1"))
}

var errSoldOut = errors.New("sold out")

// shop is a stock row for each SKU and the orders that were taken.
type shop struct{ db *gorm.DB }

func newShop(t *testing.T) *shop {
	t.Helper()
	db := dbtest.Open(t, dbtest.NewDSN(t, nil), database.Options{LockWait: 30e9, IdleTimeout: 60e9})
	for _, create := range []string{
		"CREATE TABLE stock (sku VARCHAR(20) PRIMARY KEY, available INT NOT NULL)",
		"CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, sku VARCHAR(20) NOT NULL)",
	} {
		if err := db.Exec(create).Error; err != nil {
			t.Fatal(err)
		}
	}
	return &shop{db}
}

// reset stocks one unit of each SKU.
func (s *shop) reset(ctx context.Context) error {
	db := s.db.WithContext(ctx)
	return errors.Join(db.Exec("DELETE FROM orders").Error,
		db.Exec("REPLACE INTO stock (sku, available) VALUES ('mug', 1), ('pen', 1)").Error)
}

type buy func(ctx context.Context, db *gorm.DB) error

// buyers returns a scenario in which A and B buy.
func (s *shop) buyers(a, b buy) explore.Scenario {
	actor := func(name string, f buy) explore.Actor {
		return explore.Actor{Name: name, Run: func(ctx context.Context, h *explore.Handle) error { return f(ctx, h.DB(s.db)) }}
	}
	return explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			return []explore.Actor{actor("A", a), actor("B", b)}, s.reset(ctx)
		},
		Judge: s.oversold,
	}
}

// oversold finds more orders than units.
func (s *shop) oversold(ctx context.Context, _ *explore.Run) (*explore.Finding, error) {
	var orders int64
	if err := s.db.WithContext(ctx).Raw("SELECT COUNT(*) FROM orders WHERE sku = 'mug'").Scan(&orders).Error; err != nil {
		return nil, err
	}
	if orders > 1 {
		return &explore.Finding{ID: "oversold", What: step.T("oversold", orders)}, nil
	}
	return nil, nil
}

// explored returns the finding, after it was logged.
func explored(t *testing.T, s explore.Scenario, l explore.Limits) *explore.Finding {
	t.Helper()
	f, err := explore.Explore(t.Context(), s, l)
	if err != nil {
		t.Fatal(err)
	}
	if f != nil {
		t.Logf("%s: %v; %v", f.ID, f.What, f.Why)
		for i, s := range f.Steps {
			t.Logf("%2d %s: %s -> %s (waited %v since %d, died %v)", i+1, s.Actor, s.Does, s.Result, s.Waited, s.Began, s.Died)
		}
	}
	return f
}

func wantFinding(t *testing.T, f *explore.Finding, id string) *explore.Finding {
	t.Helper()
	if f == nil || f.ID != id {
		t.Fatalf("finding %v, want %s", f, id)
	}
	return f
}

func wantNone(t *testing.T, f *explore.Finding) {
	t.Helper()
	if f != nil {
		t.Fatalf("finding %s, want none", f.ID)
	}
}

// order returns who acted, without those that went on: "A B A".
func order(steps []explore.Step) string {
	var names []string
	for _, s := range steps {
		if len(names) == 0 || names[len(names)-1] != s.Actor {
			names = append(names, s.Actor)
		}
	}
	return strings.Join(names, " ")
}

func available(tx *gorm.DB, query string) (n int, err error) {
	err = tx.Raw(query).Row().Scan(&n)
	return n, err
}

// readThenWrite loses updates: what it read may be out of date when it writes.
func readThenWrite(ctx context.Context, db *gorm.DB) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		n, err := available(tx, "SELECT available FROM stock WHERE sku = 'mug'")
		if err != nil {
			return err
		}
		return sell(tx, n)
	})
}

// lockThenWrite reads under the row lock.
func lockThenWrite(ctx context.Context, db *gorm.DB) error {
	return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		n, err := available(tx, "SELECT available FROM stock WHERE sku = 'mug' FOR UPDATE")
		if err != nil {
			return err
		}
		return sell(tx, n)
	})
}

func sell(tx *gorm.DB, n int) error {
	if n < 1 {
		return errSoldOut
	}
	if err := tx.Exec("UPDATE stock SET available = ? WHERE sku = 'mug'", n-1).Error; err != nil {
		return err
	}
	return tx.Exec("INSERT INTO orders (sku) VALUES ('mug')").Error
}

// lockTwo locks two rows, one after the other, and sells nothing.
func lockTwo(first, second string) buy {
	return func(ctx context.Context, db *gorm.DB) error {
		return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			for _, sku := range []string{first, second} {
				if err := tx.Exec("UPDATE stock SET available = available + 1 WHERE sku = ?", sku).Error; err != nil {
					return err
				}
			}
			return nil
		})
	}
}

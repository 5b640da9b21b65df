package e06_test

import (
	"context"
	"errors"
	"testing"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"

	start "holdfast/exercises/06-idempotent-consumer"
	ackearly "holdfast/exercises/06-idempotent-consumer/attempts/ack-early"
	checktheninsert "holdfast/exercises/06-idempotent-consumer/attempts/check-then-insert"
	markapart "holdfast/exercises/06-idempotent-consumer/attempts/mark-apart"
	"holdfast/exercises/internal/e06"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/06-idempotent-consumer"
)

// TestExercise has the start, the three attempts and the solution, each with its own finding.
func TestExercise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, schema string
		handle       e06.Handler
		want         string
	}{
		{"start", start.Schema, start.Handle, "no-mark"},
		{"check-then-insert", checktheninsert.Schema, checktheninsert.Handle, "check-then-insert"},
		{"mark-apart", markapart.Schema, markapart.Handle, "mark-apart"},
		{"ack-early", ackearly.Schema, ackearly.Handle, "ack-early"},
		{"solution", solution.Schema, solution.Handle, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e06.Exercise(c.schema, c.handle), e06.Texts(), c.want)
		})
	}
}

// handled has the marks of the consumers below.
const handled = "CREATE TABLE handled (name VARCHAR(32) NOT NULL PRIMARY KEY)"

type ack = func(ctx context.Context) error

func take(db *gorm.DB, m e06.Message) error {
	return db.Exec("UPDATE stock SET available = available - ? WHERE sku = ?", m.Qty, m.SKU).Error
}

// mark writes a mark and takes the units if it is new.
func mark(tx *gorm.DB, name string, m e06.Message) error {
	res := tx.Exec("INSERT IGNORE INTO handled (name) VALUES (?)", name)
	if res.Error != nil || res.RowsAffected == 0 {
		return res.Error
	}
	return take(tx, m)
}

// TestOtherMistakes has consumers that are wrong in other ways than the attempts.
func TestOtherMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, schema string
		handle       e06.Handler
	}{
		{"schema", "CREATE TABLE handled", func(context.Context, *gorm.DB, e06.Message, ack) error { return nil }},
		{"nothing-taken", "", func(context.Context, *gorm.DB, e06.Message, ack) error { return nil }},
		{"acked-untaken", "", func(ctx context.Context, _ *gorm.DB, _ e06.Message, ack ack) error { return ack(ctx) }},
		{"marks-the-message", handled, func(ctx context.Context, db *gorm.DB, m e06.Message, ack ack) error {
			if err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return mark(tx, m.ID, m) }); err != nil {
				return err
			}
			return ack(ctx)
		}},
		{"never-acked", handled, func(ctx context.Context, db *gorm.DB, m e06.Message, ack ack) error {
			err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				if err := tx.Exec("INSERT INTO handled (name) VALUES (?)", m.OrderNo).Error; err != nil {
					return err // also for a repeat, which is never acknowledged
				}
				return take(tx, m)
			})
			if err != nil {
				return err
			}
			return ack(ctx)
		}},
		{"mark-apart", handled, func(ctx context.Context, db *gorm.DB, m e06.Message, ack ack) error {
			var marks int64 // the effect first, and then the mark
			if err := db.WithContext(ctx).Raw("SELECT COUNT(*) FROM handled WHERE name = ?", m.OrderNo).Scan(&marks).Error; err != nil {
				return err
			}
			if marks == 0 {
				if err := take(db.WithContext(ctx), m); err != nil {
					return err
				}
				if err := db.WithContext(ctx).Exec("INSERT IGNORE INTO handled (name) VALUES (?)", m.OrderNo).Error; err != nil {
					return err
				}
			}
			return ack(ctx)
		}},
	} {
		t.Run(c.want, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e06.Exercise(c.schema, c.handle), e06.Texts(), c.want)
		})
	}
}

// TestOtherSolutions has consumers that are right in other ways than the solution.
func TestOtherSolutions(t *testing.T) {
	t.Parallel()
	lockFirst := func(ctx context.Context, db *gorm.DB, m e06.Message, ack ack) error {
		err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			var available, marks int
			if err := tx.Raw("SELECT available FROM stock WHERE sku = ? FOR UPDATE", m.SKU).Scan(&available).Error; err != nil {
				return err
			}
			err := tx.Raw("SELECT COUNT(*) FROM handled WHERE name = ?", m.OrderNo).Scan(&marks).Error
			if err != nil || marks > 0 {
				return err
			}
			return mark(tx, m.OrderNo, m)
		})
		if err != nil {
			return err
		}
		return ack(ctx)
	}
	duplicate := func(ctx context.Context, db *gorm.DB, m e06.Message, ack ack) error {
		err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			if err := take(tx, m); err != nil {
				return err
			}
			return tx.Exec("INSERT INTO handled (name) VALUES (?)", m.OrderNo).Error
		})
		var refused *mysql.MySQLError
		if err != nil && (!errors.As(err, &refused) || refused.Number != 1062) {
			return err
		}
		return ack(ctx) // also for a duplicate, whose transaction was rolled back
	}
	for name, handle := range map[string]e06.Handler{"the stock row's lock": lockFirst, "the duplicate key's error": duplicate} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e06.Exercise(handled, handle), e06.Texts(), "")
		})
	}
}

package e08_test

import (
	"context"
	"testing"
	"time"

	"gorm.io/gorm"

	start "holdfast/exercises/08-check-back"
	frommemory "holdfast/exercises/08-check-back/attempts/from-memory"
	norow "holdfast/exercises/08-check-back/attempts/no-row-is-rollback"
	unknownforever "holdfast/exercises/08-check-back/attempts/unknown-forever"
	"holdfast/exercises/internal/e08"
	"holdfast/exercises/internal/trial"
	solution "holdfast/exercises/solutions/08-check-back"
)

// TestExercise has the start, the three attempts and the solution, each with its own finding.
func TestExercise(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		replica func(db *gorm.DB) e08.Sender
		want    string
	}{
		{"start", func(db *gorm.DB) e08.Sender { return start.New(db) }, "never-decides"},
		{"from-memory", func(db *gorm.DB) e08.Sender { return frommemory.New(db) }, "from-memory"},
		{"unknown-forever", func(db *gorm.DB) e08.Sender { return unknownforever.New(db) }, "unknown-forever"},
		{"no-row-is-rollback", func(db *gorm.DB) e08.Sender { return norow.New(db) }, "open-is-not-absent"},
		{"solution", func(db *gorm.DB) e08.Sender { return solution.New(db) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			trial.Prove(t, e08.Exercise(c.replica), e08.Texts(), c.want)
		})
	}
}

// sender answers by a function of its own.
type sender struct {
	*solution.Sender
	answer func(right string, err error, age time.Duration) (string, error)
}

// CheckBack implements e08.Sender.
func (s sender) CheckBack(ctx context.Context, orderNo string, age time.Duration) (string, error) {
	right, err := s.Sender.CheckBack(ctx, orderNo, age)
	return s.answer(right, err, age)
}

// absent does not write the order.
type absent struct{ *solution.Sender }

// Place implements e08.Sender.
func (absent) Place(context.Context, string) error { return nil }

// TestOtherMistakes has senders that are wrong in other ways than the attempts.
func TestOtherMistakes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, want string
		answer     func(right string, err error, age time.Duration) (string, error)
	}{
		{"the opposite", "dropped", func(string, error, time.Duration) (string, error) { return solution.Rollback, nil }},
		{"always commits", "phantom", func(string, error, time.Duration) (string, error) { return solution.Commit, nil }},
		{"an error is no row", "failure-is-no-answer", func(right string, err error, _ time.Duration) (string, error) {
			if err != nil {
				return solution.Rollback, nil
			}
			return right, nil
		}},
		{"too soon", "open-is-not-absent", func(right string, err error, age time.Duration) (string, error) {
			if right == solution.Unknown && err == nil && age > 5*time.Second {
				return solution.Rollback, nil
			}
			return right, err
		}},
		{"another word", "no-such-answer", func(string, error, time.Duration) (string, error) { return "YES", nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			replica := func(db *gorm.DB) e08.Sender { return sender{solution.New(db), c.answer} }
			trial.Prove(t, e08.Exercise(replica), e08.Texts(), c.want)
		})
	}
	t.Run("places nothing", func(t *testing.T) {
		t.Parallel()
		trial.Prove(t, e08.Exercise(func(db *gorm.DB) e08.Sender { return absent{solution.New(db)} }), e08.Texts(), "place")
	})
}

// tombstone closes the order before it answers ROLLBACK, so that a late INSERT is refused, whatever the time.
type tombstone struct {
	*solution.Sender
	db *gorm.DB
}

// CheckBack implements e08.Sender.
func (s tombstone) CheckBack(ctx context.Context, orderNo string, _ time.Duration) (string, error) {
	err := s.db.WithContext(ctx).Exec("INSERT IGNORE INTO orders (order_no, status) VALUES (?, 'VOID')", orderNo).Error
	if err != nil {
		return "", err
	}
	var status string
	if err := s.db.WithContext(ctx).Raw("SELECT status FROM orders WHERE order_no = ?", orderNo).Scan(&status).Error; err != nil {
		return "", err
	}
	if status == "PLACED" {
		return solution.Commit, nil
	}
	return solution.Rollback, nil
}

// TestOtherSolution has a sender that is right in another way than the solution.
func TestOtherSolution(t *testing.T) {
	t.Parallel()
	replica := func(db *gorm.DB) e08.Sender { return tombstone{solution.New(db), db} }
	trial.Prove(t, e08.Exercise(replica), e08.Texts(), "")
}

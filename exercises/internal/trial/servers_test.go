package trial_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/trial"
	"holdfast/internal/dev/stack/stacktest"
)

// A check has a database and keys of its own. Nothing of them is left when it ends.
func TestServers(t *testing.T) {
	t.Parallel()
	admin, err := sql.Open("mysql", stacktest.MySQL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	client := redis.NewClient(&redis.Options{Addr: stacktest.Redis(t)})
	t.Cleanup(func() { _ = client.Close() })
	var name, key string
	find := func(ctx context.Context, s *trial.Servers) (*explore.Finding, error) {
		db, err := s.Database(ctx, "CREATE TABLE a (id INT PRIMARY KEY); CREATE TABLE b (id INT PRIMARY KEY)")
		if err != nil {
			return nil, err
		}
		name = db.Migrator().CurrentDatabase()
		if !strings.HasPrefix(name, "lesson_ex_") || !db.Migrator().HasTable("a") || !db.Migrator().HasTable("b") {
			t.Errorf("the database %s does not have both tables", name)
		}
		c, prefix, err := s.Redis(ctx)
		if err != nil {
			return nil, err
		}
		key = prefix + "lock"
		f := finding()
		f.Steps[0].Does = "GET " + key
		return f, c.Set(ctx, key, "A", 0).Err()
	}
	trial.Prove(t, trial.Exercise{Checks: []trial.Check{{Name: "t.check", Find: find}}}, texts(), "lost-update")
	var n int
	const count = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?"
	if err := admin.QueryRowContext(t.Context(), count, name).Scan(&n); err != nil || n != 0 {
		t.Errorf("the database is still there: %d, %v", n, err)
	}
	if left, err := client.Exists(t.Context(), key).Result(); err != nil || left != 0 {
		t.Errorf("the key is still there: %d, %v", left, err)
	}
}

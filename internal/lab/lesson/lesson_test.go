package lesson_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/lab/lesson"
)

// TestMain lets the test binary run the roles of lessons.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == lesson.RoleArg {
		if err := lesson.RunRole(context.Background(), os.Args[2:], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestLessons runs every lesson. All checks must pass, the pages must show what it prints, and no data may remain on
// the servers.
func TestLessons(t *testing.T) {
	t.Parallel()
	addr, dsn := stacktest.Redis(t), stacktest.MySQL(t)
	t.Run("all", func(t *testing.T) { // returns when its parallel tests have ended
		for _, l := range lesson.All() {
			t.Run(l.Name, func(t *testing.T) {
				t.Parallel()
				var out strings.Builder
				servers := lesson.NewServers(stack.Vars{Redis: addr, MySQL: dsn}, nil)
				got, err := lesson.Run(t.Context(), l, lesson.Config{
					Servers: servers, Self: []string{os.Args[0], lesson.RoleArg}, Out: &out,
				})
				t.Log("\n" + out.String())
				if err != nil || !got.Holds || len(got.Claims) == 0 {
					t.Errorf("%+v, error %v", got, err)
				}
				comparePages(t, l.Name, out.String())
			})
		}
	})
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	if keys, err := client.Keys(t.Context(), "*lesson:*").Result(); err != nil || len(keys) > 0 {
		t.Errorf("left in Redis: %q, %v", keys, err)
	}
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var databases int
	err = db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'lesson\\_%'").Scan(&databases)
	if err != nil || databases > 0 {
		t.Errorf("%d databases left, %v", databases, err)
	}
}

func TestRun_DoesNotHold(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(context.Context, *lesson.Env) error{
		"a check fails": func(_ context.Context, e *lesson.Env) error {
			e.Check(true, "one")
			e.Check(false, "two")
			return nil
		},
		"no check is made": func(context.Context, *lesson.Env) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			_, err := lesson.Run(t.Context(), lesson.Lesson{Name: "x", Run: run}, lesson.Config{Out: &out})
			if !errors.Is(err, lesson.ErrDoesNotHold) {
				t.Errorf("run = %v, want ErrDoesNotHold", err)
			}
		})
	}
}

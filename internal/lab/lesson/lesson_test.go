package lesson_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/dev/testkit"
	"holdfast/internal/lab/lesson"
	"holdfast/internal/lab/step"
	"holdfast/pkg/mq"
	"holdfast/pkg/mq/mqtest"
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
	testkit.RunParallel(4) // lessons pause and wait for leases to expire
	os.Exit(m.Run())
}

// replayer is a reader who steps and replays each scene once: before the third step, up to the second.
type replayer struct{ replayed int } // number of the scene

// Next implements step.Pacer.
func (r *replayer) Next(ctx context.Context, next step.Event) (step.Move, error) {
	if next.Step >= 3 && r.replayed < next.Scene {
		r.replayed = next.Scene
		return step.Move{ReplayTo: 2}, nil
	}
	return step.Move{}, ctx.Err()
}

// TestLessons runs every lesson that needs no broker, without a pause in English and with a reader who steps in
// Chinese. All checks must pass, the pages must show what the lesson prints, and no data may remain on the servers.
func TestLessons(t *testing.T) {
	t.Parallel()
	runLessons(t, stack.Vars{Redis: stacktest.Redis(t), MySQL: stacktest.MySQL(t)}, func(l lesson.Lesson) bool { return !l.Messages })
}

// TestLessons_Messages does the same with the lessons about messages. It has a pass without the race detector.
func TestLessons_Messages(t *testing.T) {
	t.Parallel()
	mqtest.SkipIfRace(t)
	vars := stack.Vars{Redis: stacktest.Redis(t), MySQL: stacktest.MySQL(t), Namesrv: stacktest.RocketMQ(t)}
	runLessons(t, vars, func(l lesson.Lesson) bool { return l.Messages })
}

// runLessons runs the lessons on servers and looks what remains there.
func runLessons(t *testing.T, vars stack.Vars, which func(lesson.Lesson) bool) {
	t.Helper()
	run := func(t *testing.T, l lesson.Lesson, cfg lesson.Config) string {
		t.Helper()
		var out strings.Builder
		cfg.Servers, cfg.Self, cfg.Out = stack.NewOnDemand(vars, nil), []string{os.Args[0], lesson.RoleArg}, &out
		got, err := lesson.Run(t.Context(), l, cfg)
		t.Log("\n" + out.String())
		if err != nil || !got.Holds || len(got.Claims) == 0 {
			t.Errorf("%+v, error %v", got, err)
		}
		if strings.Contains(out.String(), "%!") {
			t.Error("a text is missing, or its placeholders and values do not fit")
		}
		return out.String()
	}
	t.Run("all", func(t *testing.T) { // returns when its parallel tests have ended
		for _, l := range lesson.All() {
			if !which(l) {
				continue
			}
			t.Run(l.Name, func(t *testing.T) {
				t.Parallel()
				var events []step.Event
				printed := run(t, l, lesson.Config{Events: func(e step.Event) { events = append(events, e) }})
				comparePage(t, l.Name+".md", printed)
				comparePage(t, l.Name+".zh.md", inChinese(t, events))
			})
			t.Run(l.Name+"/step", func(t *testing.T) {
				t.Parallel()
				run(t, l, lesson.Config{Lang: "zh", Pace: &replayer{}})
			})
		}
	})
	remaining(t, vars)
}

// remaining reports what lessons have left on the servers. Lessons of the other test may still run: a database or a key
// of theirs is looked at again until it is gone.
func remaining(t *testing.T, vars stack.Vars) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: vars.Redis})
	defer client.Close()
	testkit.EventuallyTrue(t, time.Minute, "no keys in Redis", func() bool {
		keys, err := client.Keys(t.Context(), "*lesson:*").Result()
		return err == nil && len(keys) == 0
	})
	db, err := sql.Open("mysql", vars.MySQL)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	testkit.EventuallyTrue(t, time.Minute, "no databases", func() bool {
		var databases int
		err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'lesson\\_%'").Scan(&databases)
		return err == nil && databases == 0
	})
	if vars.Namesrv == "" {
		return
	}
	topics, err := mq.Topics(t.Context(), vars.Namesrv)
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range topics {
		if strings.Contains(topic, "lesson-") {
			t.Errorf("left on the broker: %s", topic)
		}
	}
}

// inChinese renders the events of a run, sent as JSON, in the other language.
func inChinese(t *testing.T, events []step.Event) string {
	t.Helper()
	texts, err := lesson.Texts("zh")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	terminal := step.Terminal{Out: &out, Texts: texts}
	for _, e := range events {
		terminal.Show(e)
	}
	return out.String()
}

// scenes returns a lesson whose only scene has no steps and makes the checks.
func scenes(end func(end *step.Ending) error) lesson.Lesson {
	return lesson.Lesson{Name: "naive", Scenes: func(context.Context, *lesson.Env) ([]step.Scene, error) {
		return []step.Scene{{Title: step.T("naive.title"), Open: func(context.Context) (*step.Stage, error) {
			return &step.Stage{End: func(_ context.Context, e *step.Ending) error { return end(e) }}, nil
		}}}, nil
	}}
}

func TestRun_DoesNotHold(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*step.Ending) error{
		"a check fails": func(e *step.Ending) error {
			e.Check(true, "naive.hand.twice")
			e.Check(false, "naive.hand.twice")
			return nil
		},
		"no check is made": func(*step.Ending) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			_, err := lesson.Run(t.Context(), scenes(end), lesson.Config{Out: &out})
			if !errors.Is(err, lesson.ErrDoesNotHold) {
				t.Errorf("run = %v, want ErrDoesNotHold", err)
			}
		})
	}
}

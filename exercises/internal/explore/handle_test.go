package explore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/exercises/internal/explore"
	"holdfast/internal/dev/stack/stacktest"
)

// lockers returns a scenario in which A and B take a lock on Redis, and the judge finds that both have it.
func lockers(t *testing.T, take func(ctx context.Context, c *redis.Client, key, me string) (bool, error)) explore.Scenario {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: stacktest.Redis(t)})
	t.Cleanup(func() { _ = client.Close() })
	key := "explore:" + t.Name()
	t.Cleanup(func() { client.Del(context.Background(), key) })
	var has []string
	actor := func(name string) explore.Actor {
		return explore.Actor{Name: name, Run: func(ctx context.Context, h *explore.Handle) error {
			ok, err := take(ctx, h.Redis(client), key, name)
			if ok {
				has = append(has, name)
			}
			return err
		}}
	}
	return explore.Scenario{
		Open: func(ctx context.Context) ([]explore.Actor, error) {
			has = nil
			return []explore.Actor{actor("A"), actor("B")}, client.Del(ctx, key).Err()
		},
		Judge: func(context.Context, *explore.Run) (*explore.Finding, error) {
			if len(has) == 2 {
				return &explore.Finding{ID: "two-holders"}, nil
			}
			return nil, nil
		},
	}
}

func TestHandle_redis(t *testing.T) {
	t.Parallel()
	f := wantFinding(t, explored(t, lockers(t, func(ctx context.Context, c *redis.Client, key, me string) (bool, error) {
		switch err := c.Get(ctx, key).Err(); {
		case err == nil:
			return false, nil
		case !errors.Is(err, redis.Nil):
			return false, err
		}
		return true, c.Set(ctx, key, me, 0).Err()
	}), explore.Limits{}), "two-holders")
	want := []string{"A GET nil", "B GET nil", "B SET OK", "A SET OK"}
	var got []string
	for _, s := range f.Steps {
		got = append(got, fmt.Sprintf("%s %.3s %s", s.Actor, s.Does, s.Result))
	}
	if !slices.Equal(got, want) {
		t.Errorf("steps %q, want %q", got, want)
	}
}

func TestHandle_redisAtomic(t *testing.T) {
	t.Parallel()
	wantNone(t, explored(t, lockers(t, func(ctx context.Context, c *redis.Client, key, me string) (bool, error) {
		return c.SetNX(ctx, key, me, 0).Result()
	}), explore.Limits{}))
}

// A script is one step, also when the server does not have it yet.
func TestHandle_redisScript(t *testing.T) {
	t.Parallel()
	script := redis.NewScript("-- take if free " + t.Name() + "\nif redis.call('EXISTS', KEYS[1]) == 1 then return 0 end\n" +
		"redis.call('SET', KEYS[1], ARGV[1])\nreturn 1")
	s := lockers(t, func(ctx context.Context, c *redis.Client, key, me string) (bool, error) {
		return script.Run(ctx, c, []string{key}, me).Bool()
	})
	judge := s.Judge
	s.Judge = func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
		want := "EVAL take if free " + t.Name() + " explore:" + t.Name() + " A"
		if len(r.Steps) != 2 || r.Steps[0].Actor == "A" && r.Steps[0].Does != want {
			t.Errorf("steps %+v, want one for each actor, the first %q", r.Steps, want)
		}
		return judge(ctx, r)
	}
	wantNone(t, explored(t, s, explore.Limits{}))
}

// A pipeline is one step.
func TestHandle_redisPipeline(t *testing.T) {
	t.Parallel()
	s := lockers(t, func(ctx context.Context, c *redis.Client, key, me string) (bool, error) {
		_, err := c.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, key, me, 0)
			p.Get(ctx, key)
			return nil
		})
		return false, err
	})
	s.Judge = func(_ context.Context, r *explore.Run) (*explore.Finding, error) {
		if len(r.Steps) != 2 || r.Errs["A"] != nil {
			t.Errorf("steps %+v, error %v, want one step for each actor", r.Steps, r.Errs["A"])
		}
		return nil, nil
	}
	wantNone(t, explored(t, s, explore.Limits{}))
}

// What is done inside a step belongs to it.
func TestHandle_step(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	scenario := s.buyers(readThenWrite, readThenWrite)
	open := scenario.Open
	scenario.Open = func(ctx context.Context) ([]explore.Actor, error) {
		actors, err := open(ctx)
		for i := range actors {
			actors[i].Run = func(ctx context.Context, h *explore.Handle) error {
				db := h.DB(s.db)
				return h.Step(ctx, "buys", func(ctx context.Context) (string, error) {
					return "done", readThenWrite(ctx, db)
				})
			}
		}
		return actors, err
	}
	runs := 0
	scenario.Judge = func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
		runs++
		if len(r.Steps) != 2 || r.Steps[0].Result != "done" || r.Steps[0].Kind != explore.Other || !r.Steps[1].Failed {
			t.Errorf("steps %+v, want one for each actor, and the second sold out", r.Steps)
		}
		return s.oversold(ctx, r)
	}
	wantNone(t, explored(t, scenario, explore.Limits{}))
	if runs != 2 {
		t.Errorf("%d runs, want 2: who is first", runs)
	}
}

// A successor begins when its predecessor has ended, killed or not.
func TestActor_after(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	scenario := s.buyers(lockThenWrite, lockThenWrite)
	open := scenario.Open
	scenario.Deaths = 1
	scenario.Open = func(ctx context.Context) ([]explore.Actor, error) {
		actors, err := open(ctx)
		actors[1].After = []string{"A"}
		return actors, err
	}
	succeeded := false
	scenario.Judge = func(ctx context.Context, r *explore.Run) (*explore.Finding, error) {
		if got := order(r.Steps); got != "A B" {
			t.Errorf("the actors acted %s, want A B", got)
		}
		succeeded = succeeded || errors.Is(r.Errs["A"], explore.ErrDied) && r.Errs["B"] == nil
		return s.oversold(ctx, r)
	}
	wantNone(t, explored(t, scenario, explore.Limits{}))
	if !succeeded {
		t.Error("B never took over from A")
	}
}

// The steps of an actor's several goroutines are taken one after the other.
func TestHandle_goroutines(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	both := func(ctx context.Context, db *gorm.DB) error {
		errs := make(chan error)
		for range 2 {
			go func() { errs <- lockThenWrite(ctx, db) }()
		}
		return errors.Join(<-errs, <-errs)
	}
	wantNone(t, explored(t, s.buyers(both, readThenWrite), explore.Limits{Runs: 2}))
}

func TestExplore_errors(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	s := explore.Scenario{
		Open:  func(context.Context) ([]explore.Actor, error) { return nil, broken },
		Judge: func(context.Context, *explore.Run) (*explore.Finding, error) { return nil, broken },
	}
	if _, err := explore.Explore(t.Context(), s, explore.Limits{}); !errors.Is(err, broken) {
		t.Errorf("Open's error: %v", err)
	}
	closed := 0
	s.Open = func(context.Context) ([]explore.Actor, error) { return nil, nil }
	s.Close = func(context.Context) error { closed++; return nil }
	if _, err := explore.Explore(t.Context(), s, explore.Limits{}); !errors.Is(err, broken) || closed != 1 {
		t.Errorf("Judge's error: %v; closed %d times", err, closed)
	}
}

// The scenario's Turn decides who acts next, at no cost.
func TestScenario_turn(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	scenario := s.buyers(readThenWrite, readThenWrite)
	scenario.Turn = func(steps []explore.Step, can []string) string {
		if len(steps) == 2 && slices.Contains(can, "B") {
			return "B" // after A's read
		}
		return can[len(can)-1]
	}
	f := wantFinding(t, explored(t, scenario, explore.Limits{Runs: 2}), "oversold")
	if got := order(f.Steps); got != "A B A" && got != "B A B" {
		t.Errorf("the actors acted %s, want a switch after the first read", got)
	}
}

// A session statement is executed on each connection of the actor.
func TestHandle_session(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	var waits []string
	look := explore.Actor{Name: "A", Run: func(ctx context.Context, h *explore.Handle) error {
		var wait string
		err := h.DB(s.db, "SET SESSION innodb_lock_wait_timeout = 7").WithContext(ctx).Raw("SELECT @@SESSION.innodb_lock_wait_timeout").Row().Scan(&wait)
		waits = append(waits, wait)
		return err
	}}
	wantNone(t, explored(t, explore.Scenario{
		Open:  func(context.Context) ([]explore.Actor, error) { return []explore.Actor{look}, nil },
		Judge: func(context.Context, *explore.Run) (*explore.Finding, error) { return nil, nil },
	}, explore.Limits{}))
	if !slices.Equal(waits, []string{"7"}) {
		t.Errorf("the connection waits %q seconds for a lock, want 7", waits)
	}
}

// The first step of all may wait for another actor.
func TestExplore_firstStepWaits(t *testing.T) {
	t.Parallel()
	waited := false
	wantNone(t, explored(t, explore.Scenario{
		Open: func(context.Context) ([]explore.Actor, error) {
			gate := make(chan struct{})
			return []explore.Actor{
				{Name: "A", Run: func(ctx context.Context, h *explore.Handle) error {
					return h.Step(ctx, "goes through the gate", func(ctx context.Context) (string, error) {
						select {
						case <-gate:
							return "", nil
						case <-ctx.Done():
							return "", ctx.Err()
						}
					})
				}},
				{Name: "B", Run: func(ctx context.Context, h *explore.Handle) error {
					return h.Step(ctx, "opens the gate", func(context.Context) (string, error) {
						close(gate)
						return "", nil
					})
				}},
			}, nil
		},
		Judge: func(_ context.Context, r *explore.Run) (*explore.Finding, error) {
			for _, st := range r.Steps {
				waited = waited || st.Actor == "A" && st.Waited
			}
			return nil, nil
		},
	}, explore.Limits{}))
	if !waited {
		t.Error("no schedule had A at the closed gate")
	}
}

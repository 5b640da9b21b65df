package lesson

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/lab/step"
	"holdfast/pkg/wait"
)

// The rush: each buyer wants a product of its own, and works for a while between the read and the write.
const (
	goodsBuyers = 10
	goodsWork   = 40 * time.Millisecond
)

// goodsRush returns the scene that measures what the missing index costs buyers who have nothing in common.
func (e *Env) goodsRush(s *shelf) step.Scene {
	return e.scene(step.T("missing-index.rush"), func(ctx context.Context) (*step.Stage, error) {
		without, with := &goodsCrowd{}, &goodsCrowd{}
		head := []any{"", step.T("lesson.buyers"), step.T("missing-index.most"), step.T("missing-index.took")}
		run := func(c *goodsCrowd, indexed bool) step.Step {
			label := step.T(fmt.Sprintf("missing-index.crowd.%t", indexed))
			return step.Step{Label: label, Ask: "missing-index.rush.ask", Do: func(ctx context.Context) (step.Result, error) {
				if err := resetGoods(ctx, s.db, indexed); err != nil {
					return step.Result{}, err
				}
				err := c.run(ctx, e, s)
				return step.Result{Table: step.NewTable(head, c.row(label))}, err
			}}
		}
		return &step.Stage{
			Actors: []*step.Actor{{Steps: []step.Step{run(without, false), run(with, true)}}},
			Order:  []string{"", ""},
			End: func(_ context.Context, end *step.Ending) error {
				end.Table(head, without.row(step.T("missing-index.crowd.false")), with.row(step.T("missing-index.crowd.true")))
				end.Check(without.most == 1 && without.took >= goodsBuyers*goodsWork && with.most > 1, "missing-index.rush.claim", with.most)
				return nil
			},
		}, nil
	})
}

// goodsCrowd is buyers who buy at the same time, and how many of them had their row at the same time.
type goodsCrowd struct {
	mu           sync.Mutex
	inside, most int
	took         time.Duration
}

func (c *goodsCrowd) row(name step.Text) []any {
	return []any{name, goodsBuyers, c.most, rounded(c.took)}
}

func (c *goodsCrowd) run(ctx context.Context, e *Env, s *shelf) (err error) {
	buyers := make([]*goodsBuyer, goodsBuyers)
	for i := range buyers {
		session, err := e.session(ctx, s, "buyer "+strconv.Itoa(i+1))
		if err != nil {
			return err
		}
		buyers[i] = &goodsBuyer{session: session, isolation: stdsql.LevelRepeatableRead}
	}
	start := time.Now()
	all, ctx := errgroup.WithContext(ctx)
	for i, b := range buyers {
		all.Go(func() error { return c.buy(ctx, b, strconv.Itoa(1001+i)) })
	}
	err = all.Wait()
	c.took = time.Since(start)
	return err
}

func (c *goodsCrowd) buy(ctx context.Context, b *goodsBuyer, product string) error {
	if err := b.read(ctx, lockGoods, product); err != nil {
		return err
	}
	c.enter(1)
	err := wait.Sleep(ctx, goodsWork)
	c.enter(-1)
	if err != nil {
		return err
	}
	return b.save(ctx)
}

// enter counts a buyer that has its row, or, with -1, one that is about to give it back.
func (c *goodsCrowd) enter(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inside += n
	c.most = max(c.most, c.inside)
}

// The record locks of a connection's transaction, as the server's tables have them.
const (
	mariaDBLocks       = "information_schema.innodb_trx"
	mysqlLocks         = "performance_schema.data_locks"
	mariaDBRecordLocks = "SELECT trx_rows_locked FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = ?"
	mysqlRecordLocks   = `SELECT COUNT(*) FROM performance_schema.data_locks l
JOIN performance_schema.threads t ON t.thread_id = l.thread_id WHERE t.processlist_id = ? AND l.lock_type = 'RECORD'`
)

// recordLocks returns how many records the connection's transaction has locked, and the server's table that says so. It
// waits until the table agrees with the server's monitor: MariaDB's is a copy that may be older than the last
// statement.
func (s *shelf) recordLocks(ctx context.Context, connection int64) (n int64, table string, err error) {
	mariaDB, err := s.isMariaDB(ctx)
	if err != nil {
		return 0, "", err
	}
	query, table := mysqlRecordLocks, mysqlLocks
	if mariaDB {
		query, table = mariaDBRecordLocks, mariaDBLocks
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	// MariaDB renews its copy only when it was not read for a tenth of a second. Readers with equal pauses would keep
	// each other from ever seeing a new one.
	pauses := wait.Backoff{First: 4 * lockWaitAge, Max: 16 * lockWaitAge}
	err = pauses.Retry(ctx, func(ctx context.Context) (again bool, err error) {
		var kind, name, status string
		if err := s.db.QueryRowContext(ctx, "SHOW ENGINE INNODB STATUS").Scan(&kind, &name, &status); err != nil {
			return false, fmt.Errorf("read the monitor of InnoDB, which needs PROCESS: %w", err)
		}
		if err := s.db.QueryRowContext(ctx, query, connection).Scan(&n); err != nil && !errors.Is(err, stdsql.ErrNoRows) {
			return false, fmt.Errorf("read the tables of locks, which needs PROCESS, on MySQL also SELECT on performance_schema: %w", err)
		}
		if seen := rowLocksIn(status, connection); n != seen {
			return true, fmt.Errorf("%s has %d locked records, the monitor of InnoDB %d", table, n, seen)
		}
		return false, nil
	})
	return n, table, err
}

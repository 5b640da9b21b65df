package lesson

import (
	"context"
	stdsql "database/sql"
	"fmt"
	"slices"
	"strings"

	"holdfast/internal/lab/step"
)

func missingIndex() Lesson {
	return Lesson{Name: "missing-index", Scenes: missingIndexScenes}
}

// The lesson's table has its products by number, and the condition of all statements is the SKU, which has no index.
const (
	createGoods = `CREATE TABLE goods (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
	sku VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, available BIGINT NOT NULL)`
	indexGoods = "CREATE UNIQUE INDEX goods_sku ON goods (sku)"

	lockGoods       = "SELECT id, available FROM goods WHERE sku = ? FOR UPDATE"
	lockGoodsNumber = "SELECT id, available FROM goods WHERE sku = 1001 FOR UPDATE" // a number, and the column is a string
	sellGoods       = "UPDATE goods SET available = available - 1 WHERE sku = ?"
	sellGoodsByID   = "UPDATE goods SET available = ? WHERE id = ?"
	insertGoods     = "INSERT INTO goods (sku, available) VALUES (?, 10)"
)

// The products: A buys the first one, B and C others.
const (
	goodsCount = 100
	goodsA     = "1001"
	goodsB     = "1100"
	goodsC     = "1050"
	goodsNew   = "2000"
)

func missingIndexScenes(ctx context.Context, e *Env) ([]step.Scene, error) {
	dsn, db, err := e.database(ctx)
	if err != nil {
		return nil, err
	}
	s := newShelf(dsn, db)
	if err := s.showsLocks(ctx); err != nil {
		return nil, err
	}
	return []step.Scene{
		e.goodsScene(s, "missing-index.all", false, goodsAllLocked),
		e.goodsScene(s, "missing-index.rc", false, goodsReadCommitted),
		e.goodsScene(s, "missing-index.cure", false, goodsIndexed),
		e.goodsScene(s, "missing-index.number", true, goodsIndexUnused),
		e.goodsRush(s),
	}, nil
}

// showsLocks returns a skipError if the server has no tables of record locks and lock waits: MySQL has them in
// performance_schema, which docker-compose.yml switches off to save memory.
func (s *shelf) showsLocks(ctx context.Context) error {
	if mariaDB, err := s.isMariaDB(ctx); mariaDB || err != nil {
		return err
	}
	var on bool
	if err := s.db.QueryRowContext(ctx, "SELECT @@GLOBAL.performance_schema").Scan(&on); err != nil {
		return err
	}
	if !on {
		return &skipError{step.T("missing-index.skipped")}
	}
	return nil
}

// resetGoods creates the table again, with its products, and with the index if it is asked for.
func resetGoods(ctx context.Context, db *stdsql.DB, indexed bool) error {
	statements := []string{"DROP TABLE IF EXISTS goods", createGoods}
	if indexed {
		statements = append(statements, indexGoods)
	}
	insert := "INSERT INTO goods (sku, available) VALUES "
	for i := range goodsCount {
		if i > 0 {
			insert += ", "
		}
		insert += fmt.Sprintf("('%d', 10)", 1001+i)
	}
	for _, statement := range append(statements, insert) {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// goodsStage is what a scene of the lesson has: a new table, sessions, and what the server said about their locks.
type goodsStage struct {
	e     *Env
	shelf *shelf
	stage *step.Stage

	a       *goodsBuyer
	waits   []rowWait // as the server's tables had them when all others had sent their statement
	blocked map[string]bool
}

// goodsScene returns a scene on a new table. play adds the actors.
func (e *Env) goodsScene(s *shelf, title string, indexed bool, play func(context.Context, *goodsStage) error) step.Scene {
	return e.scene(step.T(title), func(ctx context.Context) (*step.Stage, error) {
		if err := resetGoods(ctx, s.db, indexed); err != nil {
			return nil, err
		}
		g := &goodsStage{e: e, shelf: s, blocked: map[string]bool{}, stage: &step.Stage{Look: []step.Looker{s.lookLocks}}}
		return g.stage, play(ctx, g)
	})
}

// goodsBuyer is a session with the number of its record locks, as the server counted them.
type goodsBuyer struct {
	*session
	isolation stdsql.IsolationLevel
	id, left  int64 // of the row that was read
	locked    int64
}

func (g *goodsStage) buyer(ctx context.Context, name string, isolation stdsql.IsolationLevel) (*goodsBuyer, error) {
	session, err := g.e.session(ctx, g.shelf, name)
	return &goodsBuyer{session: session, isolation: isolation}, err
}

// add lets an actor execute the steps at the end of the stage's order, one after the other.
func (g *goodsStage) add(b *goodsBuyer, steps ...step.Step) {
	g.stage.Actors = append(g.stage.Actors, b.actor(steps...))
	for range steps {
		g.stage.Order = append(g.stage.Order, b.name)
	}
}

// read begins the transaction and locks a product's row.
func (b *goodsBuyer) read(ctx context.Context, statement string, args ...any) (err error) {
	if b.tx, err = b.conn.BeginTx(ctx, &stdsql.TxOptions{Isolation: b.isolation}); err != nil {
		return err
	}
	return b.tx.QueryRowContext(ctx, statement, args...).Scan(&b.id, &b.left)
}

// save takes a unit of the row that was read, by its primary key, and commits.
func (b *goodsBuyer) save(ctx context.Context) error {
	if _, err := b.tx.ExecContext(ctx, sellGoodsByID, b.left-1, b.id); err != nil {
		return err
	}
	return b.end((*stdsql.Tx).Commit)
}

// reads is the step in which A reads its product, and the server counts the record locks that A then has.
func (g *goodsStage) reads(ask, statement string, args ...any) step.Step {
	return step.Step{
		Label: step.T("missing-index.reads", withArgs(statement, args)), Ask: ask, Statement: withArgs(statement, args),
		Do: func(ctx context.Context) (_ step.Result, err error) {
			if err := g.a.read(ctx, statement, args...); err != nil {
				return step.Result{}, err
			}
			var table string
			g.a.locked, table, err = g.shelf.recordLocks(ctx, g.a.connection)
			return step.Result{Text: step.T("missing-index.reads.got", withArgs(statement, args), table, g.a.locked)}, err
		},
	}
}

// saves is the step in which A writes and commits.
func (g *goodsStage) saves() step.Step {
	return step.Step{Label: step.T("lesson.save"), Statement: withArgs(sellGoodsByID, nil), Do: func(ctx context.Context) (step.Result, error) {
		return step.Result{}, g.a.save(ctx)
	}}
}

// buys is a whole purchase of another product, in the way of A.
func (b *goodsBuyer) buys(ask string) step.Step {
	statement := withArgs(lockGoods, []any{goodsB})
	return step.Step{Label: step.T("missing-index.buys", statement), Ask: ask, Statement: statement, Do: func(ctx context.Context) (step.Result, error) {
		err := b.read(ctx, lockGoods, goodsB)
		if err == nil {
			err = b.save(ctx)
		}
		return step.Result{Text: step.T("missing-index.buys.got", statement)}, err
	}}
}

// sends is a single statement, a transaction of its own.
func (b *goodsBuyer) sends(ask, statement string, args ...any) step.Step {
	text := withArgs(statement, args)
	return step.Step{Label: step.T("missing-index.sends", text), Ask: ask, Statement: text, Do: func(ctx context.Context) (step.Result, error) {
		tx, err := b.conn.BeginTx(ctx, &stdsql.TxOptions{Isolation: b.isolation})
		if err != nil {
			return step.Result{}, err
		}
		if _, err := tx.ExecContext(ctx, statement, args...); err != nil {
			return step.Result{}, err
		}
		return step.Result{Text: step.T("missing-index.sends.got", text)}, tx.Commit()
	}}
}

// server is an actor's step that reads the server's tables of locks: who waits for whom, at which record.
func (g *goodsStage) server() *step.Actor {
	return &step.Actor{Name: "server", Steps: []step.Step{{Label: step.T("missing-index.server"), Do: func(ctx context.Context) (step.Result, error) {
		var err error
		if g.waits, err = g.shelf.settledWaits(ctx); err != nil {
			return step.Result{}, fmt.Errorf("read the tables of locks (needs PROCESS, on MySQL also SELECT on performance_schema): %w", err)
		}
		var seen []string
		for _, w := range g.waits {
			name := g.shelf.actor(w.waiting)
			if !g.blocked[name] {
				seen = append(seen, fmt.Sprintf("%s <- %s: %s %s", name, g.shelf.actor(w.blocking), w.index, w.record))
			}
			g.blocked[name] = true
		}
		if len(seen) == 0 {
			return step.Result{Text: step.T("missing-index.server.none")}, nil
		}
		slices.Sort(seen)
		return step.Result{Text: step.T("missing-index.server.got", strings.Join(seen, "; "))}, nil
	}}}}
}

// serverThenA lets the server report, and then A end.
func (g *goodsStage) serverThenA() {
	g.stage.Actors = append(g.stage.Actors, g.server())
	g.stage.Order = append(g.stage.Order, "server", g.a.name)
}

// open adds A with its two steps, the second of them last, and returns two others.
func (g *goodsStage) open(ctx context.Context, isolation stdsql.IsolationLevel, read step.Step) (b, c *goodsBuyer, err error) {
	if g.a, err = g.buyer(ctx, "A", isolation); err != nil {
		return nil, nil, err
	}
	if b, err = g.buyer(ctx, "B", isolation); err != nil {
		return nil, nil, err
	}
	c, err = g.buyer(ctx, "C", isolation)
	g.stage.Actors = append(g.stage.Actors, g.a.actor(read, g.saves()))
	g.stage.Order = append(g.stage.Order, "A")
	return b, c, err
}

// goodsAllLocked: REPEATABLE READ, no index. A locks all rows and the end of the table.
func goodsAllLocked(ctx context.Context, g *goodsStage) error {
	b, c, err := g.open(ctx, stdsql.LevelRepeatableRead, g.reads("missing-index.reads.ask", lockGoods, goodsA))
	if err != nil {
		return err
	}
	g.add(b, b.buys("missing-index.buys.ask"))
	g.add(c, c.sends("missing-index.insert.ask", insertGoods, goodsNew))
	g.serverThenA()
	g.stage.End = func(_ context.Context, end *step.Ending) error {
		end.Check(g.a.locked >= goodsCount, "missing-index.all.claim", g.a.locked, goodsCount)
		end.Check(g.blocked["B"] && g.blocked["C"], "missing-index.all.wait")
		return nil
	}
	return nil
}

// goodsReadCommitted: the server unlocks the rows that do not match. A locking read still waits for a row of another
// product, as it has to lock a row before it can look at it. An UPDATE does not.
func goodsReadCommitted(ctx context.Context, g *goodsStage) error {
	b, c, err := g.open(ctx, stdsql.LevelReadCommitted, g.reads("missing-index.reads.ask.rc", lockGoods, goodsA))
	if err != nil {
		return err
	}
	g.add(b, b.buys("missing-index.buys.ask.rc"))
	g.add(c, c.sends("missing-index.update.ask", sellGoods, goodsC), c.sends("", insertGoods, goodsNew))
	g.serverThenA()
	g.stage.End = func(_ context.Context, end *step.Ending) error {
		end.Check(g.a.locked == 1, "missing-index.rc.claim")
		end.Check(g.blocked["B"], "missing-index.rc.wait")
		end.Check(!g.blocked["C"], "missing-index.rc.update")
		return nil
	}
	return nil
}

// goodsIndexed: with the index A locks its entry of the index and its row.
func goodsIndexed(ctx context.Context, g *goodsStage) error {
	index := step.Step{Label: step.T("missing-index.creates", indexGoods), Statement: indexGoods, Do: func(ctx context.Context) (step.Result, error) {
		_, err := g.shelf.db.ExecContext(ctx, indexGoods)
		return step.Result{}, err
	}}
	g.stage.Actors = append(g.stage.Actors, &step.Actor{Name: "operator", Steps: []step.Step{index}})
	g.stage.Order = append(g.stage.Order, "operator")
	b, c, err := g.open(ctx, stdsql.LevelRepeatableRead, g.reads("missing-index.reads.ask.cure", lockGoods, goodsA))
	if err != nil {
		return err
	}
	g.add(b, b.buys(""))
	g.add(c, c.sends("", insertGoods, goodsNew))
	g.serverThenA()
	g.stage.End = func(_ context.Context, end *step.Ending) error {
		end.Check(g.a.locked == 2, "missing-index.cure.claim", g.a.locked)
		end.Check(len(g.blocked) == 0, "missing-index.cure.wait")
		return nil
	}
	return nil
}

// goodsIndexUnused: the condition compares the string with a number, and the server cannot look that up in the index.
func goodsIndexUnused(ctx context.Context, g *goodsStage) error {
	b, _, err := g.open(ctx, stdsql.LevelRepeatableRead, g.reads("missing-index.reads.ask.number", lockGoodsNumber))
	if err != nil {
		return err
	}
	g.add(b, b.buys(""))
	g.serverThenA()
	g.stage.End = func(_ context.Context, end *step.Ending) error {
		end.Check(g.a.locked >= goodsCount && g.blocked["B"], "missing-index.number.claim", g.a.locked)
		return nil
	}
	return nil
}

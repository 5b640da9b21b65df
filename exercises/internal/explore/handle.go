package explore

import (
	"context"
	"io"
	"sync"

	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"
)

// Handle gives an actor its way to the world. Whatever goes through it is a step. It may be used by several goroutines
// of the actor; their steps are taken in the order in which they are reached.
type Handle struct {
	a *actor

	mu      sync.Mutex
	dead    bool        // killed
	conns   []*conn     // of the database
	closers []io.Closer // pools and clients, closed at the end of the run
}

// DB returns a database handle whose statements are steps of the actor. db was opened with database.Open. Its
// transactions, isolation level and lock wait are db's, unless one of the session statements, which every new
// connection executes, sets something else.
func (h *Handle) DB(db *gorm.DB, session ...string) *gorm.DB { return h.database(db, session) }

// Redis returns a client whose commands are steps of the actor. A pipeline is one step.
func (h *Handle) Redis(c *redis.Client) *redis.Client { return h.client(c) }

// insideKey marks the context of a step that is being taken: what is done with it belongs to that step.
type insideKey struct{}

func isInside(ctx context.Context) bool { return ctx.Value(insideKey{}) != nil }

// Step executes anything else as a step: a message sent, time passing, an answer given. What do does through the same
// handle with the context it gets belongs to this step. If do does not end within 150 ms, the step is taken to wait for
// another actor, and the others go on.
func (h *Handle) Step(ctx context.Context, does string, do func(ctx context.Context) (result string, err error)) error {
	return h.act(ctx, request{kind: Other, does: does, mayWait: true, do: func(ctx context.Context) (o outcome) {
		o.result, o.err = do(ctx)
		if o.err != nil {
			o.result, o.failed = errorText(o.err), true
		}
		return o
	}})
}

// outcome is what came of a step.
type outcome struct {
	result  string
	failed  bool // result is an error's text
	rows    []map[string]string
	changed int64
	err     error
}

// request is a step that an actor wants to take.
type request struct {
	kind    Kind
	does    string
	mayWait bool  // it may wait for another actor, and no server says whether it does
	conn    *conn // the database's connection, which the server is asked about; nil: none
	do      func(ctx context.Context) outcome

	began   int  // how many steps had ended; of the play
	waited  bool // of the play
	done    bool // it has ended, and waits for its turn to go on; of the play
	outcome outcome
	granted chan bool     // true: take the step; false: the actor was killed
	resumed chan struct{} // the learner's code may go on
}

// act takes a step when the schedule lets the actor act.
func (h *Handle) act(ctx context.Context, r request) error {
	if isInside(ctx) || r.kind == Rollback && h.a.left.Load() { // database/sql rolls back when the learner's context ends
		return r.do(ctx).err
	}
	if err := h.a.refused(); err != nil {
		return err
	}
	q := &r
	q.granted, q.resumed = make(chan bool, 1), make(chan struct{})
	if !h.a.tell(event{kind: arrived, request: q}) {
		return h.a.refused()
	}
	select {
	case alive := <-q.granted:
		if !alive {
			return h.a.refused()
		}
	case <-h.a.play.over:
		return h.a.refused()
	}
	err := q.take(ctx, h.a.ctx)
	if h.a.tell(event{kind: finished, request: q}) {
		select {
		case <-q.resumed:
		case <-h.a.play.over:
		}
	}
	if h.isDead() && err != nil {
		return ErrDied
	}
	return err
}

// take executes the step. It ends when the actor is killed or the run is given up, whatever context the learner's code
// has chosen.
func (q *request) take(ctx, actor context.Context) error {
	ctx, cancel := context.WithCancel(context.WithValue(ctx, insideKey{}, true))
	defer cancel()
	defer context.AfterFunc(actor, cancel)()
	q.outcome = q.do(ctx)
	return q.outcome.err
}

// die closes the connections of a killed actor, as the end of its process does, and waits until the server has rolled
// back what was open.
func (h *Handle) die(ctx context.Context) error {
	h.mu.Lock()
	h.dead = true
	conns := h.conns
	h.conns = nil
	h.mu.Unlock()
	for _, c := range conns {
		if err := c.kill(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close ends what the actor has opened.
func (h *Handle) close() {
	h.mu.Lock()
	conns, closers := h.conns, h.closers
	h.conns, h.closers = nil, nil
	h.mu.Unlock()
	for _, c := range conns {
		c.abandon()
	}
	for _, c := range closers {
		_ = c.Close()
	}
}

func (h *Handle) isDead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dead
}

func (h *Handle) opened(c io.Closer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closers = append(h.closers, c)
}

// inTransaction reports whether a transaction is neither committed nor rolled back.
func (h *Handle) inTransaction() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		if c.open.Load() {
			return true
		}
	}
	return false
}

package lesson

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/oklog/ulid/v2"

	"holdfast/internal/lab/step"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/inventory-srv/inventorylab"
)

// call is an actor that places one order through the inventory's own code, a strategy or a mistake of the gallery. Its
// steps are parts of that one call: the code stops at the points that the lesson chooses, so that no mistake is written
// a second time.
type call struct {
	name  string
	shelf *shelf
	lab   *inventorylab.Lab
	lines []inventoryapi.Line

	stopped chan inventorylab.Point // receives the point at which the code stopped
	goOn    chan struct{}
	ended   chan error // receives the result of the call

	mu         sync.Mutex
	until      func(inventorylab.Point) bool // nil: the code does not stop
	next       *inventorylab.Point           // at which the code has stopped
	connection int64
	cancel     context.CancelFunc // nil: the call has not begun
	canceled   <-chan struct{}
}

// call opens an actor that reserves one unit of the lesson's product with a strategy, or with a mistake of the gallery.
func (e *Env) call(ctx context.Context, s *shelf, name, strategy, mistake string) (*call, error) {
	return e.callFor(ctx, s, name, strategy, mistake, []inventoryapi.Line{{SKU: sku, Quantity: 1}})
}

func (e *Env) callFor(ctx context.Context, s *shelf, name, strategy, mistake string, lines []inventoryapi.Line) (*call, error) {
	c := &call{
		name: name, shelf: s, lines: lines,
		stopped: make(chan inventorylab.Point), goOn: make(chan struct{}), ended: make(chan error, 1),
	}
	cfg, err := e.redisLab(ctx, s.dsn, strategy)
	if err != nil {
		return nil, err
	}
	cfg.At = c.at
	cfg.LockWait, cfg.IdleTimeout = e.patience(lockWait), e.patience(2*lockWait)
	if e.stepping() {
		cfg.LockTTL = thinking
	}
	if mistake == "" {
		c.lab, err = e.open(ctx, cfg)
	} else {
		c.lab, err = e.openFlaw(ctx, cfg, mistake)
	}
	if err != nil {
		return nil, err
	}
	e.Clean(func(context.Context) error { return c.stop() })
	return c, nil
}

// actor returns the engine's actor with the steps of the call.
func (c *call) actor(steps ...step.Step) *step.Actor {
	return &step.Actor{Name: c.name, Steps: steps, Blocked: func(ctx context.Context) (bool, error) {
		c.mu.Lock()
		connection := c.connection
		c.mu.Unlock()
		if connection == 0 {
			return false, nil
		}
		return c.shelf.blocked(ctx, connection)
	}}
}

// at is called by the code at each of its points.
func (c *call) at(p inventorylab.Point) {
	c.mu.Lock()
	if p.Connection != 0 && p.Connection != c.connection {
		c.connection = p.Connection
		c.shelf.setActor(p.Connection, c.name)
	}
	stop := c.until != nil && c.until(p)
	c.mu.Unlock()
	if !stop {
		return
	}
	select {
	case c.stopped <- p:
	case <-c.canceled:
		return
	}
	select {
	case <-c.goOn:
	case <-c.canceled:
	}
}

// then makes a result of the point at which the code has stopped, or, if p is nil, of the result of the call.
type then func(p *inventorylab.Point, err error) (step.Result, error)

// run returns what a step does: the code continues until a point for which until returns true, or to its end.
func (c *call) run(until func(inventorylab.Point) bool, then then) func(context.Context) (step.Result, error) {
	return func(ctx context.Context) (step.Result, error) {
		c.mu.Lock()
		c.until, c.next = until, nil
		begun := c.cancel != nil
		if !begun {
			c.begin(ctx)
		}
		c.mu.Unlock()
		if begun {
			select {
			case c.goOn <- struct{}{}:
			case <-ctx.Done():
				return step.Result{}, ctx.Err()
			}
		}
		select {
		case p := <-c.stopped:
			c.mu.Lock()
			c.next = &p
			c.mu.Unlock()
			return c.count(then, &p, nil)
		case err := <-c.ended:
			c.ended <- err // for stop
			if ctx.Err() != nil {
				return step.Result{}, ctx.Err()
			}
			return c.count(then, nil, err)
		}
	}
}

// count calls then while no other actor counts a result.
func (c *call) count(then then, p *inventorylab.Point, err error) (step.Result, error) {
	c.shelf.results.Lock()
	defer c.shelf.results.Unlock()
	return then(p, err)
}

// begin starts the call. The steps' context is that of the whole pass, so the call may outlive the step.
func (c *call) begin(ctx context.Context) {
	ctx, c.cancel = context.WithCancel(ctx)
	c.canceled = ctx.Done()
	go func() {
		_, err := c.lab.Reserve(ctx, ulid.Make().String(), c.lines)
		c.ended <- err
	}()
}

// stop cancels the call and waits for its end.
func (c *call) stop() error {
	c.mu.Lock()
	cancel := c.cancel
	c.next = nil
	c.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	err := <-c.ended
	c.ended <- err
	return nil // the call's error was a step's result, or it was cancelled
}

// beforeUpdate stops the code before it changes the table.
func beforeUpdate(table string) func(inventorylab.Point) bool {
	return func(p inventorylab.Point) bool { return p.At == inventorylab.AtStatement && isUpdate(p.SQL, table) }
}

// read is a step that ends when the code is about to write: what it writes tells what it has read. key and args label
// the step, and result is the text of its result, with the number that was read.
func (c *call) read(label, ask, result string) step.Step {
	return step.Step{
		Label: step.T(label), Ask: ask,
		Do: c.run(beforeUpdate("stock"), func(p *inventorylab.Point, err error) (step.Result, error) {
			if p == nil {
				return step.Result{}, fmt.Errorf("%s has not come to its UPDATE: %w", c.name, errors.Join(errEnded, err))
			}
			return step.Result{Text: step.T(result, written(p.Args)+1)}, nil
		}),
	}
}

// errEnded is a call that ended before the point that its step waits for.
var errEnded = errors.New("the call has ended")

// sell is a step that lets the code go on to its end.
func (c *call) sell(label step.Text, ask string, then then) step.Step {
	return step.Step{Label: label, Ask: ask, Do: c.run(nil, then)}
}

// look shows the statement that the code will send next.
func (c *call) look(context.Context) (step.View, error) {
	v := step.View{Name: step.T("step.next", c.name)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != nil && c.next.At == inventorylab.AtStatement {
		v.Rows = []string{withArgs(oneLine(c.next.SQL), c.next.Args)}
	}
	return v, nil
}

// withArgs puts the arguments into the statement's placeholders, for reading.
func withArgs(statement string, args []any) string {
	parts := strings.Split(statement, "?")
	var text strings.Builder
	for i, part := range parts {
		text.WriteString(part)
		if i < len(parts)-1 && i < len(args) {
			if _, ok := args[i].(string); ok {
				fmt.Fprintf(&text, "'%s'", args[i])
				continue
			}
			fmt.Fprint(&text, args[i])
		}
	}
	return text.String()
}

package lesson

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"holdfast/pkg/mq"
)

// inbox records what a consumer receives. It can hold a delivery until the lesson answers it.
type inbox struct {
	hold func(mq.Message) bool // nil: no delivery is held

	mu     sync.Mutex
	got    []delivery
	held   map[string]chan error // by key and body of the message
	closed chan struct{}
}

// delivery is one call of the handler.
type delivery struct {
	mq.Message
	at time.Time
}

// newInbox returns an inbox. Its release must run before the bus of its consumer is closed, which waits for handlers.
func newInbox(hold func(mq.Message) bool) *inbox {
	return &inbox{hold: hold, held: map[string]chan error{}, closed: make(chan struct{})}
}

var errSceneEnded = errors.New("the scene has ended")

// handle is the consumer's handler.
func (in *inbox) handle(ctx context.Context, m mq.Message) error {
	in.mu.Lock()
	in.got = append(in.got, delivery{m, time.Now()})
	if in.hold == nil || !in.hold(m) {
		in.mu.Unlock()
		return nil
	}
	answer := make(chan error, 1)
	in.held[m.Key+" "+string(m.Body)] = answer
	in.mu.Unlock()
	select {
	case err := <-answer:
		return err
	case <-in.closed:
		return errSceneEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release ends all handlers that wait.
func (in *inbox) release(context.Context) error {
	close(in.closed)
	return nil
}

// answer lets the handler of a delivery that is held return nil.
func (in *inbox) answer(key, body string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.held[key+" "+body] <- nil
	delete(in.held, key+" "+body)
}

// all returns the deliveries so far.
func (in *inbox) all() []delivery {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.got)
}

// of returns the deliveries of one key so far.
func (in *inbox) of(key string) []delivery {
	return slices.DeleteFunc(in.all(), func(d delivery) bool { return d.Key != key })
}

// has reports whether a message was delivered.
func (in *inbox) has(key, body string) bool {
	return slices.ContainsFunc(in.of(key), func(d delivery) bool { return string(d.Body) == body })
}

// await waits until a message was delivered.
func (in *inbox) await(ctx context.Context, e *Env, key, body string) error {
	return e.Until(ctx, "message "+key+" "+body+" is delivered", func(context.Context) (bool, error) {
		return in.has(key, body), nil
	})
}

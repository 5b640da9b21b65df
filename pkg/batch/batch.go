package batch

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Batcher gathers calls. It is safe for concurrent use. It has no goroutine while it is idle and one for each flush.
type Batcher[T, R any] struct {
	flush func(context.Context, *Batch[T, R])
	s     settings

	mu      sync.Mutex
	queue   []*Call[T, R] // in order of arrival
	running int           // flushes, without those that have run for longer than the overlap
	all     int           // flushes
	closed  bool
	linger  linger
	flushes sync.WaitGroup
}

// New makes a Batcher. flush does the work of a batch and answers each of its calls; without [WithOverlap] and
// [WithFlushes] it is never called twice at the same time. The answers go out when it returns. It panics when an option
// cannot work.
func New[T, R any](flush func(ctx context.Context, batch *Batch[T, R]), opts ...Option) *Batcher[T, R] {
	b := &Batcher[T, R]{flush: flush, s: newSettings(opts)}
	b.linger.max = b.s.linger
	return b
}

// Do has item executed in a batch and returns its own answer. weight is its share of the batch's maximum.
// Errors: what the flush answered; [ErrWithdrawn] and [ErrUnanswered] when ctx ended first; [ErrNoAnswer] and
// [*PanicError] for bugs in the flush; [ErrClosed].
func (b *Batcher[T, R]) Do(ctx context.Context, item T, weight int) (R, error) {
	c := newCall[T, R](item, weight)
	if err := b.enqueue(ctx, c); err != nil {
		var none R
		return none, err
	}
	select {
	case <-c.done:
		return c.final.result, c.final.err
	case <-ctx.Done():
		r := b.giveUp(ctx, []*Call[T, R]{c})[0]
		return r.Value, r.Err
	}
}

// DoAll has each of the items executed as Do does, and returns their answers when all have one. The items join the
// queue together and in their order, so one batch takes all of them if it has room. Of the same items in a Do each, the
// first would start a batch, and the others would wait for it.
func (b *Batcher[T, R]) DoAll(ctx context.Context, items []T, weight func(T) int) []Result[R] {
	results := make([]Result[R], len(items))
	calls := make([]*Call[T, R], len(items))
	for i, item := range items {
		calls[i] = newCall[T, R](item, weight(item))
	}
	if err := b.enqueue(ctx, calls...); err != nil {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	for i, c := range calls {
		select {
		case <-c.done:
			results[i] = Result[R]{c.final.result, c.final.err}
		case <-ctx.Done():
			copy(results[i:], b.giveUp(ctx, calls[i:]))
			return results
		}
	}
	return results
}

func newCall[T, R any](item T, weight int) *Call[T, R] {
	c := &Call[T, R]{Item: item, weight: weight, since: time.Now(), done: make(chan struct{})}
	c.staged.err = ErrNoAnswer
	return c
}

func (b *Batcher[T, R]) enqueue(ctx context.Context, calls ...*Call[T, R]) error {
	if ctx.Err() != nil {
		return gaveUp(ctx, ErrWithdrawn)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	b.queue = append(b.queue, calls...)
	b.linger.arrive(len(calls), len(b.queue))
	b.start()
	return nil
}

// start starts a flush if a call waits for one and not too many run. It needs the mutex.
func (b *Batcher[T, R]) start() {
	if len(b.queue) > 0 && b.running < b.s.flushes && (b.s.maxFlushes == 0 || b.all < b.s.maxFlushes) {
		b.running++
		b.all++
		b.flushes.Go(b.run)
	}
}

// giveUp is for a caller whose context has ended before these calls had their answers.
func (b *Batcher[T, R]) giveUp(ctx context.Context, calls []*Call[T, R]) []Result[R] {
	results := make([]Result[R], len(calls))
	var begun []int
	for i, c := range calls {
		if b.withdraw(c) {
			results[i].Err = gaveUp(ctx, ErrWithdrawn)
		} else {
			begun = append(begun, i)
		}
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.s.patience)
	defer cancel()
	for _, i := range begun {
		select {
		case <-calls[i].done:
		case <-patience.Done():
		}
		results[i] = calls[i].last(ctx)
	}
	return results
}

// last is the answer to a call whose caller waits no longer.
func (c *Call[T, R]) last(ctx context.Context) Result[R] {
	select {
	case <-c.done:
		if errors.Is(c.final.err, ErrWithdrawn) {
			return Result[R]{Err: gaveUp(ctx, ErrWithdrawn)}
		}
		return Result[R]{c.final.result, c.final.err}
	default:
		return Result[R]{Err: gaveUp(ctx, ErrUnanswered)}
	}
}

// withdraw removes a call that was not executed and will not be. Any other call it marks as one whose caller wants to
// leave.
func (b *Batcher[T, R]) withdraw(c *Call[T, R]) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch c.state {
	case queued:
		i := slices.Index(b.queue, c)
		b.queue = slices.Delete(b.queue, i, i+1)
		c.state = left
	case open:
		c.batch.leave(c)
	default:
		c.leaving = true
	}
	return c.state == left
}

// Queued returns how many calls wait for their flush.
func (b *Batcher[T, R]) Queued() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue)
}

// Close lets the calls that are queued be executed and returns when the last flush has ended. Later calls get
// [ErrClosed]. It may be called twice.
func (b *Batcher[T, R]) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.flushes.Wait()
	return nil
}

// run flushes one batch. Whatever the flush does to this goroutine, the next one gets a new one.
func (b *Batcher[T, R]) run() {
	defer b.over()
	next := sync.OnceFunc(b.next)
	defer next()
	b.yield()
	b.wait()
	ctx, cancel := context.WithTimeout(context.Background(), b.s.timeout)
	defer cancel()
	batch := b.take(cancel)
	if batch == nil {
		return // they have all gone
	}
	if b.s.overlap > 0 {
		overlap := time.AfterFunc(b.s.overlap, next)
		defer overlap.Stop()
	}
	f := Flush{Calls: len(batch.calls), Weight: batch.weight, Queued: time.Since(batch.calls[0].since)}
	began := time.Now()
	failure := error(&PanicError{}) // until the flush returns
	defer func() {
		if v := recover(); v != nil {
			failure = &PanicError{Value: v, Stack: debug.Stack()}
		}
		f.Took = time.Since(began)
		b.s.observer.Flushed(f)
		batch.deliver(failure)
		b.ended(batch, f.Took)
	}()
	b.flush(ctx, batch)
	failure = nil
}

// quietRounds is how often a flush lets other goroutines run without a new call before it begins. It is a number and
// not a time: the rounds take some 4 µs when nothing else runs.
const quietRounds = 64

// yield lets other goroutines run, for as long as they bring new calls: the callers that the last flush has just
// answered call again. Without it the first of them gets a batch of its own, and all others wait for that batch. They
// may run on other processors, so one round without a new call does not say that there is none.
func (b *Batcher[T, R]) yield() {
	most := b.s.batchWeight()
	for queued, quiet := 0, 0; quiet < quietRounds && queued < most; quiet++ {
		if n := b.Queued(); n > queued {
			queued, quiet = n, 0
		}
		runtime.Gosched()
	}
}

// wait waits for callers that come back.
func (b *Batcher[T, R]) wait() {
	most := b.s.batchWeight()
	b.mu.Lock()
	patience, filled := b.linger.patience(len(b.queue), most)
	b.mu.Unlock()
	if patience == 0 {
		return
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case <-over.C:
	case <-filled:
	}
}

// next has one flush less count as running, and starts the next one if a call waits for it.
func (b *Batcher[T, R]) next() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running--
	b.start()
}

// over has one flush less run, and starts the next one if a call waits for it.
func (b *Batcher[T, R]) over() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all--
	b.start()
}

// take makes a batch of the queue's front.
func (b *Batcher[T, R]) take(cancel context.CancelFunc) *Batch[T, R] {
	most := b.s.batchWeight()
	b.mu.Lock()
	defer b.mu.Unlock()
	batch := &Batch[T, R]{owner: b, cancel: cancel}
	for _, c := range b.queue {
		if len(batch.calls) > 0 && batch.weight+c.weight > most {
			break
		}
		c.state, c.batch = sealed, batch
		batch.weight += c.weight
		batch.calls = append(batch.calls, c)
	}
	if len(batch.calls) == 0 {
		return nil
	}
	batch.waiting = len(batch.calls)
	b.queue = slices.Delete(b.queue, 0, len(batch.calls))
	b.start() // what did not fit
	return batch
}

// ended notes the end of a flush.
func (b *Batcher[T, R]) ended(batch *Batch[T, R], took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.linger.end(len(batch.calls), took, len(b.queue))
}

// deliver gives each caller that still waits its answer, or failure if the flush failed.
func (b *Batch[T, R]) deliver(failure error) {
	here := b.calls[:0:0]
	b.owner.mu.Lock()
	b.answering()
	for _, c := range b.calls {
		if c.state != left && c.state != over {
			c.state = over
			here = append(here, c)
		}
	}
	b.owner.mu.Unlock()
	for _, c := range here {
		c.final = c.staged
		if failure != nil {
			c.final = answer[R]{err: failure}
		}
		close(c.done)
	}
}

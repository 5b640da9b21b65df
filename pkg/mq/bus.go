package mq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/pkg/wait"
)

const (
	startPauseMin = 400 * time.Millisecond
	startPauseMax = 3 * time.Second

	// settleTime is what the client library needs, after a handler has returned, to note the result: it has no sign for
	// it, and Shutdown stores the offsets as they are. Without it the last messages would be delivered again.
	settleTime = 300 * time.Millisecond

	producerGroup = "mq-producer" // of messages without a transaction; nothing ever asks it anything
)

// Bus is a process's connection to the broker: one producer, at most one transactional producer, and its consumers.
// Build it with [Open], declare what is wanted, then Start it once.
//
// Identities and the order in which they come up matter. The client library hands check-backs to whichever of its
// clients was created first under an identity, and makes a transactional producer known to the broker at once only
// together with a consumer's heartbeat; otherwise transactions that a crash left open are not asked about. So the
// producers share the identity Config.Instance with a consumer of nothing, the beacon, and are created before it. The
// real consumers have an identity each, because the library lets the broker disturb a consumer that starts under an
// identity with another one.
type Bus struct {
	cfg      Config
	names    names
	resolver resolver
	metrics  *metrics
	known    map[string]struct{} // topics of Config.Topics

	// Declared before Start, constant after.
	tx     *txProducer
	subs   []*subscriber
	beacon *Topic        // nil without tx
	topics []neededTopic // all that must have a route, our names

	live  atomic.Pointer[connection] // nil unless running
	store atomic.Int64               // identity of the consumers' broker store; 0 while they are replaced
	gate  gate                       // counts checks and the hand-over of queues; each set of consumers has its own

	watching sync.WaitGroup // for a new store; begun by Start, ended by Close

	handovers sync.WaitGroup // of queues; begun inside the gate

	mu      sync.Mutex
	begun   bool               // Start was called
	closing bool               // Close was called
	cancel  context.CancelFunc // ends Start
	started chan struct{}      // closed when Start has returned
	closed  chan struct{}      // closed when Close is through
	closeOK error

	work       context.Context //nolint:containedctx // the parent of every handler's context; ends with Close.
	cancelWork context.CancelFunc
	stopWatch  context.CancelFunc
}

// Open checks cfg and returns a bus. It does not connect to anything. The error names all faults.
func Open(cfg Config) (*Bus, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("mq: %w", err)
	}
	cfg = cfg.withDefaults()
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("mq: %w", err)
	}
	setupLibrary(cfg.Log)
	b := &Bus{
		cfg: cfg, names: cfg.names(), resolver: resolver{cfg.Namesrv}, metrics: m,
		known:   make(map[string]struct{}),
		started: make(chan struct{}), closed: make(chan struct{}),
	}
	for _, t := range cfg.Topics {
		b.known[t.Name] = struct{}{}
		b.topics = append(b.topics, neededTopic{Topic: t})
	}
	b.work, b.cancelWork = context.WithCancel(context.Background())
	b.gate.init()
	return b, nil
}

// Producer returns the producer. It may be taken at any time; before Start has succeeded and after Close its Send fails
// with [ErrUnavailable].
func (b *Bus) Producer() Producer { return busProducer{b} }

// TxProducer declares the transactional producer: half messages carry group, and the broker asks any process of that
// group through check. So a group is one service and one kind of transaction. It panics when the group's name is bad,
// when there is one already (the client library can answer for one per process identity), or after Start.
func (b *Bus) TxProducer(group string, check Checker) TxProducer {
	b.mustDeclare("TxProducer", group)
	if b.tx != nil || check == nil || group == producerGroup {
		panic(fmt.Sprintf("mq: transactional producer %s: a bus has one, with a checker, and not %s", group, producerGroup))
	}
	b.tx = &txProducer{bus: b, group: group, check: check}
	return b.tx
}

// Subscribe declares a consumer. It panics when the subscription is wrong (a bad or repeated group, a topic that is
// neither in Config.Topics nor a dead-letter topic, no handler) or after Start. A group has one topic: the broker wants
// all consumers of a group to be alike.
func (b *Bus) Subscribe(s Subscription) {
	b.mustDeclare("Subscribe", s.Group)
	sub, err := b.newSubscriber(s)
	if err != nil {
		panic(fmt.Sprintf("mq: subscription of group %s: %v", s.Group, err))
	}
	b.subs = append(b.subs, sub)
}

func (b *Bus) mustDeclare(what, group string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.begun || b.closing {
		panic("mq: " + what + " after Start or Close")
	}
	if err := b.names.check(group); err != nil {
		panic(fmt.Sprintf("mq: %s: %v", what, err))
	}
}

// Start connects: it looks up the name servers, creates missing topics, waits for every route, and starts the
// transactional producer, then the producer, then the consumers. It logs a failure and retries from the beginning, with
// growing pauses, until ctx ends; then it returns [ErrUnavailable] with the last cause. ctx bounds the start only. A
// second Start, and a Start after Close, is an error.
func (b *Bus) Start(ctx context.Context) error {
	b.mu.Lock()
	if b.begun || b.closing {
		b.mu.Unlock()
		return errors.New("mq: the bus was started or closed before")
	}
	b.begun = true
	ctx, b.cancel = context.WithCancel(ctx)
	b.mu.Unlock()
	defer b.cancel()
	defer close(b.started)

	if err := claimInstance(b.cfg.Instance); err != nil {
		return err
	}
	b.declareRest()
	backoff := wait.Backoff{First: startPauseMin, Max: startPauseMax}
	for failures := 1; ; failures++ {
		c, err := b.connect(ctx)
		if err == nil {
			b.live.Store(c)
			b.watch(c) //nolint:contextcheck // ctx bounds the start only; watching ends with Close.
			return nil
		}
		b.cfg.Log.WarnContext(ctx, "message bus cannot start yet", "err", err, "failures", failures)
		if backoff.Sleep(ctx, failures) != nil {
			releaseInstance(b.cfg.Instance)
			return ErrUnavailable.NotExecuted().Wrap(err)
		}
	}
}

// declareRest adds what Start needs beyond the declarations: the beacon of a transactional producer and the groups' own
// topics.
func (b *Bus) declareRest() {
	if b.tx != nil {
		b.beacon = &Topic{Name: b.tx.group + "-beacon", Queues: 1}
		b.topics = append(b.topics, neededTopic{Topic: *b.beacon})
	}
	for _, s := range b.subs {
		if _, ok := b.known[s.Topic]; !ok && s.deadLetters() {
			b.topics = append(b.topics, neededTopic{Topic{Name: s.Topic, Queues: 1}, true})
		}
		b.topics = append(b.topics, groupTopics(s.Group)...)
	}
}

// Close stops: no handler begins any more, those running are waited for, then offsets are stored and connections
// closed. Handlers can send until they are done. When ctx is done first, their contexts are cancelled and the error
// says so; their messages will be delivered again. A second Close waits for the first. Close before or during Start is
// fine.
func (b *Bus) Close(ctx context.Context) error {
	b.mu.Lock()
	first := !b.closing
	b.closing = true
	begun, cancel := b.begun, b.cancel
	b.mu.Unlock()
	if !first {
		select {
		case <-b.closed:
			return b.closeOK
		case <-ctx.Done():
			return fmt.Errorf("mq: wait for the first Close: %w", ctx.Err())
		}
	}
	defer close(b.closed)
	if begun {
		cancel()
		<-b.started
	}
	c := b.live.Load()
	if c == nil {
		b.gate.shut()
		b.gate.open()
		b.cancelWork()
		return nil
	}
	b.stopWatch()
	b.watching.Wait()
	b.closeOK = b.drain(ctx, c)
	b.live.Store(nil)
	c.shutdown()
	b.gate.open()
	b.handovers.Wait()
	releaseInstance(b.cfg.Instance)
	return b.closeOK
}

// drain stops pulling and waits for the running handlers and checks.
func (b *Bus) drain(ctx context.Context, c *connection) error {
	defer b.cancelWork()
	b.gate.shut()
	if c.consumers != nil {
		if err := c.consumers.drain(ctx); err != nil {
			return err
		}
	}
	select {
	case <-b.gate.idle():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("mq: checks are still running: %w", ctx.Err())
	}
}

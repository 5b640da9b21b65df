package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
	"holdfast/pkg/mq"
	"holdfast/pkg/wait"
)

const (
	// DefaultCheckMemory is how many half messages a process reads, or has read and not answered, at one time. The reader
	// decides several thousand orders a second, so it has decided all of them before the broker's next scan, also on a
	// busy machine, and an interval settles as many. An entry takes less than a kilobyte.
	DefaultCheckMemory = 8192

	readBatch = 500             // half messages that are decided together
	readBytes = 64 << 10        // of them; an order number takes 29
	readTime  = 5 * time.Second // for deciding them
	readPause = time.Second     // after a failure; the questions come again anyway
	sweepTime = time.Second     // between two looks for answers that no question fetches
)

var errNoOrders = errors.New("no orders in the message")

// CheckBack answers the broker's question what became of a half message, from the orders' rows.
//
// PENDING and young: unknown. PENDING and old: the process that placed it is dead; the order becomes ABANDONED. If all
// orders of the message are ABANDONED it is committed, so that inventory releases whatever they hold. If one ended
// otherwise it is rolled back: the transactions that ended the orders have released what was to be released. An order
// without a row: its insert may be on its way while its number is young; later it was never inserted, and a release
// writes a tombstone only.
//
// The client library calls Check for all questions of a process on one goroutine, and the broker asks about every
// undecided half message in each interval. It stores the message anew when it asks, so an answer that comes after the
// next question delivers the message and leaves the newly stored one undecided: a checker that reads the database for
// each question never comes to an end once there are more undecided messages than it can answer in an interval. So
// Check only looks into memory. What is not there is unknown for the moment, and Run reads it, hundreds together, for
// the next question. Only ends that cannot change any more are remembered.
//
// Each replica reads for itself: the broker asks any of them.
type CheckBack struct {
	store  *store.Store
	grace  time.Duration
	log    *slog.Logger
	healed prometheus.Counter
	wake   chan struct{} // holds one value when there is something to read

	mu        sync.Mutex // held for microseconds; by sweep for a millisecond or two
	scans     scans
	swept     int // the scan of the last sweep
	memory    halfMemory
	undecided undecided
}

// CheckBackConfig is what a [CheckBack] needs.
type CheckBackConfig struct {
	Store    *store.Store
	Grace    time.Duration      // a PENDING order that is younger is being placed
	Interval time.Duration      // between two questions about a message: the broker's transactionCheckInterval
	Memory   int                // half messages; default DefaultCheckMemory
	Healed   prometheus.Counter // counts abandoned orders
	Log      *slog.Logger

	Registerer prometheus.Registerer // default none
}

// NewCheckBack returns a check-back. Check answers unknown to everything as long as Run does not run.
func NewCheckBack(c CheckBackConfig) *CheckBack {
	if c.Memory == 0 {
		c.Memory = DefaultCheckMemory
	}
	check := &CheckBack{
		store: c.Store, grace: c.Grace, log: c.Log, healed: c.Healed, wake: make(chan struct{}, 1),
		scans:     scans{interval: c.Interval},
		memory:    halfMemory{limit: c.Memory, halves: make(map[string]*half)},
		undecided: undecided{limit: undecidedPerMemory * c.Memory, seen: make(map[string]sighting)},
	}
	check.register(promauto.With(c.Registerer))
	return check
}

func (c *CheckBack) register(with promauto.Factory) {
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "order_half_messages_undecided",
		Help: "Half messages that this process was asked about in the broker's last two scans and could not answer.",
	}, func() float64 {
		n, _ := c.Undecided()
		return float64(n)
	})
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "order_half_message_oldest_seconds", Help: "Age of the oldest of the undecided half messages; 0 without any.",
	}, func() float64 {
		_, oldest := c.Undecided()
		return oldest.Seconds()
	})
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "order_check_back_memory", Help: "Half messages that wait to be read, and answers that wait for their question.",
	}, func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return float64(len(c.memory.halves))
	})
}

// Check answers from memory and never blocks. It is an [mq.Checker].
func (c *CheckBack) Check(m mq.Message) mq.TxState { return c.check(m, time.Now()) }

func (c *CheckBack) check(m mq.Message, now time.Time) mq.TxState {
	c.mu.Lock()
	defer c.mu.Unlock()
	scan := c.scans.question(now)
	state, admitted := c.memory.ask(m, scan, now)
	c.undecided.note(m, state, scan)
	if admitted {
		select {
		case c.wake <- struct{}{}:
		default: // Run has not looked yet; one look will do
		}
	}
	return state
}

// Undecided returns how many half messages this process was asked about in the last two of the broker's scans and could
// not answer, and the age of the oldest. With several replicas each is asked about its share.
func (c *CheckBack) Undecided() (n int, oldest time.Duration) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.scans.silent(now) {
		return 0, 0
	}
	return c.undecided.count(c.scans.number, now)
}

// Run decides what Check was asked about, until ctx is done.
func (c *CheckBack) Run(ctx context.Context) {
	tick := time.NewTicker(sweepTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case now := <-tick.C:
			c.sweep(now)
		}
		for ctx.Err() == nil && c.readNext(ctx) {
		}
	}
}

// sweep forgets what the broker does not ask about any more: once a scan, and when there are no more scans.
func (c *CheckBack) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	silent := c.scans.silent(now)
	if silent {
		c.undecided.clear()
	}
	if silent || c.swept != c.scans.number {
		c.swept = c.scans.number
		c.memory.sweep(c.scans.number, now)
		c.undecided.sweep(c.scans.number)
	}
}

// readNext decides one batch and reports whether there may be another one. What could not be read is forgotten: the
// broker asks about it again.
func (c *CheckBack) readNext(ctx context.Context) (more bool) {
	c.mu.Lock()
	batch := c.memory.next(readBatch, readBytes)
	c.mu.Unlock()
	if len(batch) == 0 {
		return false
	}
	deciding, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	answers, err := c.decide(deciding, batch)
	if err != nil && ctx.Err() == nil {
		c.log.WarnContext(ctx, "check-back failed", "half_messages", len(batch), "err", err)
	}
	now := time.Now()
	c.mu.Lock()
	c.memory.remember(batch, answers, c.scans.number, now)
	c.mu.Unlock()
	if err != nil {
		_ = wait.Sleep(ctx, readPause)
	}
	return true
}

// decide abandons the old orders among those of the half messages, and returns the state of each message whose end
// cannot change any more, by the message's id. A message is committed only after the COMMIT that made its orders
// ABANDONED.
func (c *CheckBack) decide(ctx context.Context, batch []*half) (map[string]mq.TxState, error) {
	orders := c.parse(ctx, batch)
	if err := c.abandon(ctx, orders); err != nil {
		return nil, err
	}
	var all []string
	for _, nos := range orders {
		all = append(all, nos...)
	}
	statuses, err := c.store.Statuses(ctx, all)
	if err != nil {
		return nil, err
	}
	answers := make(map[string]mq.TxState, len(orders))
	var rolledBack []string
	for id, nos := range orders {
		state := verdict(nos, statuses, c.grace)
		if state == mq.TxRollback {
			rolledBack = append(rolledBack, nos...)
		}
		if state != mq.TxUnknown {
			answers[id] = state
		}
	}
	return answers, c.store.RolledBack(ctx, rolledBack)
}

// parse returns the order numbers of each half message. A message that cannot be read is left out, so its state stays
// unknown: the broker parks it after its last question.
func (c *CheckBack) parse(ctx context.Context, batch []*half) map[string][]string {
	orders := make(map[string][]string, len(batch))
	for _, h := range batch {
		var body orderapi.StockRelease
		err := json.Unmarshal(h.body, &body)
		if err == nil && len(body.Orders) == 0 {
			err = errNoOrders
		}
		if err != nil {
			c.log.WarnContext(ctx, "half message cannot be read", "key", h.key, "err", err)
			continue
		}
		orders[h.id] = body.Orders
	}
	return orders
}

// abandon ends what is PENDING and old. A message of several orders is rolled back when another one of them ended
// otherwise; then the outbox has to announce the release of the abandoned ones.
func (c *CheckBack) abandon(ctx context.Context, orders map[string][]string) error {
	var single, grouped []string
	for _, nos := range orders {
		if len(nos) == 1 {
			single = append(single, nos...)
		} else {
			grouped = append(grouped, nos...)
		}
	}
	n, err := c.store.Abandon(ctx, single, c.grace, false, store.CheckBack)
	if err == nil {
		var m int
		m, err = c.store.Abandon(ctx, grouped, c.grace, true, store.CheckBack)
		n += m
	}
	c.healed.Add(float64(n))
	if n > 0 {
		crash.At(crash.OrderAbandoned)
	}
	return err
}

func verdict(orderNos []string, statuses map[string]order.Status, grace time.Duration) mq.TxState {
	state := mq.TxCommit
	for _, no := range orderNos {
		status, there := statuses[no]
		switch {
		case !there && young(no, grace), status == order.Pending:
			return mq.TxUnknown
		case there && status != order.Abandoned:
			state = mq.TxRollback
		}
	}
	return state
}

// young judges an order without a row by the time in its number.
func young(orderNo string, grace time.Duration) bool {
	id, err := ulid.ParseStrict(orderNo)
	return err == nil && time.Since(ulid.Time(id.Time())) < grace
}

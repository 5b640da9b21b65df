package redisstock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"gorm.io/gorm"

	"holdfast/inventory-srv/internal/batchfault"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/batch"
	"holdfast/pkg/fault"
)

// Name is the name of the strategy.
const Name = "redis-lua"

// Config is what the strategy needs. The zero value of an optional field means the default.
type Config struct {
	Client   redis.UniversalClient // required: of pkg/lock's kind, which obeys deadlines and does not retry
	DB       *gorm.DB              // required
	Store    *store.Store          // required: on DB
	Locker   Locker                // required: elects the replica that writes
	Log      *slog.Logger          // required
	Registry prometheus.Registerer // nil: nothing is registered

	Prefix string // of all keys; it has a hash tag, so that they are in one slot of a Cluster. Default "{holdfast-stock}:"
	// Entries that MySQL has not applied, beyond which nothing is reserved. Default 10,000. See maxAnswered.
	MaxWaiting int
	Idle       bool // this replica does not take part in the election of the writer
	// How long an order stays in Redis after MySQL has applied it; longer than a reserve may be repeated. Default 15 min.
	OrderLife time.Duration
}

// The defaults of Config.
const (
	DefaultPrefix     = "{holdfast-stock}:"
	DefaultMaxWaiting = 10_000
	DefaultOrderLife  = 15 * time.Minute
)

// A pipeline carries the calls that arrived during the previous one.
const (
	maxPipeline     = 1024
	maxArgs         = 700 // of one script: a hundred orders of one line, which block Redis for a millisecond or two
	pipelineTimeout = 2 * time.Second
	answerGrace     = time.Second // how long a caller waits past its deadline for an answer
)

// Faults of stock in Redis. Nothing was executed.
var (
	errShut   = fault.New(fault.Unavailable, "redis_stock_shut", "the stock in Redis is not open: it is being rebuilt, retry").NotExecuted()
	errEvicts = fault.New(fault.Unavailable, "redis_evicts", "Redis may throw keys away when it is full, stock too: set maxmemory-policy noeviction").NotExecuted()
)

// errRedis is a call whose outcome is unknown. A retry gets the first answer.
var errRedis = fault.New(fault.Unavailable, "redis_unavailable", "Redis does not answer")

// Counters are the stock counters in Redis, as one replica sees them. They are safe for concurrent use.
type Counters struct {
	*Projection
	cfg     Config
	scripts scripts
	keys    []string // meta and log
	replica string   // the name of this process in Redis
	calls   *batch.Batcher[call, reply]
	wake    chan struct{} // starts the election before the first SKU is in Redis
	metrics *metrics
	inUse   atomic.Bool

	mu       sync.Mutex
	epoch    int64
	received map[int64]int64 // the highest number of an answer, by epoch: the current one and the one before
	answered answered
}

// call is one execution of a script. Batched calls, as reservations are, share one execution.
type call struct {
	script  *redis.Script
	epoch   int64 // 0: the current one
	args    []any
	batched bool

	operation Operation // "": its answer has no number
	orderNo   string    // "": it is no operation of an order
}

// reply is the answer to a call.
type reply struct {
	fields []string
	epoch  int64 // in which Redis answered
	resent bool  // an earlier attempt got no answer: it may have been executed, in an earlier epoch
}

// NewCounters makes the counters. It sends nothing.
func NewCounters(cfg Config) *Counters {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if cfg.MaxWaiting == 0 {
		cfg.MaxWaiting = DefaultMaxWaiting
	}
	if cfg.OrderLife == 0 {
		cfg.OrderLife = DefaultOrderLife
	}
	c := &Counters{
		Projection: NewProjection(cfg.DB, cfg.Store.Ledger()), cfg: cfg, scripts: newScripts(), keys: []string{cfg.Prefix + "meta", cfg.Prefix + "log"}, wake: make(chan struct{}, 1),
		metrics: newMetrics(cfg.Registry), replica: rand.Text(), received: map[int64]int64{},
	}
	c.calls = batch.New(c.flush, batch.WithMaxWeight(maxPipeline), batch.WithTimeout(pipelineTimeout), batch.WithPatience(answerGrace))
	return c
}

// Close waits for the calls in flight.
func (c *Counters) Close() error { return c.calls.Close() }

// state returns the epoch to work in and the highest number of an answer in it.
func (c *Counters) state() (epoch, received int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch, c.received[c.epoch]
}

// prefix is what the keys of an epoch begin with.
func (c *Counters) prefix(epoch int64) string { return fmt.Sprintf("%s%d:", c.cfg.Prefix, epoch) }

// The verdicts of the scripts.
const (
	verdictOK        = "ok"        // executed, now or before
	verdictClosed    = "closed"    // the order was released
	verdictConfirmed = "confirmed" // the order cannot be released any more
	verdictMismatch  = "mismatch"  // the order number is another order's
	verdictShort     = "short"     // Redis has not enough; a refusal under the stock row locks only
	verdictAway      = "away"      // a SKU is not in Redis, or not yet
	verdictUnknown   = "unknown"   // Redis does not have the order; MySQL may have it
	verdictTombstone = "tombstone" // a tombstone was written; MySQL's follows
	verdictBusy      = "busy"      // too many entries wait for MySQL; nothing was executed
	verdictOld       = "old"
	verdictLost      = "lost"
	verdictEpoch     = "epoch"
	verdictShut      = "shut"
)

// do executes one call, batched with others, in the current epoch.
func (c *Counters) do(ctx context.Context, one call) (reply, error) {
	if one.orderNo != "" && c.full() {
		return reply{fields: []string{verdictBusy}}, nil
	}
	resent := false
	for {
		r, err := c.try(ctx, one)
		resent = resent || r.resent
		if err == nil {
			return r, nil
		}
		if again, ok := errors.AsType[*anotherEpoch](err); ok {
			if one.epoch == 0 {
				continue
			}
			err = again.cause
		}
		if resent && one.orderNo != "" {
			err = errRedis.Wrap(err)
		}
		return reply{}, err
	}
}

// anotherEpoch is a refusal of an epoch that has ended. The call may succeed in the new one.
type anotherEpoch struct{ cause error }

// Error implements error.
func (e *anotherEpoch) Error() string { return e.cause.Error() }

// try executes one call in one epoch. It returns *anotherEpoch when the epoch has ended.
func (c *Counters) try(ctx context.Context, one call) (reply, error) {
	epoch, _ := c.state()
	if epoch == 0 {
		if err := c.refresh(ctx); err != nil {
			return reply{}, err
		}
		if epoch, _ = c.state(); epoch == 0 {
			return reply{}, errShut
		}
	}
	r, err := c.calls.Do(ctx, one, 1)
	if own := batchfault.Of(err); own != nil {
		return reply{}, own
	}
	if err != nil {
		return reply{}, errRedis.Wrap(err)
	}
	refusal := shut(r.fields)
	if refusal == nil {
		return r, nil
	}
	if err := c.refresh(ctx); err != nil {
		return r, err
	}
	if now, _ := c.state(); now != epoch {
		return r, &anotherEpoch{refusal}
	}
	return r, refusal
}

// shut returns errShut for a verdict that the epoch must not be used.
func shut(answer []string) error {
	switch answer[0] {
	case verdictLost, verdictEpoch, verdictShut:
		return errShut.WithText("the stock in Redis is not open (%s): it is being rebuilt, retry", strings.Join(answer, " "))
	}
	return nil
}

// refresh reads the epoch from MySQL. The epoch that Redis has proves nothing: Redis may be an old replica.
func (c *Counters) refresh(ctx context.Context) error {
	p, err := c.Position(ctx)
	if err != nil {
		return fault.From(err).NotExecuted().Wrap(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch = p.Epoch
	// Two refreshes may end in the wrong order and bring the previous epoch back for a moment.
	maps.DeleteFunc(c.received, func(epoch, _ int64) bool { return epoch < p.Epoch-1 })
	return nil
}

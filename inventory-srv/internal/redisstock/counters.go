package redisstock

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"holdfast/inventory-srv/internal/batchfault"
	"holdfast/inventory-srv/internal/store"
	"holdfast/pkg/batch"
	"holdfast/pkg/fault"
)

// Strategy is the name by which reservations that were made here are known in MySQL.
const Strategy = "redis-lua"

// Config says where the counters are. The zero value of what is not required means the default.
type Config struct {
	Client   redis.UniversalClient // required: of pkg/lock's kind, which obeys deadlines and repeats nothing by itself
	Store    *store.Store          // required
	Locker   Locker                // required: elects the replica that writes
	Log      *slog.Logger          // required
	Registry prometheus.Registerer // nil: nothing is registered

	Prefix     string        // of all keys; it has a hash tag, so that they are in one slot of a Cluster. Default "{holdfast-stock}:"
	MaxWaiting int           // entries that MySQL has not followed yet, beyond which nothing is reserved. Default 10,000
	OrderLife  time.Duration // how long an order stays in Redis after MySQL has followed it: longer than a reserve may be repeated. Default 15 min
}

// The defaults of Config.
const (
	DefaultPrefix     = "{holdfast-stock}:"
	DefaultMaxWaiting = 10_000
	DefaultOrderLife  = 15 * time.Minute
)

// How calls travel together: as many as there are while another pipeline is on its way.
const (
	maxPipeline     = 1024
	maxArgs         = 700 // of one script: about a hundred orders of one line, a millisecond or two for which Redis does nothing else
	pipelineTimeout = 2 * time.Second
	answerGrace     = time.Second // how long a caller waits past its deadline for an answer that is on its way
)

// Faults of stock in Redis. Nothing was executed.
var (
	errShut   = fault.New(fault.Unavailable, "redis_stock_shut", "the stock in Redis is not open: it is being rebuilt, ask again").NotExecuted()
	errEvicts = fault.New(fault.Unavailable, "redis_evicts", "Redis may throw keys away when it is full, stock too: set maxmemory-policy noeviction").NotExecuted()
)

// errRedis is a call of which nobody knows whether it was executed. Asked again, it answers as the first time.
var errRedis = fault.New(fault.Unavailable, "redis_unavailable", "Redis does not answer")

// Counters are the stock counters in Redis, as one replica sees them. They are safe for concurrent use.
type Counters struct {
	cfg     Config
	scripts scripts
	keys    []string // meta and log
	calls   *batch.Batcher[call, []string]
	nudge   chan struct{} // has this replica stand for election before the first SKU is in Redis
	metrics *metrics
	inUse   atomic.Bool

	mu    sync.Mutex
	epoch int64
	seen  int64 // the highest seq that was answered in this epoch
	net   int64 // and the net with it
}

// call is one question. Those that are to travel in company, as reservations are, share one execution of their script.
type call struct {
	script  *redis.Script
	epoch   int64 // 0: the current one
	args    []any
	company bool
}

// New makes the counters and asks nothing yet.
func New(cfg Config) *Counters {
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
		cfg: cfg, scripts: newScripts(), keys: []string{cfg.Prefix + "meta", cfg.Prefix + "log"}, nudge: make(chan struct{}, 1),
		metrics: newMetrics(cfg.Registry),
	}
	c.calls = batch.New(c.flush, batch.WithMaxWeight(maxPipeline), batch.WithTimeout(pipelineTimeout), batch.WithPatience(answerGrace))
	return c
}

// Close waits for the calls that are on their way.
func (c *Counters) Close() error { return c.calls.Close() }

// state returns the epoch to work in and the highest seq that was answered in it.
func (c *Counters) state() (epoch, seen int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch, c.seen
}

// prefix is what the keys of an epoch begin with.
func (c *Counters) prefix(epoch int64) string { return fmt.Sprintf("%s%d:", c.cfg.Prefix, epoch) }

// saw remembers the newest entry that this replica was told of. If Redis should ever know less than that, it has lost something.
func (c *Counters) saw(epoch int64, seqText, netText string) {
	seq, err := strconv.ParseInt(seqText, 10, 64)
	if err != nil || seq == 0 {
		return
	}
	net, err := strconv.ParseInt(netText, 10, 64)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch == c.epoch && seq > c.seen {
		c.seen, c.net = seq, net
	}
}

// The verdicts of the scripts.
const (
	verdictOK        = "ok"
	verdictClosed    = "closed"
	verdictConfirmed = "confirmed"
	verdictMismatch  = "mismatch"
	verdictShort     = "short"
	verdictAway      = "away"
	verdictUnknown   = "unknown"
	verdictBuried    = "buried"
	verdictBusy      = "busy"
	verdictOld       = "old"
	verdictLost      = "lost"
	verdictEpoch     = "epoch"
	verdictShut      = "shut"
)

// do executes one call together with others, in the epoch of the moment.
func (c *Counters) do(ctx context.Context, one call) ([]string, error) {
	for {
		epoch, _ := c.state()
		if epoch == 0 {
			if err := c.refresh(ctx); err != nil {
				return nil, err
			}
			if epoch, _ = c.state(); epoch == 0 {
				return nil, errShut
			}
		}
		answer, err := c.calls.Do(ctx, one, 1)
		if own := batchfault.Of(err); own != nil {
			return nil, own
		}
		if err != nil {
			return nil, errRedis.Wrap(err)
		}
		err = shut(answer)
		if err == nil {
			return answer, nil
		}
		if err := c.refresh(ctx); err != nil {
			return nil, err
		}
		if now, _ := c.state(); one.epoch != 0 || now == epoch {
			return nil, err
		}
	}
}

// shut returns errShut for an answer by which the epoch must not be worked with.
func shut(answer []string) error {
	switch answer[0] {
	case verdictLost, verdictEpoch, verdictShut:
		return errShut.WithText("the stock in Redis is not open (%s): it is being rebuilt, ask again", strings.Join(answer, " "))
	}
	return nil
}

// refresh reads from MySQL which epoch it is. That Redis says it would prove nothing: it may be an old replica. Whoever comes
// from an epoch that ended with a loss reports what it had been answered.
func (c *Counters) refresh(ctx context.Context) error {
	p, err := c.cfg.Store.Position(ctx)
	if err != nil {
		return fault.From(err).NotExecuted().Wrap(err)
	}
	c.mu.Lock()
	was, seen, net := c.epoch, c.seen, c.net
	if p.Epoch != was {
		c.epoch, c.seen, c.net = p.Epoch, 0, 0
	}
	c.mu.Unlock()
	if was == 0 || was == p.Epoch || seen == 0 {
		return nil
	}
	loss, ok, err := c.cfg.Store.ReportLoss(ctx, was, seen, net)
	if err != nil {
		c.cfg.Log.WarnContext(ctx, "what Redis lost is not reported", "epoch", was, "seq", seen, "net", net, "err", err)
		return nil
	}
	if ok {
		c.cfg.Log.ErrorContext(ctx, "redis has lost what it had answered",
			"epoch", was, "reason", loss.Reason, "operations", loss.Operations, "units", loss.Units)
	}
	return nil
}

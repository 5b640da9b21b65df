package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/admit"
	"holdfast/pkg/batch"
	"holdfast/pkg/crash"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/pkg/telemetry"
)

const (
	// GroupQueue is the consumer group of order-queued.
	GroupQueue = "order-queue"

	// workTime is how long a worker tries to decide an order before it leaves the order to the next delivery of its
	// message. With the time for writing outcomes, twice for orders whose rows others have locked, it ends before mq gives
	// the handler up.
	workTime = 4 * time.Second

	// workOverlap is how long a worker's group keeps the next one waiting. A group that takes longer waits for something
	// that is not this service's work.
	workOverlap = 100 * time.Millisecond

	// workGroups is how many groups of a replica's workers inventory is asked for at the same time. If there were more
	// than it decides within attemptTimeout, each call would be given up and repeated while inventory still works on it.
	workGroups = 4

	depthInterval = 200 * time.Millisecond // between two readings of the queue's depth
	idleInterval  = 5 * time.Second        // the same while the queue is empty and no order comes
	depthTime     = 2 * time.Second        // of one reading

	resendGroup = 100         // orders of one message that is sent again
	resendTime  = time.Second // of sending one: a broker that hangs must not hold the sweeper
)

// Queue takes orders now and decides them later. A normal message names the orders of a group; workers in each replica
// receive it and place the orders at the pace of the stock. A peak of orders becomes a queue, and not a load.
//
// The broker keeps the order of the work, the database the truth about it: queued_orders has a row for each order that
// waits. A message that is lost is sent again from there, one that comes twice finds the orders decided.
//
// Idea:        answer when the order is stored, decide it when there is time.
// Steps:       PENDING and queued_orders → order-queued → 202; worker: reserve → PLACED or REJECTED.
// Goes wrong:  a queue without a bound; a worker that trusts its message and places an order that was given up.
// Cost:        the caller has to ask for the outcome, and two statements more for each group of orders.
// Choose it:   orders come in peaks that the stock cannot follow, and buyers accept to wait.
type Queue struct {
	Base
	Deps
	groups  *batch.Batcher[delivery, struct{}]
	asked   atomic.Bool // an order came since the depth was read
	room    room
	metrics queueMetrics
}

var _ Flow = (*Queue)(nil)

// delivery is what a worker has of one message.
type delivery struct {
	orderNos  []string
	requestID string            // of the message: that of its first order
	ids       map[string]string // of its orders' requests, if it has several
}

// queueMetrics are the queue's. All replicas report the same depth and age: they share the queue.
type queueMetrics struct {
	depth, oldest   prometheus.Gauge
	drained, resent prometheus.Counter
}

// NewQueue returns the flow.
func NewQueue(d Deps) *Queue {
	with := promauto.With(d.Registry)
	f := &Queue{Deps: d, room: room{max: d.QueueMax}, metrics: queueMetrics{
		depth:   with.NewGauge(prometheus.GaugeOpts{Name: "order_queue_depth", Help: "Orders that wait in the queue."}),
		oldest:  with.NewGauge(prometheus.GaugeOpts{Name: "order_queue_oldest_seconds", Help: "Age of the oldest order in the queue; 0 without any."}),
		drained: with.NewCounter(prometheus.CounterOpts{Name: "order_queue_drained_total", Help: "Orders that the workers of this process have decided."}),
		resent:  with.NewCounter(prometheus.CounterOpts{Name: "order_queue_resent_total", Help: "Orders whose message the sweeper of this process has sent again."}),
	}}
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "order_queue_entering",
		Help: "Orders that this process has let into the queue and that its last reading of the depth may not contain.",
	}, func() float64 {
		_, since := f.room.used()
		return float64(since)
	})
	limit := func() int { return f.Pace.Limit() }
	f.groups = batch.New(f.work, batch.WithMaxWeight(MaxGroup), batch.WithLimit(limit), batch.WithOverlap(workOverlap), batch.WithMaxFlushes(workGroups),
		batch.WithTimeout(workTime+3*DecideTime))
	return f
}

// Admit implements Flow. An order that is let in has a place from then on, not only when its row can be counted: on a
// busy machine hundreds are let in before the first of them is inserted. So one replica keeps to QueueMax. Of several
// replicas each keeps to it with what it has let in itself and what it has read, and does not know what the others
// inserted since it began to read: by so many orders the queue may exceed QueueMax.
func (f *Queue) Admit() (settle func(inserted bool), err error) {
	f.asked.Store(true)
	if !f.room.take() {
		return nil, admit.ErrOverloaded.WithText("%s", "the queue of orders is full and did not take the order; retry after the time in Retry-After, with the same Idempotency-Key")
	}
	return f.room.settle, nil
}

// Begin implements Flow.
func (f *Queue) Begin(tx *store.Tx, orders []order.Order) error { return tx.Enqueue(orders) }

// Decided implements Flow.
func (f *Queue) Decided(tx *store.Tx, orderNos []string) error { return tx.Dequeue(orderNos) }

// Left implements Leaver. An order that has ended is not in the queue; a row that is there all the same names an order
// that is gone from then on.
func (f *Queue) Left(tx *store.Tx, orderNos []string) error { return tx.Dequeue(orderNos) }

// Place implements Flow. It sends the message and leaves the orders PENDING. Without a message they are rejected: the
// caller can then go elsewhere, while an order that waited for the sweeper would be decided half a minute later.
func (f *Queue) Place(ctx context.Context, group []*Member) {
	orders := make([]order.Order, len(group))
	orderNos := make([]string, len(group))
	for i, m := range group {
		orders[i], orderNos[i] = m.Order, m.OrderNo
	}
	// Sending gets half of the time. If the broker hangs, the rest is for the refusal.
	sending, cancel := context.WithTimeout(ctx, time.Until(latest(group))/2)
	defer cancel()
	if err := f.send(sending, orderNos, requestIDs(orders)); err != nil {
		// The broker may have the message although its answer is missing: a worker may be reserving.
		f.unsent(ctx, group, err, fault.Ambiguous(err))
		return
	}
	crash.AtGroup(crash.OrderQueued, len(group))
}

func (f *Queue) send(ctx context.Context, orderNos []string, ids map[string]string) error {
	body, err := json.Marshal(orderapi.OrderQueued{Orders: orderNos, RequestIDs: ids})
	if err != nil {
		return fmt.Errorf("encode order-queued: %w", err)
	}
	return f.Send.Send(ctx, mq.Message{Topic: orderapi.TopicOrderQueued, Key: orderNos[0], Body: body})
}

// Subscriptions implements Flow.
func (f *Queue) Subscriptions() []mq.Subscription {
	return []mq.Subscription{{Group: GroupQueue, Topic: orderapi.TopicOrderQueued, Handler: f.handle}}
}

// handle takes a message. It returns when each of its orders is decided, or with an error that has the message come
// again after a pause.
func (f *Queue) handle(ctx context.Context, m mq.Message) error {
	var body orderapi.OrderQueued
	if err := json.Unmarshal(m.Body, &body); err != nil {
		return mq.Discard(fmt.Errorf("decode order-queued: %w", err))
	}
	if len(body.Orders) == 0 {
		return mq.Discard(errors.New("decode order-queued: it names no order"))
	}
	_, err := f.groups.Do(ctx, delivery{body.Orders, telemetry.RequestID(ctx), body.RequestIDs}, len(body.Orders))
	return err
}

// work places the orders of the messages that came at the same time. Lone orders that arrive one by one are thus placed
// in groups when they have to wait, as the intake does it for other flows.
func (f *Queue) work(ctx context.Context, b *batch.Batch[delivery, struct{}]) {
	ids := map[string]string{} // of requests, by order number
	for _, c := range b.Calls() {
		for _, no := range c.Item.orderNos {
			ids[no] = cmp.Or(c.Item.ids[no], c.Item.requestID)
		}
	}
	open, untried, err := f.drain(ctx, ids)
	if err == nil && len(untried) > 0 {
		err = f.passOn(ctx, untried)
	}
	for _, c := range b.Calls() {
		left := slices.IndexFunc(c.Item.orderNos, func(no string) bool { return open[no] })
		switch {
		case err != nil:
			c.Answer(struct{}{}, err)
		case left >= 0:
			c.Answer(struct{}{}, fmt.Errorf("order %s is still pending", c.Item.orderNos[left]))
		default:
			c.Answer(struct{}{}, nil)
		}
	}
}

// passOn sends a new message about orders for which a worker had no time. The old message would come again after a
// pause that grows with each delivery: a slow stock decides a part of its orders each time, and the last ones would
// wait for minutes although the stock could take them.
func (f *Queue) passOn(ctx context.Context, orders []order.Order) error {
	orderNos := make([]string, len(orders))
	for i, o := range orders {
		orderNos[i] = o.OrderNo
	}
	sending, cancel := context.WithTimeout(telemetry.WithRequestID(ctx, orders[0].RequestID), resendTime)
	defer cancel()
	if err := f.send(sending, orderNos, requestIDs(orders)); err != nil {
		return fmt.Errorf("pass on %d orders, the first %s: %w", len(orders), orderNos[0], err)
	}
	f.Log.InfoContext(ctx, "queued orders passed on, a worker had no time for them", "order_no", orderNos[0], "orders", len(orders))
	return f.Upkeep.MarkQueued(ctx, orderNos) // else the sweeper sends them once more
}

// drain decides those of the orders that are still PENDING. It returns those that it has tried and that stay so, and
// those for which the time did not suffice. Their rows decide, not the message: it may come twice, or late. An order
// that is too old is left to the sweeper, so that no unit is reserved for an order that is about to be abandoned.
func (f *Queue) drain(ctx context.Context, ids map[string]string) (open map[string]bool, untried []order.Order, err error) {
	orderNos := make([]string, 0, len(ids))
	for no := range ids {
		orderNos = append(orderNos, no)
	}
	orders, err := f.Store.Queued(ctx, orderNos, f.QueueTimeout)
	if err != nil {
		return nil, nil, err
	}
	open = map[string]bool{}
	deadline := time.Now().Add(workTime)
	took := leastAttempt // by the chunk before
	for chunk := range slices.Chunk(orders, f.Pace.Limit()) {
		group := make([]*Member, len(chunk))
		for i, o := range chunk {
			o.RequestID = ids[o.OrderNo]
			group[i] = NewMember(o, Caller{Deadline: deadline}, nil)
			group[i].queued, group[i].window = true, f.PaymentTime
		}
		if time.Until(group[0].reserveEnd()) < max(took, leastAttempt) { // the stock is slow
			for _, m := range group {
				untried = append(untried, m.Order)
			}
			continue
		}
		begin := time.Now()
		f.Resolve(ctx, group)
		took = time.Since(begin)
		for _, m := range group {
			if m.open {
				open[m.OrderNo] = true
				continue
			}
			f.metrics.drained.Inc()
		}
	}
	return open, untried, nil
}

// Workers implements Flow.
func (f *Queue) Workers() []func(context.Context) { return []func(context.Context){f.measure} }

// measure reads the depth of the queue until ctx is done: often while orders come or wait, and else for the metrics
// alone.
func (f *Queue) measure(ctx context.Context) {
	tick := time.NewTicker(depthInterval)
	defer tick.Stop()
	read := time.Time{}
	for {
		depth, since := f.room.used()
		if f.asked.Swap(false) || depth+since > 0 || time.Since(read) >= idleInterval {
			if err := f.readDepth(ctx); err != nil && ctx.Err() == nil {
				f.Log.WarnContext(ctx, "queue not measured", "err", err)
			}
			read = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *Queue) readDepth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, depthTime)
	defer cancel()
	contained := f.room.begin()
	depth, oldest, err := f.Upkeep.QueueState(ctx)
	if err != nil {
		return err // the orders that were let in keep their places
	}
	f.room.end(contained, depth)
	f.metrics.depth.Set(float64(depth))
	f.metrics.oldest.Set(oldest.Seconds())
	return nil
}

// StalePending implements Flow.
func (f *Queue) StalePending() time.Duration { return min(f.SweepAfter, f.QueueTimeout) }

// Recover implements Flow. It abandons the orders that have waited for too long, and asks inventory by message to
// release what they hold: a worker may have died after it reserved. The others it sends again.
func (f *Queue) Recover(ctx context.Context, orderNos []string) (int, error) {
	n, err := f.Upkeep.Abandon(ctx, orderNos, f.QueueTimeout, true, store.Sweeper)
	if err != nil {
		return n, err
	}
	unsent, err := f.Upkeep.StaleQueued(ctx, orderNos, f.SweepAfter)
	if err != nil {
		return n, err
	}
	for group := range slices.Chunk(unsent, resendGroup) {
		if err := f.resend(ctx, group); err != nil {
			// It is no failure of the sweeper, which would try the orders one by one. The next pass sends them.
			f.Log.WarnContext(ctx, "queued orders not sent again", "order_no", group[0], "orders", len(unsent), "err", err)
			break
		}
	}
	return n, nil
}

// resend sends a message about orders that have waited for long: theirs was lost, or a worker could not decide them. It
// is marked after it was sent. If the process dies in between, the message is sent once more, which changes nothing.
func (f *Queue) resend(ctx context.Context, orderNos []string) error {
	sending, cancel := context.WithTimeout(ctx, resendTime)
	defer cancel()
	if err := f.send(sending, orderNos, nil); err != nil { // their requests' ids are not stored
		return err
	}
	f.metrics.resent.Add(float64(len(orderNos)))
	return f.Upkeep.MarkQueued(ctx, orderNos)
}

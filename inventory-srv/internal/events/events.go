// Package events is inventory-srv's side of the broker: it executes on the stock what order-srv announces. It is the
// only package of the service that knows topics.
//
// A message may arrive several times and in any order. The operations are idempotent by order number, so a handler
// repeats them. It returns an error for what a retry may mend, discards what is not a message, and acknowledges a
// definite refusal and counts it as an alarm: order-srv's reconciler decides what follows.
package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"

	"holdfast/inventory-srv/internal/stock"
	"holdfast/inventory-srv/inventoryapi"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
	"holdfast/pkg/fault"
	"holdfast/pkg/mq"
	"holdfast/pkg/telemetry"
)

// The consumer groups. Each receives every message once.
const (
	GroupRelease = inventoryapi.GroupRelease
	GroupEvents  = inventoryapi.GroupEvents
)

// Ender ends reservations; stock.Reserver is one.
type Ender interface {
	Confirm(ctx context.Context, orderNo string) error
	Release(ctx context.Context, orderNo string) error
}

// Consumers holds the handlers.
type Consumers struct {
	stock    Ender
	log      *slog.Logger
	alarms   *prometheus.CounterVec
	repeats  prometheus.Counter
	released *released
	partial  *partial
}

// New makes the handlers and registers their metrics with registry, unless it is nil.
func New(s Ender, log *slog.Logger, registry prometheus.Registerer) *Consumers {
	repeats := promauto.With(registry).NewCounter(prometheus.CounterOpts{
		Name: "stock_release_repeats_total",
		Help: "Deliveries of stock-release for an order that this process had released before; they change nothing.",
	})
	return &Consumers{stock: s, log: log, repeats: repeats, released: newReleased(keptReleases), partial: newPartial(keptPartial), alarms: promauto.With(registry).NewCounterVec(prometheus.CounterOpts{
		Name: "stock_event_alarms_total",
		Help: "Events that contradict the ledger: a payment of what is not held, a release of what is sold.",
	}, []string{"event", "code"})}
}

// Topics are those that the service receives from and sends to. order-srv names them too.
func Topics() []mq.Topic {
	return []mq.Topic{
		{Name: orderapi.TopicStockRelease},
		{Name: orderapi.TopicOrderEvents},
		{Name: orderapi.TopicStockReserve},
		{Name: inventoryapi.TopicStockReserved},
	}
}

// Subscriptions joins the handlers to their topics.
func (c *Consumers) Subscriptions() []mq.Subscription {
	return []mq.Subscription{
		{Group: GroupRelease, Topic: orderapi.TopicStockRelease, Handler: c.StockRelease},
		{Group: GroupEvents, Topic: orderapi.TopicOrderEvents, Ordered: true, Handler: c.OrderEvent},
	}
}

// StockRelease releases the message's orders, or writes their tombstones. The failure of one order does not keep the
// others from being released; the broker then delivers the message again, and the orders that failed are retried.
func (c *Consumers) StockRelease(ctx context.Context, m mq.Message) error {
	ctx = withRequestID(ctx, m)
	var body orderapi.StockRelease
	if err := json.Unmarshal(m.Body, &body); err != nil {
		return mq.Discard(fmt.Errorf("read a stock release: %w", err))
	}
	if len(body.Orders) == 0 {
		return mq.Discard(errors.New("read a stock release: it names no order"))
	}
	return c.each(m, body.Orders, func(orderNo string) error {
		err := c.stock.Release(ctx, orderNo)
		if err == nil && c.released.record(orderNo) {
			c.repeats.Inc()
		}
		return c.verdict(ctx, orderapi.TopicStockRelease, orderNo, err)
	})
}

// OrderEvent confirms paid orders and releases those that were cancelled or have expired.
func (c *Consumers) OrderEvent(ctx context.Context, m mq.Message) error {
	ctx = withRequestID(ctx, m)
	var body orderapi.OrderEvent
	if err := json.Unmarshal(m.Body, &body); err != nil {
		return mq.Discard(fmt.Errorf("read an order event: %w", err))
	}
	end := c.stock.Release
	switch body.Status {
	case orderapi.StatusPaid:
		end = c.stock.Confirm
	case orderapi.StatusCancelled, orderapi.StatusExpired:
	default:
		return mq.Discard(fmt.Errorf("read an order event: unknown status %q", body.Status))
	}
	return c.each(m, body.All(), func(orderNo string) error {
		return c.verdict(ctx, body.Status, orderNo, end(ctx, orderNo))
	})
}

// parallel is how many orders of one message are ended at the same time.
const parallel = 32

// each ends the orders of a message. The failure of one does not keep the others from being ended; the broker then
// delivers the message again, and those that failed are retried.
func (c *Consumers) each(m mq.Message, orderNos []string, end func(orderNo string) error) error {
	orderNos = c.partial.left(m.ID, orderNos)
	errs := make([]error, len(orderNos))
	var running errgroup.Group
	running.SetLimit(parallel)
	for i, no := range orderNos {
		running.Go(func() error {
			errs[i] = end(no)
			return nil
		})
	}
	_ = running.Wait() // the errors are in errs
	var retry, discard error
	var ended []string
	for i, err := range errs {
		switch {
		case err == nil:
			ended = append(ended, orderNos[i])
		case mq.IsDiscard(err):
			discard = errors.Join(discard, err)
		default:
			retry = errors.Join(retry, err)
		}
	}
	if retry != nil {
		c.partial.add(m.ID, ended)
		return retry // the retry finds the discarded orders again
	}
	c.partial.forget(m.ID)
	return discard
}

// verdict turns an operation's error into the handler's result.
func (c *Consumers) verdict(ctx context.Context, event, orderNo string, err error) error {
	switch {
	case err == nil:
		if event == orderapi.StatusPaid {
			crash.At(crash.InventoryConfirmed)
		} else {
			crash.At(crash.InventoryReleased)
		}
		return nil
	case errors.Is(err, stock.ErrInvalidOrderNo):
		return mq.Discard(fmt.Errorf("%s %q: %w", event, orderNo, err))
	case errors.Is(err, stock.ErrClosed), errors.Is(err, stock.ErrUnknownOrder), errors.Is(err, stock.ErrStockLost), errors.Is(err, stock.ErrConfirmed):
		c.alarms.WithLabelValues(event, fault.From(err).Code).Inc()
		c.log.ErrorContext(ctx, "event contradicts the ledger", "event", event, "order_no", orderNo, "err", err)
		return nil
	}
	return fmt.Errorf("%s %s: %w", event, orderNo, err)
}

// withRequestID adds the id of the request that sent the message to the logs.
func withRequestID(ctx context.Context, m mq.Message) context.Context {
	if id := m.Headers[mq.HeaderRequestID]; id != "" {
		return telemetry.WithRequestID(ctx, id)
	}
	return ctx
}

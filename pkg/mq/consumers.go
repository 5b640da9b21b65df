package mq

import (
	"context"
	"fmt"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"holdfast/pkg/wait"
)

// consumers are the started consumers of a process, all of one store of the broker.
type consumers struct {
	bus  *Bus
	gate gate // counts their handlers
	list []rocketmq.PushConsumer
}

// startConsumers starts a consumer for each subscription. After an error none runs.
func (b *Bus) startConsumers(ctx context.Context, store int64) (*consumers, error) {
	c := &consumers{bus: b}
	c.gate.init()
	for _, s := range b.subs {
		err := ctx.Err()
		if err == nil {
			err = c.start(s, store)
		}
		if err != nil {
			c.gate.shut()
			c.shutdown()
			return nil, fmt.Errorf("consumer %s: %w", s.Group, err)
		}
	}
	return c, nil
}

// start starts one consumer. It has an identity of its own, and another one in each store, as its group has.
func (c *consumers) start(s *subscriber, store int64) error {
	names := c.bus.names
	topic := names.full(s.Topic)
	if s.deadLetters() {
		topic = names.ofStore(s.Topic, store)
	}
	options := []consumer.Option{
		consumer.WithGroupName(names.ofStore(s.Group, store)),
		consumer.WithInstance(c.bus.cfg.Instance + "/" + s.Group + storeSuffix(store)), // no instance has a slash
		consumer.WithConsumeGoroutineNums(s.Workers),
		consumer.WithConsumerOrder(s.Ordered),
		consumer.WithMaxReconsumeTimes(s.maxReconsumeTimes()),
	}
	handle := func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		return s.concurrently(ctx, &c.gate, msgs...)
	}
	if s.Ordered {
		queues := newHandover(c.bus) // for each attempt: what an earlier one knew is gone with its client
		options = append(options, consumer.WithStrategy(queues.allocate))
		handle = func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			return s.orderly(ctx, &c.gate, queues, msgs...)
		}
	}
	pc, err := c.bus.startConsumer(topic, handle, options...)
	if err == nil {
		c.list = append(c.list, pc)
	}
	return err
}

// startBeacon starts the consumer of nothing under the identity of the producers. It outlives a store: it has no
// offsets that could be wrong, and the producers need it.
func (b *Bus) startBeacon() (rocketmq.PushConsumer, error) {
	name := b.names.full(b.beacon.Name)
	handle := func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		return consumer.ConsumeSuccess, nil
	}
	pc, err := b.startConsumer(name, handle, consumer.WithGroupName(name), consumer.WithInstance(b.cfg.Instance))
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w", b.beacon.Name, err)
	}
	return pc, nil
}

// startConsumer builds and starts one consumer. One that did not start must not be shut down: the library panics, or
// has done so itself.
func (b *Bus) startConsumer(topic string, handle func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error),
	options ...consumer.Option,
) (rocketmq.PushConsumer, error) {
	pc, err := rocketmq.NewPushConsumer(append([]consumer.Option{
		consumer.WithNsResolver(b.resolver),
		consumer.WithConsumerModel(consumer.Clustering),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), // else a new group may skip what came before it
		consumer.WithConsumeMessageBatchMaxSize(1),
	}, options...)...)
	if err != nil {
		return nil, err
	}
	if err := pc.Subscribe(topic, consumer.MessageSelector{}, handle); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	if err := pc.Start(); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	return pc, nil
}

// drain lets no handler begin any more and waits for those that run, until ctx is done.
func (c *consumers) drain(ctx context.Context) error {
	c.gate.shut()
	for _, pc := range c.list {
		pc.Suspend() // stops pulling
	}
	select {
	case <-c.gate.idle():
		_ = wait.Sleep(ctx, settleTime)
		return nil
	case <-ctx.Done():
		return fmt.Errorf("mq: handlers are still running: %w", ctx.Err())
	}
}

// shutdown closes the consumers, which must have been drained: the library does not wait for handlers. It stores their
// offsets.
func (c *consumers) shutdown() {
	for _, pc := range c.list {
		_ = pc.Shutdown() // returns nil, always
	}
	c.gate.open()
}

package mq

import (
	"context"
	"fmt"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// connection is one set of started client objects.
type connection struct {
	tx        rocketmq.TransactionProducer // nil without one
	producer  rocketmq.Producer
	consumers []rocketmq.PushConsumer
}

// connect makes one attempt to start everything. Topics come first: a consumer on a missing topic fails, and cannot be
// started again. What an attempt has started it shuts down when it fails, because the library keeps the first client of
// an instance, with the check-back channel of its producer, until all who share it have gone.
func (b *Bus) connect(ctx context.Context) (*connection, error) {
	if err := b.ensureTopics(ctx); err != nil {
		return nil, err
	}
	c := &connection{}
	if err := b.startClients(ctx, c); err != nil {
		c.shutdown()
		return nil, err
	}
	return c, nil
}

func (b *Bus) startClients(ctx context.Context, c *connection) error {
	if b.tx != nil {
		tx, err := rocketmq.NewTransactionProducer(b.tx, b.producerOptions(b.tx.group)...)
		if err != nil {
			return fmt.Errorf("transactional producer %s: %w", b.tx.group, err)
		}
		if err := tx.Start(); err != nil {
			return fmt.Errorf("start the transactional producer %s: %w", b.tx.group, err)
		}
		c.tx = tx
	}
	p, err := rocketmq.NewProducer(b.producerOptions(producerGroup)...)
	if err != nil {
		return fmt.Errorf("producer: %w", err)
	}
	if err := p.Start(); err != nil {
		return fmt.Errorf("start the producer: %w", err)
	}
	c.producer = p
	for _, s := range b.subs {
		if err := ctx.Err(); err != nil {
			return err
		}
		pc, err := b.startConsumer(s)
		if err != nil {
			return fmt.Errorf("consumer %s: %w", s.Group, err)
		}
		c.consumers = append(c.consumers, pc)
	}
	return nil
}

func (b *Bus) producerOptions(group string) []producer.Option {
	return []producer.Option{
		producer.WithNsResolver(b.resolver),
		producer.WithGroupName(b.names.full(group)),
		producer.WithInstanceName(b.cfg.Instance),
		producer.WithSendMsgTimeout(sendTimeout),
		producer.WithRetry(0), // ours knows which failures are ambiguous, and retries "busy" as well
		producer.WithQueueSelector(producer.NewHashQueueSelector()),
	}
}

// startConsumer builds and starts one consumer. One that did not start must not be shut down: the library panics, or
// has done so itself.
func (b *Bus) startConsumer(s *subscriber) (rocketmq.PushConsumer, error) {
	options := []consumer.Option{
		consumer.WithNsResolver(b.resolver),
		consumer.WithGroupName(b.names.full(s.Group)),
		consumer.WithInstance(s.identity),
		consumer.WithConsumerModel(consumer.Clustering),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset), // else a new group may skip what came before it
		consumer.WithConsumeMessageBatchMaxSize(1),
		consumer.WithConsumeGoroutineNums(s.Workers),
		consumer.WithConsumerOrder(s.Ordered),
		consumer.WithMaxReconsumeTimes(s.maxReconsumeTimes()),
	}
	handle := s.concurrently
	if s.Ordered {
		queues := newHandover(b) // for each attempt: what an earlier one knew is gone with its client
		options = append(options, consumer.WithStrategy(queues.allocate))
		handle = func(ctx context.Context, msgs ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			return s.orderly(ctx, queues, msgs...)
		}
	}
	pc, err := rocketmq.NewPushConsumer(options...)
	if err != nil {
		return nil, err
	}
	if err := pc.Subscribe(b.names.full(s.Topic), consumer.MessageSelector{}, handle); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	if err := pc.Start(); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	return pc, nil
}

// suspend stops the consumers' pulling.
func (c *connection) suspend() {
	for _, pc := range c.consumers {
		pc.Suspend()
	}
}

// shutdown closes everything that was started, consumers first.
// The library's Shutdown methods return nil, always.
func (c *connection) shutdown() {
	for _, pc := range c.consumers {
		_ = pc.Shutdown()
	}
	if c.producer != nil {
		_ = c.producer.Shutdown()
	}
	if c.tx != nil {
		_ = c.tx.Shutdown()
	}
}

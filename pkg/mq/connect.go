package mq

import (
	"context"
	"fmt"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// connection is one set of started client objects.
type connection struct {
	tx        rocketmq.TransactionProducer // nil without one
	producer  rocketmq.Producer
	beacon    rocketmq.PushConsumer // nil without tx
	consumers *consumers            // replaced when the broker has a new store, by watch; nil while there are none
}

// connect makes one attempt to start everything. Topics come first: a consumer on a missing topic fails and cannot be
// started again. An attempt that fails shuts down what it has started: the library keeps the first client of an
// instance, with the check-back channel of its producer, until all its producers and consumers are shut down.
func (b *Bus) connect(ctx context.Context) (*connection, error) {
	store, err := b.identify(ctx, onBroker)
	if err != nil {
		return nil, err
	}
	if _, err := b.ensureTopics(ctx, store); err != nil {
		return nil, err
	}
	c := &connection{}
	if err := b.startClients(ctx, c, store); err != nil {
		c.shutdown()
		return nil, err
	}
	b.store.Store(store)
	return c, nil
}

func (b *Bus) startClients(ctx context.Context, c *connection, store int64) error {
	if err := b.awaitRoutes(ctx, store); err != nil {
		return err
	}
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
	if b.beacon != nil {
		if c.beacon, err = b.startBeacon(); err != nil {
			return err
		}
	}
	c.consumers, err = b.startConsumers(ctx, store)
	return err
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

// shutdown closes everything that was started, consumers first.
// The library's Shutdown methods return nil, always.
func (c *connection) shutdown() {
	if c.consumers != nil {
		c.consumers.shutdown()
	}
	if c.beacon != nil {
		_ = c.beacon.Shutdown()
	}
	if c.producer != nil {
		_ = c.producer.Shutdown()
	}
	if c.tx != nil {
		_ = c.tx.Shutdown()
	}
}

package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/crash"
	"holdfast/pkg/mq"
	"holdfast/pkg/outbox"
)

const (
	// headerEarly counts how often an order-timeout came early and was sent again.
	headerEarly = "early"

	// maxEarly bounds that. One round is normal: the broker delays by 72 h at most. A second is left for clocks that
	// differ by a moment. When the broker's clock is far ahead of ours, every further round would begin at once.
	maxEarly = 3

	// earlyPause is the least delay of a message that is sent again, as the time left may be a microsecond.
	earlyPause = time.Second
)

// GroupTimeout is the consumer group of order-timeout.
const GroupTimeout = "order-timeout"

// Timeout handles order-timeout: each order's row decides whether it expires. The timeout of an order whose time has
// not come by the database's clock is sent again through send, as the broker's own retries are numbered and the last
// one would be a dead letter. After maxEarly rounds it is dropped, and the sweeper expires the order.
func Timeout(s *store.Store, send mq.Producer, log *slog.Logger) mq.Handler {
	t := &timeouts{store: s, send: send, log: log}
	return func(ctx context.Context, m mq.Message) error {
		var body orderapi.OrderTimeout
		if err := json.Unmarshal(m.Body, &body); err != nil {
			return mq.Discard(fmt.Errorf("decode order-timeout: %w", err))
		}
		if len(body.Orders) == 0 {
			return mq.Discard(errors.New("decode order-timeout: it names no order"))
		}
		rounds, _ := strconv.Atoi(m.Headers[headerEarly]) // 0 without the header
		return t.expire(ctx, body.Orders, rounds)
	}
}

type timeouts struct {
	store *store.Store
	send  mq.Producer
	log   *slog.Logger
}

// expire expires the orders together. Those whose rows others have locked are waited for when the rest is done. After
// an error the whole message comes again, and finds what has ended.
func (t *timeouts) expire(ctx context.Context, orderNos []string, rounds int) error {
	outcomes, locked, err := t.store.Expire(ctx, orderNos, 0, store.NoHealer, len(orderNos) > 1)
	if err != nil {
		return fmt.Errorf("expire %d orders, the first %s: %w", len(orderNos), orderNos[0], err)
	}
	var early []string
	expired := false
	for _, no := range orderNos {
		expired = expired || outcomes[no] == store.Expired
		if outcomes[no] == store.Early {
			early = append(early, no)
		}
	}
	if expired {
		crash.At(crash.OrderExpired)
	}
	if len(early) > 0 {
		err = t.again(ctx, early, rounds)
	}
	for _, no := range locked {
		err = errors.Join(err, t.expire(ctx, []string{no}, rounds))
	}
	return err
}

// again sends the timeout of orders that are early.
func (t *timeouts) again(ctx context.Context, orderNos []string, rounds int) error {
	left, err := t.store.Remaining(ctx, orderNos)
	if err != nil {
		return err
	}
	if rounds >= maxEarly {
		t.log.WarnContext(ctx, "order-timeout comes early again and again, the sweeper will expire the orders; compare the clocks of broker and database",
			"order_no", orderNos[0], "orders", len(orderNos), "left", left)
		return nil
	}
	payload, err := json.Marshal(orderapi.OrderTimeout{Orders: orderNos})
	if err != nil {
		return err
	}
	err = t.send.Send(ctx, mq.Message{
		Topic: orderapi.TopicOrderTimeout, Key: orderNos[0], Body: payload, DeliverAt: time.Now().Add(min(max(left, earlyPause), outbox.MaxDelay)),
		Headers: map[string]string{headerEarly: strconv.Itoa(rounds + 1)},
	})
	if err != nil {
		return fmt.Errorf("send the timeout of %s again: %w", orderNos[0], err)
	}
	return nil
}

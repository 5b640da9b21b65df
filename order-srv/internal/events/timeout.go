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
		var failed error
		for _, orderNo := range body.Orders {
			failed = errors.Join(failed, t.expire(ctx, orderNo, rounds))
		}
		return failed // the whole message comes again, which does no harm
	}
}

type timeouts struct {
	store *store.Store
	send  mq.Producer
	log   *slog.Logger
}

func (t *timeouts) expire(ctx context.Context, orderNo string, rounds int) error {
	outcome, err := t.store.Expire(ctx, orderNo, 0, store.NoHealer)
	if err != nil {
		return fmt.Errorf("expire %s: %w", orderNo, err)
	}
	switch outcome {
	case store.Expired:
		crash.At(crash.OrderExpired)
	case store.Early:
		return t.again(ctx, orderNo, rounds)
	case store.Ended:
	}
	return nil
}

// again sends the timeout of an order that is early.
func (t *timeouts) again(ctx context.Context, orderNo string, rounds int) error {
	left, err := t.store.Remaining(ctx, orderNo)
	if err != nil {
		return err
	}
	if rounds >= maxEarly {
		t.log.WarnContext(ctx, "order-timeout comes early again and again, the sweeper will expire the order; compare the clocks of broker and database",
			"order_no", orderNo, "left", left)
		return nil
	}
	payload, err := json.Marshal(orderapi.OrderTimeout{Orders: []string{orderNo}})
	if err != nil {
		return err
	}
	err = t.send.Send(ctx, mq.Message{
		Topic: orderapi.TopicOrderTimeout, Key: orderNo, Body: payload, DeliverAt: time.Now().Add(min(max(left, earlyPause), maxDelay)),
		Headers: map[string]string{headerEarly: strconv.Itoa(rounds + 1)},
	})
	if err != nil {
		return fmt.Errorf("send the timeout of %s again: %w", orderNo, err)
	}
	return nil
}

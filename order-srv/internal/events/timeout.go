package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/internal/crash"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq"
)

// Timeout handles order-timeout: each order's row decides whether it expires. An order whose time has not come, because
// the broker's clock is ahead of the database's, is sent on its way again through send: the broker's own retries are
// numbered, and the last one would be a dead letter.
func Timeout(s *store.Store, send mq.Producer) mq.Handler {
	return func(ctx context.Context, m mq.Message) error {
		var body orderapi.OrderTimeout
		if err := json.Unmarshal(m.Body, &body); err != nil {
			return mq.Discard(fmt.Errorf("decode order-timeout: %w", err))
		}
		if len(body.Orders) == 0 {
			return mq.Discard(errors.New("decode order-timeout: it names no order"))
		}
		var failed error
		for _, orderNo := range body.Orders {
			failed = errors.Join(failed, expire(ctx, s, send, orderNo))
		}
		return failed // the whole message comes again, which does no harm
	}
}

func expire(ctx context.Context, s *store.Store, send mq.Producer, orderNo string) error {
	outcome, err := s.Expire(ctx, orderNo, 0, store.Nobody)
	if err != nil {
		return fmt.Errorf("expire %s: %w", orderNo, err)
	}
	if outcome == store.Expired {
		crash.At(crash.OrderExpired)
	}
	if outcome != store.Early {
		return nil
	}
	left, err := s.Remaining(ctx, orderNo)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(orderapi.OrderTimeout{Orders: []string{orderNo}})
	if err != nil {
		return err
	}
	err = send.Send(ctx, mq.Message{
		Topic: orderapi.TopicOrderTimeout, Key: orderNo, Body: payload, DeliverAt: time.Now().Add(min(left, maxDelay)),
	})
	if err != nil {
		return fmt.Errorf("order %s is early, ask again: %w", orderNo, err)
	}
	return nil
}

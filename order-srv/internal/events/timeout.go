package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq"
)

var errEarly = errors.New("the order's time is not over yet, by the database's clock")

// Timeout handles order-timeout: the row decides whether the order expires. A message that comes early, because the
// broker's clock is ahead of the database's, is asked for again.
func Timeout(s *store.Store) mq.Handler {
	return func(ctx context.Context, m mq.Message) error {
		var body orderapi.OrderTimeout
		if err := json.Unmarshal(m.Body, &body); err != nil {
			return mq.Discard(fmt.Errorf("decode order-timeout: %w", err))
		}
		early := false
		for _, orderNo := range body.Orders {
			outcome, err := s.Expire(ctx, orderNo)
			if err != nil {
				return err
			}
			early = early || outcome == store.Early
		}
		if early {
			return errEarly
		}
		return nil
	}
}

package flow

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq"
)

// CheckBack answers the broker's question what became of a half message, from the rows alone.
//
// PENDING and young: unknown. PENDING and old: whoever placed it is dead; it becomes ABANDONED, and the message is
// committed, so that inventory releases whatever the order holds. Any other end: rolled back, as the transaction that
// ended the order saw to its stock. No row at all: the insert may be on its way while the order number is young; then it
// never came, and the release does no harm.
func CheckBack(s *store.Store, grace time.Duration, healed prometheus.Counter) mq.Checker {
	return func(ctx context.Context, m mq.Message) (mq.TxState, error) {
		var body orderapi.StockRelease
		if err := json.Unmarshal(m.Body, &body); err != nil || len(body.Orders) == 0 {
			return mq.TxRollback, fmt.Errorf("a half message that names no orders: %w", err)
		}
		n, err := s.Abandon(ctx, body.Orders, grace, false)
		if err != nil {
			return mq.TxUnknown, err
		}
		healed.Add(float64(n))
		c, err := s.Check(ctx, body.Orders)
		switch {
		case err != nil:
			return mq.TxUnknown, err
		case c.Open > 0:
			return mq.TxUnknown, nil
		case c.Known < len(body.Orders):
			return absent(body.Orders, grace), nil
		case c.Abandoned == c.Known:
			return mq.TxCommit, nil
		}
		return mq.TxRollback, nil
	}
}

// absent judges a message with orders that have no row by the time in their numbers.
func absent(orderNos []string, grace time.Duration) mq.TxState {
	for _, no := range orderNos {
		id, err := ulid.ParseStrict(no)
		if err == nil && time.Since(ulid.Time(id.Time())) < grace {
			return mq.TxUnknown
		}
	}
	return mq.TxCommit
}

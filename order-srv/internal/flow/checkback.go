package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"holdfast/internal/crash"
	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/mq"
)

var errNoOrders = errors.New("it names no orders")

// CheckBack answers the broker's question what became of a half message, from the rows alone.
//
// PENDING and young: unknown. PENDING and old: whoever placed it is dead; it becomes ABANDONED. If all orders of the
// message are ABANDONED it is committed, so that inventory releases whatever they hold. If one ended otherwise it is
// rolled back: the transactions that ended the orders saw to their stock. An order without a row: its insert may be on
// its way while its number is young; then it never came, and a release does no harm.
func CheckBack(s *store.Store, grace time.Duration, healed prometheus.Counter) mq.Checker {
	return func(ctx context.Context, m mq.Message) (mq.TxState, error) {
		var body orderapi.StockRelease
		err := json.Unmarshal(m.Body, &body)
		if err == nil && len(body.Orders) == 0 {
			err = errNoOrders
		}
		if err != nil {
			return mq.TxUnknown, fmt.Errorf("read a half message: %w", err)
		}
		// In a group another order may have ended otherwise; the message is rolled back then, so the outbox has to tell.
		n, err := s.Abandon(ctx, body.Orders, grace, len(body.Orders) > 1, store.CheckBack)
		healed.Add(float64(n))
		if err != nil {
			return mq.TxUnknown, err
		}
		if n > 0 {
			crash.At(crash.OrderAbandoned)
		}
		statuses, err := s.Statuses(ctx, body.Orders)
		if err != nil {
			return mq.TxUnknown, err
		}
		state := verdict(body.Orders, statuses, grace)
		if state == mq.TxRollback {
			return state, s.RolledBack(ctx, body.Orders)
		}
		return state, nil
	}
}

func verdict(orderNos []string, statuses map[string]order.Status, grace time.Duration) mq.TxState {
	state := mq.TxCommit
	for _, no := range orderNos {
		status, there := statuses[no]
		switch {
		case !there && young(no, grace), status == order.Pending:
			return mq.TxUnknown
		case there && status != order.Abandoned:
			state = mq.TxRollback
		}
	}
	return state
}

// young judges an order without a row by the time in its number.
func young(orderNo string, grace time.Duration) bool {
	id, err := ulid.ParseStrict(orderNo)
	return err == nil && time.Since(ulid.Time(id.Time())) < grace
}

package inventoryapi

import (
	"context"
	"net/http"
	"time"
)

// TopicStockReserved carries the answers to order-srv's stock-reserve messages.
const TopicStockReserved = "stock-reserved"

// StockReserved is the body on TopicStockReserved. Each order is in one message: an order is answered once. A problem
// is a refusal, never a failure that a retry may mend.
type StockReserved struct {
	Results []ReserveResult `json:"results"`

	// RequestIDs are the ids of the orders' requests, by order number, as the command had them.
	RequestIDs map[string]string `json:"request_ids,omitempty"`

	// Looked is a time, by inventory's clock, before inventory looked at the stock for these orders. Zero: an order names
	// its strategy, or the sender is of an earlier version.
	Looked time.Time `json:"looked,omitzero"`
}

// AnswersRequest is POST /v1/reservations/answers, with up to MaxStates orders.
type AnswersRequest struct {
	OrderNos []string `json:"order_nos"`
}

// AnswersResponse has, of those of the orders that came by message and were answered, whether the answer is a refusal.
type AnswersResponse struct {
	Refused map[string]bool `json:"refused"`
}

// Answers returns, of those of the orders that came by message and were answered, whether the answer is a refusal.
func (c *Client) Answers(ctx context.Context, orderNos []string) (refused map[string]bool, err error) {
	var out AnswersResponse
	err = c.rest.Do(ctx, http.MethodPost, "/v1/reservations/answers", AnswersRequest{OrderNos: orderNos}, &out)
	return out.Refused, err
}

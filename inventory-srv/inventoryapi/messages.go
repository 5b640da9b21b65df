package inventoryapi

import (
	"context"
	"net/http"
)

// TopicStockReserved carries the answers to order-srv's stock-reserve messages.
const TopicStockReserved = "stock-reserved"

// StockReserved is the body on TopicStockReserved. Each order is in one message: an order is answered once. A problem
// is a refusal, never a failure that a retry may mend.
type StockReserved struct {
	Results []ReserveResult `json:"results"`
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

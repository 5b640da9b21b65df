package inventoryapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// MaxParked bounds the parked messages that one call lists or sends again.
const MaxParked = 1000

// Outbox is GET /v1/outbox?limit=: what inventory-srv has to send, and up to limit of the messages that its relay
// parked, the oldest first.
type Outbox struct {
	Unsent   int             `json:"unsent"`
	OldestMS int64           `json:"oldest_ms"` // age of the oldest unsent message; 0 without any; milliseconds
	Parked   []ParkedMessage `json:"parked"`
}

// ParkedMessage is a message that the relay could not send and that waits for an operator.
type ParkedMessage struct {
	EventID  string    `json:"event_id"`
	Topic    string    `json:"topic"`
	Key      string    `json:"key"`
	Body     string    `json:"body"`
	Attempts int       `json:"attempts"`
	Failure  string    `json:"failure"` // of the last attempt
	ParkedAt time.Time `json:"parked_at"`
}

// ResendRequest is POST /v1/outbox/resend: up to Limit parked messages, the oldest first, are sent again.
type ResendRequest struct {
	Limit int `json:"limit"` // 1 to MaxParked
}

// ResendResponse says how many messages are sent again.
type ResendResponse struct {
	Resent int `json:"resent"`
}

// Outbox returns the state of inventory-srv's outbox, with up to limit parked messages.
func (c *Client) Outbox(ctx context.Context, limit int) (Outbox, error) {
	var out Outbox
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	err := c.rest.Do(ctx, http.MethodGet, "/v1/outbox?"+q.Encode(), nil, &out)
	return out, err
}

// ResendParked has up to limit parked messages sent again and returns how many.
func (c *Client) ResendParked(ctx context.Context, limit int) (int, error) {
	var out ResendResponse
	err := c.rest.Do(ctx, http.MethodPost, "/v1/outbox/resend", ResendRequest{Limit: limit}, &out)
	return out.Resent, err
}

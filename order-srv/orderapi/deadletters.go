package orderapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The sources of dead letters that a relay parked: order-srv's and inventory-srv's. The other sources are consumer
// groups.
const (
	SourceOutbox          = "outbox"
	SourceInventoryOutbox = "inventory-outbox"
)

// DeadLetter is a message that was given up: by a relay, which could not send it, or by a consumer.
type DeadLetter struct {
	Source string    `json:"source"` // outbox, inventory-outbox or the consumer group
	ID     string    `json:"id"`     // the event's in an outbox, else the broker's
	Topic  string    `json:"topic"`
	Key    string    `json:"key"` // an order number as a rule
	Body   string    `json:"body"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"` // when it was given up
}

// DeadLetters is GET /v1/dead-letters?limit=.
type DeadLetters struct {
	DeadLetters []DeadLetter `json:"dead_letters"`
}

// ResendRequest is POST /v1/dead-letters/resend.
type ResendRequest struct {
	Source string `json:"source,omitempty"` // empty: all
	Limit  int    `json:"limit,omitempty"`  // 1 to 1,000; default 100
}

// ResendResponse says how many were sent again.
type ResendResponse struct {
	Resent int `json:"resent"`
}

// DeadLetters lists messages that were given up. Admins only.
func (s *Session) DeadLetters(ctx context.Context, limit int) (DeadLetters, error) {
	var out DeadLetters
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	err := s.rest.Do(ctx, http.MethodGet, "/v1/dead-letters?"+q.Encode(), nil, &out)
	return out, err
}

// ResendDeadLetters has messages sent again that were given up. Admins only.
func (s *Session) ResendDeadLetters(ctx context.Context, r ResendRequest) (ResendResponse, error) {
	var out ResendResponse
	err := s.rest.Do(ctx, http.MethodPost, "/v1/dead-letters/resend", r, &out)
	return out, err
}

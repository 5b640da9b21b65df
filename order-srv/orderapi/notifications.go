package orderapi

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"holdfast/order-srv/internal/order"
)

// WebhookRequest is PUT /v1/webhook.
type WebhookRequest struct {
	URL string `json:"url"`
}

// Webhook is where the user is notified. Secret is in the answer to PUT alone.
type Webhook struct {
	URL       string    `json:"url"`
	Secret    string    `json:"secret,omitempty"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Notification is what became of the notification about one event of an order.
type Notification struct {
	ID         string     `json:"id"` // of the event; the receiver gets the same
	Event      string     `json:"event"`
	State      string     `json:"state"`    // pending, sending, delivered, given_up
	Attempts   int        `json:"attempts"` // of all time
	LastStatus int        `json:"last_status,omitempty"`
	LastError  string     `json:"last_error,omitempty"`
	NextAt     *time.Time `json:"next_at,omitempty"` // the next attempt; while one goes on, the end of its claim
	OccurredAt time.Time  `json:"occurred_at"`
	UpdatedAt  time.Time  `json:"updated_at"`
}

// Notifications is GET /v1/orders/{order_no}/notifications.
type Notifications struct {
	Notifications []Notification `json:"notifications"`
}

// The states of a Notification.
const (
	NotificationPending   = string(order.NotificationPending)
	NotificationSending   = string(order.NotificationSending)
	NotificationDelivered = string(order.NotificationDelivered)
	NotificationGivenUp   = string(order.NotificationGivenUp)
)

// OrderNotification is the body on TopicOrderNotifications.
type OrderNotification struct {
	OrderNo string `json:"order_no"`
	Event   string `json:"event"`
}

// FromWebhook is a webhook as clients see it, without its secret.
func FromWebhook(w order.Webhook) Webhook { return Webhook{URL: w.URL, UpdatedAt: w.UpdatedAt} }

// FromNotification is a notification as clients see it.
func FromNotification(n order.Notification) Notification {
	return Notification{
		ID: n.ID(), Event: n.Event, State: string(n.State), Attempts: n.Attempts, LastStatus: n.LastStatus, LastError: n.Failure,
		NextAt: optional(n.NextAt), OccurredAt: n.OccurredAt, UpdatedAt: n.UpdatedAt,
	}
}

// CheckNotification returns ErrUnknownNotification for what cannot be the id of a notification of the order.
func CheckNotification(orderNo, id string) error { return order.CheckNotification(orderNo, id) }

// PutWebhook sets the user's webhook and returns its secret, this once. ErrInvalidWebhook, ErrWebhookRefused.
func (s *Session) PutWebhook(ctx context.Context, r WebhookRequest) (Webhook, error) {
	var w Webhook
	err := s.rest.Do(ctx, http.MethodPut, "/v1/webhook", r, &w)
	return w, err
}

// Webhook returns the user's webhook without its secret, or ErrUnknownWebhook.
func (s *Session) Webhook(ctx context.Context) (Webhook, error) {
	var w Webhook
	err := s.rest.Do(ctx, http.MethodGet, "/v1/webhook", nil, &w)
	return w, err
}

// DeleteWebhook deletes the user's webhook. ErrUnknownWebhook.
func (s *Session) DeleteWebhook(ctx context.Context) error {
	return s.rest.Do(ctx, http.MethodDelete, "/v1/webhook", nil, nil)
}

// Notifications returns the notifications about one of the user's own orders. ErrNotFound.
func (s *Session) Notifications(ctx context.Context, orderNo string) (Notifications, error) {
	var n Notifications
	err := s.rest.Do(ctx, http.MethodGet, "/v1/orders/"+url.PathEscape(orderNo)+"/notifications", nil, &n)
	return n, err
}

// ResendNotification has a notification sent again. While an attempt goes on, that attempt is it.
// ErrUnknownNotification, ErrUnknownWebhook.
func (s *Session) ResendNotification(ctx context.Context, orderNo, id string) (Notification, error) {
	var n Notification
	err := s.rest.Do(ctx, http.MethodPost, "/v1/orders/"+url.PathEscape(orderNo)+"/notifications/"+url.PathEscape(id)+"/resend", nil, &n)
	return n, err
}

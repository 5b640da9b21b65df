package notify

import (
	"context"
	"crypto/rand"
	"net/netip"
	"net/url"
	"strconv"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/internal/store"
)

// maxURL is the width of the column.
const maxURL = 1024

// Webhooks are the buyers' webhooks, checked before they are stored.
type Webhooks struct {
	Store *store.Store
	Guard Guard
	HTTP  bool // URLs of the scheme http are allowed, as in lab mode: their notifications can be read on their way
}

// Put sets the user's webhook and gives it a new secret. order.ErrInvalidWebhook, or order.ErrWebhookRefused when the
// host is an address that may not be called. What a name resolves to is not checked here, as it may change: see Guard.
func (w Webhooks) Put(ctx context.Context, userID, rawURL string) (order.Webhook, error) {
	if err := w.check(rawURL); err != nil {
		return order.Webhook{}, err
	}
	return w.Store.PutWebhook(ctx, order.Webhook{UserID: userID, URL: rawURL, Secret: "whsec_" + rand.Text()})
}

// Get returns the user's webhook, or order.ErrUnknownWebhook.
func (w Webhooks) Get(ctx context.Context, userID string) (order.Webhook, error) {
	return w.Store.Webhook(ctx, userID)
}

// Delete deletes the user's webhook. order.ErrUnknownWebhook without one.
func (w Webhooks) Delete(ctx context.Context, userID string) error {
	return w.Store.DeleteWebhook(ctx, userID)
}

func (w Webhooks) check(rawURL string) error {
	for _, b := range []byte(rawURL) {
		if b <= ' ' || b > '~' { // the host of another alphabet is written as punycode
			return order.ErrInvalidWebhook
		}
	}
	u, err := url.Parse(rawURL)
	if err != nil || len(rawURL) > maxURL || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return order.ErrInvalidWebhook
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !w.HTTP) {
		return order.ErrInvalidWebhook
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return order.ErrInvalidWebhook
		}
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := w.Guard.Check(a); err != nil {
			return order.ErrWebhookRefused.Wrap(err)
		}
	}
	return nil
}

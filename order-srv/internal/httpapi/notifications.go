package httpapi

import (
	"context"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"

	"holdfast/order-srv/internal/order"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/web"
)

// Webhooks are where buyers are notified.
type Webhooks interface {
	Put(ctx context.Context, userID, url string) (order.Webhook, error)
	Get(ctx context.Context, userID string) (order.Webhook, error)
	Delete(ctx context.Context, userID string) error
}

// putWebhook is the one answer that has the secret.
func (a *api) putWebhook(c *gin.Context) (int, any, error) {
	id, err := user(c)
	if err != nil {
		return 0, nil, err
	}
	var r orderapi.WebhookRequest
	if err := web.Decode(c, &r); err != nil {
		return 0, nil, err
	}
	w, err := a.Webhooks.Put(c.Request.Context(), id, r.URL)
	if err != nil {
		return 0, nil, err
	}
	out := orderapi.FromWebhook(w)
	out.Secret = w.Secret
	return http.StatusOK, out, nil
}

func (a *api) webhook(c *gin.Context) (int, any, error) {
	id, err := user(c)
	if err != nil {
		return 0, nil, err
	}
	w, err := a.Webhooks.Get(c.Request.Context(), id)
	return http.StatusOK, orderapi.FromWebhook(w), err
}

func (a *api) deleteWebhook(c *gin.Context) (int, any, error) {
	id, err := user(c)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, a.Webhooks.Delete(c.Request.Context(), id)
}

// notifications answers about one of the user's own orders.
func (a *api) notifications(c *gin.Context) (int, any, error) {
	id, orderNo, err := ownOrder(c)
	if err != nil {
		return 0, nil, err
	}
	found, err := a.Orders.Notifications(c.Request.Context(), id, orderNo)
	out := orderapi.Notifications{Notifications: make([]orderapi.Notification, len(found))}
	for i, n := range found {
		out.Notifications[i] = orderapi.FromNotification(n)
	}
	return http.StatusOK, out, err
}

func (a *api) resendNotification(c *gin.Context) (int, any, error) {
	id, orderNo, err := ownOrder(c)
	if err != nil {
		return 0, nil, err
	}
	event := c.Param("id")
	if err := order.CheckNotification(orderNo, event); err != nil {
		return 0, nil, err
	}
	n, err := a.Orders.Resend(c.Request.Context(), id, orderNo, strings.TrimPrefix(event, orderNo+":"))
	return http.StatusOK, orderapi.FromNotification(n), err
}

// ownOrder returns the user and the number of an order, which need not be the user's.
func ownOrder(c *gin.Context) (userID, orderNo string, err error) {
	if userID, err = user(c); err != nil {
		return "", "", err
	}
	orderNo = c.Param("order_no")
	return userID, orderNo, order.CheckNumber(orderNo)
}

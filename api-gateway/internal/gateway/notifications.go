package gateway

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"holdfast/order-srv/orderapi"
	"holdfast/pkg/web"
)

// putWebhook sets where the caller is notified. Its answer is the only one that has the secret.
func (g *gateway) putWebhook(c *gin.Context) (int, any, error) {
	var in orderapi.WebhookRequest
	if err := web.Decode(c, &in); err != nil {
		return 0, nil, err
	}
	w, err := g.session(c).PutWebhook(c.Request.Context(), in)
	return http.StatusOK, w, err
}

func (g *gateway) getWebhook(c *gin.Context) (int, any, error) {
	w, err := g.session(c).Webhook(c.Request.Context())
	return http.StatusOK, w, err
}

func (g *gateway) deleteWebhook(c *gin.Context) (int, any, error) {
	return http.StatusNoContent, nil, g.session(c).DeleteWebhook(c.Request.Context())
}

// notifications answers about one of the caller's own orders.
func (g *gateway) notifications(c *gin.Context) (int, any, error) {
	orderNo, err := orderNo(c)
	if err != nil {
		return 0, nil, err
	}
	found, err := g.session(c).Notifications(c.Request.Context(), orderNo)
	return http.StatusOK, found, err
}

func (g *gateway) resendNotification(c *gin.Context) (int, any, error) {
	orderNo, err := orderNo(c)
	if err != nil {
		return 0, nil, err
	}
	id := c.Param("id")
	if err := orderapi.CheckNotification(orderNo, id); err != nil { // it becomes part of an internal path
		return 0, nil, err
	}
	n, err := g.session(c).ResendNotification(c.Request.Context(), orderNo, id)
	return http.StatusOK, n, err
}

package gateway_test

import (
	"testing"
	"time"

	"holdfast/order-srv/orderapi"
)

// TestWebhook passes the caller's own webhook and notifications on: whose they are comes from the token.
func TestWebhook(t *testing.T) {
	t.Parallel()
	hook := orderapi.Webhook{URL: "https://shop.example/hook", Secret: "whsec_x", UpdatedAt: time.Unix(1, 0).UTC()}
	n := orderapi.Notification{ID: "7:order.paid", Event: "order.paid", State: orderapi.NotificationGivenUp, Attempts: 8, LastStatus: 500}
	d := open(t, options{}, map[string]any{
		"PUT /v1/webhook": hook, "GET /v1/webhook": hook,
		"GET /v1/orders/7/notifications":                      orderapi.Notifications{Notifications: []orderapi.Notification{n}},
		"POST /v1/orders/7/notifications/7:order.paid/resend": n,
	}, nil)
	token := d.token("ann", "buyer")
	wantBody(t, d.do("PUT", "/v1/webhook", `{"url":"https://shop.example/hook"}`, token), 200, hook)
	wantBody(t, d.do("GET", "/v1/webhook", "", token), 200, hook)
	wantBody(t, d.do("GET", "/v1/orders/7/notifications", "", token), 200, orderapi.Notifications{Notifications: []orderapi.Notification{n}})
	wantBody(t, d.do("POST", "/v1/orders/7/notifications/7:order.paid/resend", "", token), 200, n)
	for _, c := range d.orders.seen() {
		if got := c.header.Get("X-User-Id"); got != "ann" {
			t.Errorf("%s for the user %q", c.route, got)
		}
	}
}

// TestWebhook_refused: what is not allowed never reaches order-srv.
func TestWebhook_refused(t *testing.T) {
	t.Parallel()
	d := open(t, options{}, nil, nil)
	for _, tt := range []struct{ method, path, body, role, code string }{
		{"PUT", "/v1/webhook", `{"url":"https://shop.example/"}`, "", "unauthenticated"},
		{"GET", "/v1/webhook", "", "", "unauthenticated"},
		{"DELETE", "/v1/webhook", "", "", "unauthenticated"},
		{"GET", "/v1/orders/7/notifications", "", "", "unauthenticated"},
		{"PUT", "/v1/webhook", `{"secret":"mine"}`, "buyer", "unknown_field"},
		{"GET", "/v1/orders/a%2Fb/notifications", "", "buyer", "unknown_order"},
		{"POST", "/v1/orders/7/notifications/8:order.paid/resend", "", "buyer", "unknown_notification"},
		{"POST", "/v1/orders/7/notifications/7%2F..%2Fx/resend", "", "buyer", "unknown_notification"},
	} {
		var headers []string
		if tt.role != "" {
			headers = append(headers, d.token("ann", tt.role))
		}
		if p := d.problem(d.do(tt.method, tt.path, tt.body, headers...)); p.Code != tt.code {
			t.Errorf("%s %s as %q: %s, want %s", tt.method, tt.path, tt.role, p.Code, tt.code)
		}
	}
	d.wantUntouched()
}

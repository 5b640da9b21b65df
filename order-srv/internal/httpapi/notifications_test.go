package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"holdfast/order-srv/orderapi"
)

// TestWebhook sets a webhook: its secret is shown once. What may not be called is refused.
func TestWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if r := w.call("GET", "/v1/webhook", "ann", ""); r.status != http.StatusNotFound || r.code() != "unknown_webhook" {
		t.Errorf("no webhook: %d %s", r.status, r.body)
	}
	var set orderapi.Webhook
	r := w.call("PUT", "/v1/webhook", "ann", `{"url":"https://shop.example/hook"}`)
	if err := json.Unmarshal([]byte(r.body), &set); err != nil || r.status != http.StatusOK || !strings.HasPrefix(set.Secret, "whsec_") {
		t.Errorf("set: %d %s", r.status, r.body)
	}
	if r := w.call("GET", "/v1/webhook", "ann", ""); r.status != http.StatusOK || !strings.Contains(r.body, "shop.example") || strings.Contains(r.body, "secret") {
		t.Errorf("read: %d %s", r.status, r.body)
	}
	for body, code := range map[string]string{
		`{"url":"https://10.0.0.1/"}`:              "webhook_refused",
		`{"url":"ftp://shop.example/"}`:            "invalid_webhook",
		`{"url":"https://a.example/","secret":""}`: "unknown_field",
	} {
		if r := w.call("PUT", "/v1/webhook", "ann", body); r.status != http.StatusBadRequest || r.code() != code {
			t.Errorf("%s: %d %s, want %s", body, r.status, r.body, code)
		}
	}
	if r := w.call("DELETE", "/v1/webhook", "ann", ""); r.status != http.StatusNoContent {
		t.Errorf("delete: %d %s", r.status, r.body)
	}
}

// TestNotifications reads the notification of a paid order and has it sent again. Another user sees neither.
func TestNotifications(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.call("PUT", "/v1/webhook", "ann", `{"url":"https://shop.example/hook"}`)
	w.call("PUT", "/v1/webhook", "bob", `{"url":"https://shop.example/hook"}`)
	no := w.call("POST", "/v1/orders", "ann", `{"idempotency_key":"key","items":[{"sku":"A","quantity":1}]}`).order(t).OrderNo
	path := "/v1/orders/" + no + "/notifications"
	if r := w.call("GET", path, "ann", ""); r.status != http.StatusOK || r.body != `{"notifications":[]}` {
		t.Errorf("before the payment: %d %s", r.status, r.body)
	}
	w.call("POST", "/v1/orders/"+no+"/payment", "ann", "")
	var found orderapi.Notifications
	r := w.call("GET", path, "ann", "")
	if err := json.Unmarshal([]byte(r.body), &found); err != nil || len(found.Notifications) != 1 {
		t.Fatalf("after the payment: %d %s", r.status, r.body)
	}
	n := found.Notifications[0]
	if n.ID != no+":order.paid" || n.State != orderapi.NotificationPending || n.NextAt == nil || n.Attempts != 0 {
		t.Errorf("notification %+v", n)
	}
	if r := w.call("POST", path+"/"+n.ID+"/resend", "ann", ""); r.status != http.StatusOK {
		t.Errorf("send again: %d %s", r.status, r.body)
	}
	for _, tt := range []struct{ method, path, user, code string }{
		{"GET", path, "bob", "unknown_order"},
		{"POST", path + "/" + n.ID + "/resend", "bob", "unknown_notification"},
		{"POST", path + "/" + no + ":order.lost/resend", "ann", "unknown_notification"},
		{"POST", path + "/1:order.paid/resend", "ann", "unknown_notification"},
		{"POST", path + "/x/resend", "ann", "unknown_notification"},
		{"POST", path + "/" + n.ID + "/resend", "eve", "unknown_webhook"},
		{"GET", path, "", "invalid_user"},
	} {
		if r := w.call(tt.method, tt.path, tt.user, ""); r.code() != tt.code {
			t.Errorf("%s %s as %q: %d %s, want %s", tt.method, tt.path, tt.user, r.status, r.body, tt.code)
		}
	}
}

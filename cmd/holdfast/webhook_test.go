package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/webhook"
)

// TestWebhookListen has the command set the webhook, and sends notifications: a wrong signature is refused, the first
// attempt fails, the second is executed, and the third is a repeat. Then the command ends.
func TestWebhookListen(t *testing.T) {
	t.Parallel()
	gateway := http.NewServeMux()
	gateway.HandleFunc("POST /v1/login", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"of-ann"}`) })
	set := make(chan string, 1)
	gateway.HandleFunc("PUT /v1/webhook", func(w http.ResponseWriter, r *http.Request) {
		var in orderapi.WebhookRequest
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("Authorization") != "Bearer of-ann" {
			t.Errorf("the webhook is set by %q, error %v", r.Header.Get("Authorization"), err)
		}
		set <- in.URL
		fmt.Fprint(w, `{"url":"","secret":"whsec_test"}`)
	})
	server := httptest.NewServer(gateway)
	t.Cleanup(server.Close)
	var out testkit.Buffer
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		args := []string{"--url", server.URL, "webhook-listen", "--user", "ann", "--addr", "127.0.0.1:0", "--fail", "1", "--slow", "1ms", "--count", "4"}
		ended <- run(ctx, args, &out)
	}()
	url := <-set
	testkit.EventuallyTrue(t, 30*time.Second, "it listens", func() bool { return strings.Contains(out.String(), "for notifications to "+url) })
	body, err := json.Marshal(webhook.Event{ID: "7:order.paid", Type: webhook.TypePaid, OrderNo: "7", AmountCents: 1250})
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		secret string
		status int
	}{{"whsec_other", 400}, {"whsec_test", 500}, {"whsec_test", 200}, {"whsec_test", 200}} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(webhook.HeaderSignature, webhook.Sign(tt.secret, time.Now(), body))
		req.Header.Set(webhook.HeaderEvent, "7:order.paid")
		req.Header.Set(webhook.HeaderAttempt, "1")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != tt.status {
			t.Errorf("notification %d: status %d, want %d", i, res.StatusCode, tt.status)
		}
	}
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	says(t, out.String(), []string{"does not match", "failing, as --fail says", "12.50 paid; answered 200", "executed before"})
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
	"holdfast/pkg/webhook"
)

// TestWebhookListen sends notifications: a wrong signature is refused, the first attempt fails, the second is executed,
// and the third is a repeat. Then the command ends.
func TestWebhookListen(t *testing.T) {
	t.Parallel()
	var out testkit.Buffer
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		ended <- run(ctx, []string{"webhook-listen", "--addr", "127.0.0.1:0", "--secret", "whsec_test", "--fail", "1", "--slow", "1ms", "--count", "4"}, &out)
	}()
	var url string
	testkit.EventuallyTrue(t, 30*time.Second, "it listens", func() bool {
		if m := regexp.MustCompile(`notifications to (http://127\.0\.0\.1:\d+/)`).FindStringSubmatch(out.String()); m != nil {
			url = m[1]
		}
		return url != ""
	})
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

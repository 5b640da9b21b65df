package webhook_test

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/pkg/webhook"
)

const secret = "whsec_test"

var now = time.Unix(1_700_000_000, 0)

// TestSign_knownValue keeps the format: receivers in other languages compute the same.
// printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_test.
func TestSign_knownValue(t *testing.T) {
	t.Parallel()
	const want = "t=1700000000,v1=35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91"
	if got := webhook.Sign(secret, now, []byte("{}")); got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	body := []byte(`{"id":"1"}`)
	good := webhook.Sign(secret, now, body)
	_, mac, _ := strings.Cut(good, ",")
	tests := []struct {
		name, secret, signature string
		body                    []byte
		at                      time.Time
		want                    error
	}{
		{"good", secret, good, body, now, nil},
		{"just in time", secret, good, body, now.Add(webhook.Tolerance), nil},
		{"of two secrets", secret, "t=1700000000,v1=00ff," + mac, body, now, nil},
		{"another secret", "whsec_other", good, body, now, webhook.ErrSignature},
		{"changed body", secret, good, []byte(`{"id":"2"}`), now, webhook.ErrSignature},
		{"changed time", secret, "t=1700000001," + mac, body, now, webhook.ErrSignature},
		{"replayed", secret, good, body, now.Add(webhook.Tolerance + time.Second), webhook.ErrTooOld},
		{"from the future", secret, good, body, now.Add(-webhook.Tolerance - time.Second), webhook.ErrTooOld},
		{"none", secret, "", body, now, webhook.ErrNoSignature},
		{"no time", secret, mac, body, now, webhook.ErrNoSignature},
		{"no value", secret, "t=1700000000", body, now, webhook.ErrNoSignature},
		{"no hexadecimal", secret, "t=1700000000,v1=zz", body, now, webhook.ErrSignature},
		{"empty value", secret, "t=1700000000,v1=", body, now, webhook.ErrSignature},
	}
	for _, tt := range tests {
		if err := webhook.Verify(tt.secret, tt.signature, tt.body, tt.at, webhook.Tolerance); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	read := func(body []byte, id, signature string) (webhook.Event, error) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set(webhook.HeaderEvent, id)
		r.Header.Set(webhook.HeaderSignature, signature)
		return webhook.Read(r, secret, now)
	}
	body := []byte(`{"id":"7:order.paid","type":"order.paid","order_no":"7","amount_cents":300}`)
	e, err := read(body, "7:order.paid", webhook.Sign(secret, now, body))
	if err != nil || e.OrderNo != "7" || e.AmountCents != 300 {
		t.Errorf("event %+v, error %v", e, err)
	}
	if _, err := read(body, "8:order.paid", webhook.Sign(secret, now, body)); !errors.Is(err, webhook.ErrEventID) {
		t.Errorf("another id in the header: error %v", err)
	}
	if _, err := read([]byte("no json"), "", webhook.Sign(secret, now, []byte("other"))); !errors.Is(err, webhook.ErrSignature) {
		t.Errorf("what is not signed was decoded: error %v", err)
	}
	huge := bytes.Repeat([]byte(" "), webhook.MaxBody+1)
	if _, err := read(huge, "", webhook.Sign(secret, now, huge)); !errors.Is(err, webhook.ErrTooLarge) {
		t.Errorf("a huge body: error %v", err)
	}
}

// FuzzVerify: no header passes that was not made with the secret.
func FuzzVerify(f *testing.F) {
	f.Add("t=1700000000,v1=00")
	f.Add("v1=,t=")
	f.Fuzz(func(t *testing.T, header string) {
		body := []byte("{}")
		if header == webhook.Sign(secret, now, body) {
			t.Skip()
		}
		if err := webhook.Verify("another", header, body, now, webhook.Tolerance); err == nil {
			t.Errorf("%q passes", header)
		}
	})
}

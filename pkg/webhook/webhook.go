// Package webhook is the wire format of notifications: the event, and the signature by which a receiver knows that it
// comes from Holdfast and was not changed. Senders and receivers share it.
//
// The signature is that of Stripe: the header has the time of sending and an HMAC-SHA256 of "time.body". The time is
// part of what is signed, so a recorded notification is refused when it is replayed later.
package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a notification.
const (
	HeaderSignature = "Holdfast-Signature" // t=unix seconds,v1=hex; see Sign
	HeaderEvent     = "Holdfast-Event-Id"  // of Event.ID; only the one in the body is signed
	HeaderAttempt   = "Holdfast-Attempt"   // 1 for the first attempt
)

// MaxBody is the largest body of a notification that Read accepts, in bytes.
const MaxBody = 64 << 10

// Tolerance is how much the time of a signature may differ from the receiver's clock.
const Tolerance = 5 * time.Minute

// TypePaid is the type of the event that an order was paid.
const TypePaid = "order.paid"

// Event is the body of a notification. It is the same in each attempt.
type Event struct {
	ID          string    `json:"id"` // the same in each attempt: a receiver handles each id once
	Type        string    `json:"type"`
	OrderNo     string    `json:"order_no"`
	AmountCents int64     `json:"amount_cents"`
	OccurredAt  time.Time `json:"occurred_at"`
}

// What is wrong with a notification that Read or Verify refuses.
var (
	ErrNoSignature = errors.New("the signature is missing or malformed")
	ErrSignature   = errors.New("the signature does not match: another secret, or the body was changed")
	ErrTooOld      = errors.New("the signature's time differs too much from this clock: a replay, or a wrong clock")
	ErrTooLarge    = errors.New("the body is too large")
	ErrEventID     = errors.New("the event's id differs from that in the header")
)

// Sign returns the value of HeaderSignature for a body that is sent at a time.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac(secret, t, body))
}

// Verify checks a signature header. It accepts several v1 values; one of them must match: a sender that changes its
// secret signs with both for a time. It returns ErrNoSignature, ErrSignature or ErrTooOld.
func Verify(secret, signature string, body []byte, now time.Time, tolerance time.Duration) error {
	var t string
	var values []string
	for part := range strings.SplitSeq(signature, ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "t":
			t = value
		case "v1":
			values = append(values, value)
		}
	}
	seconds, err := strconv.ParseInt(t, 10, 64)
	if err != nil || len(values) == 0 {
		return ErrNoSignature
	}
	want, found := mac(secret, t, body), false
	for _, v := range values {
		got, err := hex.DecodeString(v)
		// A comparison that stops at the first difference would tell an attacker how far a guess is right.
		found = found || err == nil && hmac.Equal(got, want)
	}
	if !found {
		return ErrSignature
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return ErrTooOld
	}
	return nil
}

// mac is the HMAC-SHA256 of "t.body".
func mac(secret, t string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(t + "."))
	h.Write(body)
	return h.Sum(nil)
}

// Read is the whole of a receiver's check: it reads the body of a notification, verifies it against now and decodes it.
// A receiver must not decode a body first: what is not signed may come from anywhere. Errors are those of Verify,
// ErrTooLarge, ErrEventID and those of reading and decoding.
func Read(r *http.Request, secret string, now time.Time) (Event, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if err != nil {
		return Event{}, fmt.Errorf("read the notification: %w", err)
	}
	if len(body) > MaxBody {
		return Event{}, ErrTooLarge
	}
	if err := Verify(secret, r.Header.Get(HeaderSignature), body, now, Tolerance); err != nil {
		return Event{}, err
	}
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return Event{}, fmt.Errorf("decode the notification: %w", err)
	}
	if e.ID != r.Header.Get(HeaderEvent) {
		return Event{}, ErrEventID
	}
	return e, nil
}

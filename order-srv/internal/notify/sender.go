package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"holdfast/order-srv/internal/order"
	"holdfast/pkg/webhook"
)

const (
	// DefaultTimeout bounds one attempt, from resolving the name to the header of the answer.
	DefaultTimeout = 10 * time.Second

	dialTime  = 3 * time.Second // of it, for the connection and for TLS each
	maxHeader = 16 << 10        // bytes of the answer's header
)

// sender makes the calls. Each has a connection of its own: one that is kept was checked when it was made, but the name
// may point elsewhere by now, and a receiver is called too rarely for keeping it to pay off.
type sender struct {
	client *http.Client
	now    func() time.Time
}

func newSender(g Guard) *sender {
	dialer := &net.Dialer{Timeout: dialTime, Control: g.control}
	return &sender{now: time.Now, client: &http.Client{
		Transport: &http.Transport{
			// No proxy, also when the environment names one: the proxy would resolve the name, and call where Guard refuses.
			Proxy:                  nil,
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    dialTime,
			DisableKeepAlives:      true,
			DisableCompression:     true, // no answer is read, so none must be unpacked
			MaxResponseHeaderBytes: maxHeader,
		},
		// A redirect is an answer like another. Followed, it would send the buyer's order to a URL that the buyer did not
		// set.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// send makes one attempt and returns the status of the answer, 0 without one. The error says why the attempt has
// failed; see public. Nothing of the answer's body is read: it may be endless, and it may be of a page that the buyer
// must not see.
func (s *sender) send(ctx context.Context, w order.Webhook, n order.Notification) (status int, err error) {
	body, err := json.Marshal(webhook.Event{
		ID: n.ID(), Type: n.Event, OrderNo: n.OrderNo, AmountCents: n.AmountCents, OccurredAt: n.OccurredAt.UTC(),
	})
	if err != nil {
		return 0, fmt.Errorf("encode the event: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Holdfast-Webhook/1")
	req.Header.Set(webhook.HeaderSignature, webhook.Sign(w.Secret, s.now(), body))
	req.Header.Set(webhook.HeaderEvent, n.ID())
	req.Header.Set(webhook.HeaderAttempt, strconv.Itoa(n.Attempts))
	res, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	// Closing ends the connection, and does not read the rest.
	_ = res.Body.Close()
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return res.StatusCode, nil
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return res.StatusCode, fmt.Errorf("the receiver answered %d: redirects are not followed", res.StatusCode)
	default:
		return res.StatusCode, fmt.Errorf("the receiver answered %d", res.StatusCode)
	}
}

// public is why an attempt has failed, in words for the buyer. It names neither the URL, which may contain a token, nor
// an address: a buyer could look up the names of this network. It quotes nothing of an answer either. net/http's error
// about a malformed one contains its first line, which for a database or an SSH server is its greeting.
func public(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "the host's name cannot be resolved: " + dns.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op + ": " + op.Err.Error()
	}
	call, ok := errors.AsType[*url.Error](err)
	if !ok { // send's own
		return err.Error()
	}
	err = call.Err
	switch {
	case errors.Is(err, io.EOF):
		return "the connection was closed without an answer"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "the service was stopped during the call"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the receiver's certificate is not accepted"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the receiver does not speak TLS"
	}
	return "the answer is no valid HTTP answer, or its header is too large"
}

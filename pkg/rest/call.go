package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"holdfast/pkg/fault"
	"holdfast/pkg/header"
	"holdfast/pkg/telemetry"
	"holdfast/pkg/wire"
)

const (
	leastForAnswer = 50 * time.Millisecond
	mostForAnswer  = 250 * time.Millisecond

	// maxAnswer bounds an answer, in bytes. The largest real one is a page of 1,000 reservations of 100 lines.
	maxAnswer = 32 << 20
)

var (
	errTooLarge = errors.New("the answer is too large")

	// errStopping is what Connection: close says when it comes with an answer. Our other connections to that address are
	// about to be closed, and a request that meets the closing would have an unknown outcome; so the next ones go
	// elsewhere.
	errStopping = errors.New("the service asks to close the connection")
)

// try sends the request to one address. sent is false when nothing can have reached the service.
func (c *Client) try(ctx context.Context, a *address, method, path string, body []byte, out any) (sent bool, err error) {
	res, sent, err := c.send(ctx, a, method, path, body)
	if err != nil {
		return sent, err
	}
	defer func() { _ = res.Body.Close() }() // after a read to its end the connection is used again
	return true, c.credentialRefused(readAnswer(res, out))
}

// send sends the request to one address and returns the answer when its head has come.
func (c *Client) send(ctx context.Context, a *address, method, path string, body []byte) (res *http.Response, sent bool, err error) {
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	req, err := c.newRequest(httptrace.WithClientTrace(ctx, trace), a, method, path, body)
	if err != nil {
		return nil, false, fault.ErrInternal.NotExecuted().Wrap(err)
	}
	if res, err = c.http.Do(req); err != nil {
		return nil, connected.Load(), err
	}
	if res.Close {
		c.addresses.avoid(ctx, a, errStopping)
		// Connections that were made and never used are not idle to a server that shuts down: it reads one more request from
		// them and drops it. They must not be there any more when the address is tried again.
		c.http.CloseIdleConnections()
	}
	return res, true, nil
}

func (c *Client) newRequest(ctx context.Context, a *address, method, path string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	c.authorize(req.Header)
	req.Host = a.host
	req.Header.Set("Accept", "application/json, application/problem+json")
	if body != nil {
		// No GetBody: with it the transport may send the body again.
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.ContentLength = int64(len(body))
		req.Header.Set("Content-Type", "application/json")
	}
	if id := telemetry.RequestID(ctx); id != "" {
		req.Header.Set(header.RequestID, id)
	}
	if deadline, ok := ctx.Deadline(); ok {
		req.Header.Set(header.Deadline, strconv.FormatInt(ForService(deadline).Milliseconds(), 10))
	}
	return req, nil
}

// ForService is what a service is given of the time until the deadline, a millisecond at least. The rest is for its
// answer: that its time was up and nothing was executed. Without it the client stops waiting at the same moment, and
// the outcome is unknown.
func ForService(deadline time.Time) time.Duration {
	remaining := time.Until(deadline)
	forAnswer := min(max(remaining/8, leastForAnswer), mostForAnswer)
	return max(remaining-forAnswer, remaining/2, time.Millisecond)
}

// readAnswer returns nil for a complete 2xx answer, the service's fault for problem details, and a plain error for
// everything that is neither.
func readAnswer(res *http.Response, out any) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer of status %d: %w", res.StatusCode, err)
	}
	if len(body) > maxAnswer {
		return errTooLarge
	}
	return Answer(res.StatusCode, res.Header.Get("Content-Type"), body, out)
}

// Answer decodes an answer of a service: a 2xx one into out, unless it is nil. It returns the service's fault for
// problem details, and a plain error for what is neither.
func Answer(status int, contentType string, body []byte, out any) error {
	if status < 200 || status > 299 {
		return readProblem(status, contentType, body)
	}
	if out == nil || wire.Parse(body, out) {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("decode the answer of status %d: %w", status, err)
	}
	return nil
}

// readProblem rebuilds the service's fault. A 5xx problem without the member ambiguous is ambiguous: it comes from a
// proxy or another program, which does not know the member.
func readProblem(status int, contentType string, body []byte) error {
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "application/problem+json" {
		return fmt.Errorf("status %d without problem details", status)
	}
	var p struct {
		fault.Problem
		Ambiguous *bool `json:"ambiguous"`
	}
	if err := json.Unmarshal(body, &p); err != nil {
		return fmt.Errorf("decode the problem of status %d: %w", status, err)
	}
	if p.Code == "" || p.Kind == "" {
		return fmt.Errorf("status %d with problem details that lack code or kind", status)
	}
	p.Problem.Ambiguous = status >= http.StatusInternalServerError
	if p.Ambiguous != nil {
		p.Problem.Ambiguous = *p.Ambiguous
	}
	return p.Fault()
}

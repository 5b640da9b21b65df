// Package shop is a client of the gateway's public API, for the command line, bench and the load tests.
package shop

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
	"holdfast/pkg/wait"
)

// requestTimeout bounds one request. The gateway's REQUEST_TIMEOUT is at most as long, so its answer arrives.
const requestTimeout = time.Minute

// Client sends one user's requests. It is safe for concurrent use.
type Client struct {
	URL   string // of the gateway: http://host:port
	Token string
	HTTP  *http.Client // nil: http.DefaultClient
}

// Login returns the client of a user with this role. The gateway serves logins only with DEMO_LOGIN.
func Login(ctx context.Context, url, user, role string) (*Client, error) {
	c := &Client{URL: url}
	var out struct {
		Token string `json:"token"`
	}
	if err := c.Do(ctx, http.MethodPost, "/v1/login", map[string]string{"user": user, "role": role}, &out); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	c.Token = out.Token
	return c, nil
}

// auditPoll is the interval at which the state of an audit is read.
const auditPoll = 100 * time.Millisecond

// Audit has both ledgers audited and waits for the report. full proves settled history again. progress, unless nil, is
// called with each state, the last one too. The user must be an administrator.
func (c *Client) Audit(ctx context.Context, full bool, progress func(orderapi.AuditJob)) (check.Report, error) {
	var job orderapi.AuditJob
	if err := c.Do(ctx, http.MethodPost, "/v1/admin/audits", orderapi.AuditRequest{Full: full}, &job); err != nil {
		return check.Report{}, err
	}
	for {
		if progress != nil {
			progress(job)
		}
		switch {
		case job.State == orderapi.AuditDone && job.Report != nil:
			return *job.Report, nil
		case job.State == orderapi.AuditFailed:
			return check.Report{}, errors.New(job.Failure)
		}
		if err := wait.Sleep(ctx, auditPoll); err != nil {
			return check.Report{}, err
		}
		if err := c.Do(ctx, http.MethodGet, "/v1/admin/audits/"+job.ID, nil, &job); err != nil {
			return check.Report{}, err
		}
	}
}

// Do sends in as JSON, without a body if it is nil, and decodes the answer into out unless that is nil. headers are
// names and values in turn. A problem is returned as its fault.
func (c *Client) Do(ctx context.Context, method, path string, in, out any, headers ...string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := c.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	for h := range slices.Chunk(headers, 2) {
		req.Header.Set(h[0], h[1])
	}
	res, err := cmp.Or(c.HTTP, http.DefaultClient).Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode >= http.StatusBadRequest {
		var p fault.Problem
		if json.NewDecoder(res.Body).Decode(&p) != nil || p.Code == "" {
			return fmt.Errorf("%s %s: %s", method, path, res.Status)
		}
		return p.Fault()
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}

func (c *Client) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return req, nil
}

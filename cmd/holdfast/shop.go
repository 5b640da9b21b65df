package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/fault"
)

// shop is a client of the gateway's public API.
type shop struct {
	url   string
	token string
}

// login returns a shop that is logged in as the user.
func login(ctx context.Context, url, user, role string) (shop, error) {
	s := shop{url: url}
	var out struct {
		Token string `json:"token"`
	}
	if err := s.do(ctx, http.MethodPost, "/v1/login", map[string]string{"user": user, "role": role}, &out); err != nil {
		return s, fmt.Errorf("log in: %w", err)
	}
	s.token = out.Token
	return s, nil
}

// audit requests an audit as an administrator. It takes longer with long ledgers.
func audit(ctx context.Context, url string) (check.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var r check.Report
	s, err := login(ctx, url, "auditor", orderapi.RoleAdmin)
	if err != nil {
		return r, err
	}
	return r, s.do(ctx, http.MethodGet, "/v1/admin/audit", nil, &r)
}

// do sends in and decodes the answer into out. It returns a problem as its fault. headers are names and values in
// turn.
func (s shop) do(ctx context.Context, method, path string, in, out any, headers ...string) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	for h := range slices.Chunk(headers, 2) {
		req.Header.Set(h[0], h[1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close() //nolint:errcheck // read only
	if res.StatusCode >= http.StatusBadRequest {
		var p fault.Problem
		if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
			return fmt.Errorf("%s %s: %s", method, path, res.Status)
		}
		return p.Fault()
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// countsLine formats counts as "PAID 2, PLACED 1".
func countsLine(counts map[string]int) string {
	if len(counts) == 0 {
		return "none"
	}
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", status, counts[status]))
	}
	return strings.Join(parts, ", ")
}

// messagesLine formats messages as "3 half messages undecided (oldest 2s), 0 unsent in the outbox".
func messagesLine(m check.Messages) string {
	return counted(m.Undecided, "half messages undecided", m.OldestUndecided) + ", " + counted(m.Unsent, "unsent in the outbox", m.OldestUnsent)
}

func counted(n int, what string, oldest time.Duration) string {
	if n == 0 {
		return "0 " + what
	}
	return fmt.Sprintf("%d %s (oldest %v)", n, what, oldest.Round(100*time.Millisecond))
}

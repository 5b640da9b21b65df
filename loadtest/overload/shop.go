package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"holdfast/order-srv/check"
)

const (
	stock  = 100_000_000 // units, more than the load can sell
	buyers = 10          // users, as in the other load tests
)

// shop is the client for the preparation and the audit. The load uses its own connections.
type shop struct {
	url    string
	admin  string // token
	client *http.Client
}

func newShop(url string) *shop {
	return &shop{url: url, client: &http.Client{Timeout: 30 * time.Second}}
}

// target describes the orders of the load.
type target struct {
	addr     string // host:port
	sku      string
	strategy string // header X-Stock-Strategy; "" for none
	tokens   []string
}

// prepare creates a product with stock in the layout that the strategy needs, and the buyers' tokens.
func (s *shop) prepare(ctx context.Context, strategy string) (target, error) {
	u, err := url.Parse(s.url)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return target{}, fmt.Errorf("the URL %q is not of the form http://host:port", s.url)
	}
	t := target{addr: u.Host, strategy: strategy, sku: "OVERLOAD-" + strconv.FormatInt(time.Now().UnixMilli(), 36)}
	t.sku = string(bytes.ToUpper([]byte(t.sku)))
	if s.admin, err = s.login(ctx, "load-admin", "admin"); err != nil {
		return t, err
	}
	layout, err := s.layout(ctx, strategy)
	if err != nil {
		return t, err
	}
	product := map[string]any{"sku": t.sku, "title": "Load test", "price_cents": 100}
	for _, call := range []struct {
		method, path string
		in           any
	}{
		{"POST", "/v1/admin/products", product},
		{"PUT", "/v1/admin/products/" + t.sku + "/layout", map[string]any{"layout": layout}},
		{"POST", "/v1/admin/products/" + t.sku + "/inbound", map[string]any{"quantity": stock, "reference": "load-" + t.sku, "reason": "load test"}},
	} {
		if err := s.do(ctx, call.method, call.path, call.in, nil); err != nil {
			return t, err
		}
	}
	for i := range buyers {
		token, err := s.login(ctx, fmt.Sprintf("overload-%d", i), "buyer")
		if err != nil {
			return t, err
		}
		t.tokens = append(t.tokens, token)
	}
	return t, nil
}

func (s *shop) login(ctx context.Context, user, role string) (string, error) {
	var out struct {
		Token string `json:"token"`
	}
	err := s.do(ctx, "POST", "/v1/login", map[string]string{"user": user, "role": role}, &out)
	return out.Token, err
}

// layout returns the layout that the strategy needs.
func (s *shop) layout(ctx context.Context, strategy string) (string, error) {
	var known struct {
		Default    string `json:"default"`
		Strategies []struct {
			Name   string `json:"name"`
			Layout string `json:"layout"`
		} `json:"strategies"`
	}
	if err := s.do(ctx, "GET", "/v1/admin/strategies", nil, &known); err != nil {
		return "", err
	}
	if strategy == "" {
		strategy = known.Default
	}
	for _, k := range known.Strategies {
		if k.Name == strategy {
			return k.Layout, nil
		}
	}
	return "", fmt.Errorf("there is no strategy %q", strategy)
}

func (s *shop) audit(ctx context.Context) (check.Report, error) {
	var r check.Report
	return r, s.do(ctx, "GET", "/v1/admin/audit", nil, &r)
}

func (s *shop) do(ctx context.Context, method, path string, in, out any) (err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if in == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+s.admin)
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	if res.StatusCode > 299 {
		var p struct{ Code, Detail string }
		_ = json.NewDecoder(res.Body).Decode(&p) // the status alone is sufficient
		return fmt.Errorf("%s %s: %s %s %s", method, path, res.Status, p.Code, p.Detail)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}

package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"holdfast/internal/check"
	"holdfast/order-srv/orderapi"
	"holdfast/pkg/rest"
)

// shop speaks to the gateway's public API, as any client would.
type shop struct{ url string }

func newShop(url string) *shop { return &shop{url} }

// as logs in and returns a client that carries the token.
func (s *shop) as(ctx context.Context, user, role string) (*rest.Client, error) {
	c, err := rest.New(rest.Config{URLs: []string{s.url}, Timeout: 30 * time.Second, Name: "gateway"})
	if err != nil {
		return nil, err
	}
	var out struct {
		Token string `json:"token"`
	}
	in := map[string]string{"user": user, "role": role}
	if err := c.Do(ctx, http.MethodPost, "/v1/login", in, &out); err != nil {
		return nil, fmt.Errorf("log in at %s: %w", s.url, err)
	}
	return c.With(rest.Header("Authorization", "Bearer "+out.Token)), nil
}

func (s *shop) audit(ctx context.Context) (check.Report, error) {
	var r check.Report
	c, err := s.as(ctx, "auditor", orderapi.RoleAdmin)
	if err != nil {
		return r, err
	}
	defer c.Close()
	err = c.Do(ctx, http.MethodGet, "/v1/admin/audit", nil, &r)
	return r, err
}

// countsLine is "PAID 2, PLACED 1".
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

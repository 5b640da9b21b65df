package bench

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/dev/testkit"
)

// startHop starts a hop that passes orders to next, and returns its address.
func startHop(t *testing.T, next string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	addr, ended := freeAddr(t), make(chan error, 1)
	go func() { ended <- Hop(ctx, addr, next) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	testkit.Eventually(t, 10*time.Second, "the hop listens", func() error { return dialable(ctx, addr) })
	return addr
}

// post sends an order to a hop.
func post(t *testing.T, addr, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/v1/orders", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// TestHop_answers: a hop passes on what the next one has answered. What is not an order does not reach the next hop,
// and what is not an answer is no 201: otherwise a broken chain would be the fastest one.
func TestHop_answers(t *testing.T) {
	t.Parallel()
	const order = `{"items":[{"sku":"A","quantity":2}]}`
	for _, tt := range []struct {
		name, order, answer string // of the next hop; empty: it is not reached
		next, want          int
		wantBody            string
	}{
		{"placed", order, `{"order_no":"7"}`, 201, 201, `{"order_no":"7"}`},
		{"refused", order, `{"code":"out_of_stock"}`, 409, 409, `{"code":"out_of_stock"}`},
		{"an answer that is no JSON", order, `<html>`, 201, 503, ""},
		{"no order", `{"items":7}`, "", 0, 400, ""},
		{"half an order", order[:10], "", 0, 400, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			next := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if b, err := io.ReadAll(r.Body); tt.answer == "" || string(b) != tt.order || err != nil || r.URL.Path != "/v1/orders" {
					t.Errorf("the next hop received %s %q, error %v", r.URL.Path, b, err)
				}
				w.WriteHeader(tt.next)
				_, _ = io.WriteString(w, tt.answer)
			}))
			t.Cleanup(next.Close)
			addr := startHop(t, strings.TrimPrefix(next.URL, "http://"))
			if status, body := post(t, addr, tt.order); status != tt.want || body != tt.wantBody {
				t.Errorf("answered %d %q, want %d %q", status, body, tt.want, tt.wantBody)
			}
		})
	}
}

// TestHop_alone: the last hop answers with the lines of the order, and a hop whose next one is gone with 503.
func TestHop_alone(t *testing.T) {
	t.Parallel()
	const order = `{"items":[{"sku":"A","quantity":2}]}`
	if status, body := post(t, startHop(t, ""), order); status != 201 || !strings.Contains(body, `"items":[{"sku":"A","quantity":2}]`) {
		t.Errorf("the last hop answered %d %q", status, body)
	}
	if status, _ := post(t, startHop(t, freeAddr(t)), order); status != 503 {
		t.Errorf("a hop without its next one answered %d, want 503", status)
	}
}

// TestHop_addressInUse: a second hop on an address ends with the error.
func TestHop_addressInUse(t *testing.T) {
	t.Parallel()
	if err := Hop(t.Context(), startHop(t, ""), ""); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want that the address is in use", err)
	}
}

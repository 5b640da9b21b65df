// Package resttest is a service for the tests of typed clients.
package resttest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"holdfast/pkg/rest"
)

// Service answers each request with the same status and body, and keeps the last request.
type Service struct {
	Status int
	Body   string

	mu      sync.Mutex
	request string
}

// Client starts the service, until the test ends, and returns a client of it. The client's faults have the name.
func (s *Service) Client(tb testing.TB, name string) *rest.Client {
	tb.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			tb.Errorf("read the request: %v", err)
		}
		s.mu.Lock()
		s.request = r.Method + " " + r.URL.RequestURI() + " " + string(body)
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if s.Status >= http.StatusBadRequest {
			w.Header().Set("Content-Type", "application/problem+json")
		}
		w.WriteHeader(s.Status)
		_, _ = io.WriteString(w, s.Body)
	}))
	tb.Cleanup(server.Close)
	c, err := rest.New(rest.Config{Name: name, URLs: []string{server.URL}, Timeout: 10 * time.Second})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// Request returns the method, the path with the query, and the body of the last request, with blanks between them.
func (s *Service) Request() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.request
}

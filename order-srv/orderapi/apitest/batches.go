// Package apitest has what tests of order-srv's callers need to fake it.
package apitest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"

	"holdfast/order-srv/orderapi"
	"holdfast/pkg/header"
)

// Batches returns single with the route POST /v1/orders/batch: each order of a batch is a request to single, with the
// headers that the gateway sends with an order that comes alone. The answers go out as they come.
func Batches(single http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/orders/batch" {
			single.ServeHTTP(w, r)
			return
		}
		var in orderapi.PlaceBatch
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var mu sync.Mutex
		var running sync.WaitGroup
		for n, o := range in.Orders {
			running.Go(func() {
				answer := httptest.NewRecorder()
				single.ServeHTTP(answer, request(r, o))
				line := orderapi.BatchAnswer{Order: n, UserID: o.UserID, Status: answer.Code, Body: bytes.TrimSpace(answer.Body.Bytes())}
				mu.Lock()
				defer mu.Unlock()
				_, _ = w.Write(line.AppendLine(nil))
				_ = http.NewResponseController(w).Flush() // an error: the caller has gone
			})
		}
		running.Wait()
	})
}

func request(batch *http.Request, o orderapi.BatchOrder) *http.Request {
	body, err := json.Marshal(o.Order)
	if err != nil {
		panic(err) // it was decoded
	}
	r := httptest.NewRequestWithContext(batch.Context(), http.MethodPost, "/v1/orders", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for name, value := range map[string]string{
		header.UserID: o.UserID, header.UserRole: o.Role, header.RequestID: o.RequestID,
		header.Deadline: strconv.FormatInt(o.DeadlineMS, 10), header.Credential: batch.Header.Get(header.Credential),
	} {
		r.Header.Set(name, value)
	}
	return r
}

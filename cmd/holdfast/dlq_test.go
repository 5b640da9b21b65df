package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/order-srv/orderapi"
)

func TestDlq(t *testing.T) {
	t.Parallel()
	letters := []orderapi.DeadLetter{
		{Source: "outbox", ID: "e1", Topic: "order-events", Key: "ORDER-1", Reason: "too large (10 attempts)", Body: "{}"},
		{Source: "inventory-release", ID: "d1", Topic: "stock-release", Key: "ORDER-2", Reason: "given up by its consumer", Body: "{}"},
	}
	var asked orderapi.ResendRequest
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/login", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"t"}`) })
	mux.HandleFunc("GET /v1/admin/dead-letters", func(w http.ResponseWriter, r *http.Request) {
		n := len(letters)
		if r.URL.Query().Get("limit") == "1" {
			n = 1
		}
		_ = json.NewEncoder(w).Encode(orderapi.DeadLetters{DeadLetters: letters[:n]})
	})
	mux.HandleFunc("POST /v1/admin/dead-letters/resend", func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			t.Error(err)
		}
		if asked.Source == "unknown" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"code":"unknown_source","detail":"the source is outbox or a consumer group"}`)
			return
		}
		fmt.Fprint(w, `{"resent":2}`)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	dlq := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), append([]string{"--url", s.URL, "dlq"}, args...), &out)
		return out.String(), err
	}
	out, err := dlq("list")
	for _, want := range []string{"ORDER-1", "too large (10 attempts)", "inventory-release", "ORDER-2"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("list: error %v, %q is not in\n%s", err, want, out)
		}
	}
	if out, err := dlq("list", "--limit", "1"); err != nil || !strings.Contains(out, "there may be more") || strings.Contains(out, "ORDER-2") {
		t.Errorf("list of one: error %v\n%s", err, out)
	}
	if out, err := dlq("resend", "--source", "outbox", "--limit", "7"); err != nil || !strings.Contains(out, "2 messages sent again") ||
		asked != (orderapi.ResendRequest{Source: "outbox", Limit: 7}) {
		t.Errorf("resend: error %v, request %+v\n%s", err, asked, out)
	}
	if out, err := dlq("resend", "--source", "unknown"); err == nil || !strings.Contains(err.Error(), "outbox or a consumer group") {
		t.Errorf("resend of an unknown source: error %v\n%s", err, out)
	}
	letters = nil
	if out, err := dlq("list"); err != nil || !strings.Contains(out, "no message was given up") {
		t.Errorf("list of none: error %v\n%s", err, out)
	}
}

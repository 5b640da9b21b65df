package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/order-srv/check"
)

// TestPrintRates: the figures of all replicas are added, and the rate of checks comes from two scrapes.
func TestPrintRates(t *testing.T) {
	t.Parallel()
	var state stack.State
	for _, undecided := range []int{2, 5} {
		var looks atomic.Int64
		ops := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "# HELP mq_checks_total x\nmq_checks_total{answer=\"unknown\",group=\"order-tx\"} %d\n", looks.Add(1)*1000)
			fmt.Fprintf(w, "order_half_messages_undecided %d\nstock_release_repeats_total 1\n", undecided)
		}))
		t.Cleanup(ops.Close)
		state.Components = append(state.Components, stack.Component{Name: "order-srv", Ops: strings.TrimPrefix(ops.URL, "http://")})
	}
	state.Components = append(state.Components, stack.Component{Name: "mysql"})
	var out bytes.Buffer
	if err := printRates(t.Context(), state, &out); err != nil {
		t.Fatal(err)
	}
	var rate float64
	_, err := fmt.Sscanf(out.String(), "check-back: %f checks/s, 7 half messages undecided on all replicas; 2 releases delivered again since the start", &rate)
	if err != nil || rate < 100 || rate > 2000 {
		t.Errorf("%q, error %v; want at most 2,000 checks per second", out.String(), err)
	}
}

// TestStatus_withoutProcesses: under compose the gateway answers, but no process is recorded.
func TestStatus_withoutProcesses(t *testing.T) {
	t.Parallel()
	url, _ := gateway(t, &check.Report{
		Orders: map[string]int{"PAID": 2},
		Messages: check.Messages{
			Undecided: 3, OldestUndecided: time.Minute, LateAfter: 22 * time.Second, Unsent: 1, OldestUnsent: 2 * time.Second,
		},
	})
	var out bytes.Buffer
	if err := (&statusCmd{}).Run(t.Context(), &cli{Dir: t.TempDir(), URL: url}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"orders: PAID 2", "messages: 3 half messages undecided (oldest 1m0s), 1 unsent in the outbox (oldest 2s)",
		"ALARM: half messages stay undecided for longer than 22s", "the operations ports cannot be reached",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	dead := httptest.NewServer(nil)
	dead.Close()
	if err := (&statusCmd{}).Run(t.Context(), &cli{Dir: t.TempDir(), URL: dead.URL}, &out); code(err) != 1 {
		t.Errorf("without a shop: error %v", err)
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/order-srv/check"
	"holdfast/order-srv/orderapi"
)

// gateway answers audits with the reports in order, and repeats the last one. A nil report is an audit that fails.
func gateway(t *testing.T, reports ...*check.Report) (url string, audits *atomic.Int64) {
	t.Helper()
	audits = &atomic.Int64{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/login", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"t"}`) })
	mux.HandleFunc("POST /v1/admin/audits", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"id":"%d","state":"queued"}`, audits.Add(1))
	})
	mux.HandleFunc("GET /v1/admin/audits/{id}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("id"))
		if err != nil {
			t.Error(err)
		}
		job := orderapi.AuditJob{State: orderapi.AuditFailed, Failure: "inventory is down"}
		if report := reports[min(n, len(reports))-1]; report != nil {
			job = orderapi.AuditJob{State: orderapi.AuditDone, Report: report}
		}
		if err := json.NewEncoder(w).Encode(job); err != nil {
			t.Error(err)
		}
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL, audits
}

// code returns the command's exit status.
func code(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[exit](err); ok {
		return e.code
	}
	return 1
}

// TestAudit_lost: losses of Redis are printed and are no findings.
func TestAudit_lost(t *testing.T) {
	t.Parallel()
	r := check.Report{
		SKUs:   []check.SKU{{SKU: "A", Inbound: 5, Available: 5}},
		Losses: []check.Loss{{Reason: "no epoch", Operations: 12, Units: 14}},
	}
	for i := range 12 {
		r.Lost = append(r.Lost, check.Violation{Invariant: 5, Subject: fmt.Sprintf("o%02d", i), Text: "is PLACED, but Redis has lost it"})
	}
	var out bytes.Buffer
	printReport(&out, r, book(t, "en"))
	if err := (&auditCmd{}).judge(r, &out, book(t, "en")); err != nil {
		t.Errorf("a loss of Redis is a finding: %v", err)
	}
	for _, want := range []string{"Redis lost 12 operations (14 units)", "lost invariant 5: o00", "lost: and 2 more"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestAudit_exitCodes(t *testing.T) {
	t.Parallel()
	untouched := &check.Report{SKUs: []check.SKU{{SKU: "A", Inbound: 5, Available: 5}}}
	reserved := &check.Report{SKUs: []check.SKU{{SKU: "A", Inbound: 5, Available: 4, LinesReserved: 1}}}
	sold := &check.Report{SKUs: []check.SKU{{SKU: "A", Inbound: 5, Available: 4, LinesConfirmed: 1}}}
	violated := &check.Report{Violations: []check.Violation{{Invariant: 3, Subject: "A", Text: "oversold"}}}
	busy := &check.Report{Unsettled: []check.Violation{{Invariant: 7, Subject: "o1", Text: "is still pending"}}}
	for _, tt := range []struct {
		name    string
		reports []*check.Report
		args    string
		code    int
		says    string
		audits  int64 // 0: any number
	}{
		{"clean", []*check.Report{untouched}, "", 0, "clean: ", 1},
		{"violation, without waiting", []*check.Report{violated}, "", 1, "VIOLATION invariant 3: A: oversold", 1},
		{"violation beside work in flight", []*check.Report{{Violations: violated.Violations, Unsettled: busy.Unsettled}}, "", 1, "VIOLATION", 1},
		{"at rest in the end", []*check.Report{busy, busy, untouched}, "", 0, "clean: ", 3},
		{"violation in the end", []*check.Report{busy, violated}, "", 1, "VIOLATION", 2},
		{"never at rest", []*check.Report{busy}, "--wait 1ms", 1, "unsettled invariant 7: o1: is still pending", 0},
		{"first audit fails", []*check.Report{nil}, "", 2, "", 1},
		{"one audit fails", []*check.Report{busy, nil, untouched}, "", 0, "clean: ", 3},
		{"audits fail from the second on", []*check.Report{busy, nil}, "--wait 700ms", 2, "", 0},
		{"nothing sold", []*check.Report{untouched}, "--expect-sales", 3, "", 1},
		{"nothing sold, and a violation", []*check.Report{violated}, "--expect-sales", 1, "VIOLATION", 1},
		{"reserved", []*check.Report{reserved}, "--expect-sales", 0, "clean: ", 1},
		{"sold", []*check.Report{sold}, "--expect-sales", 0, "clean: ", 1},
		{"no such flag", []*check.Report{sold}, "--expect-seals", 2, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url, audits := gateway(t, tt.reports...)
			var out bytes.Buffer
			err := run(t.Context(), append([]string{"--url", url, "audit", "--lang", "en"}, strings.Fields(tt.args)...), &out)
			if got := code(err); got != tt.code {
				t.Errorf("exit code %d (%v), want %d", got, err, tt.code)
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("output = %q, want %q in it", out.String(), tt.says)
			}
			if n := audits.Load(); tt.audits > 0 && n != tt.audits {
				t.Errorf("%d audits, want %d", n, tt.audits)
			}
		})
	}
}

// TestAudit_sku: with --sku only findings count that concern the product, its orders or unknown products. Findings of
// other products, such as units oversold by an unsafe strategy, do not count.
func TestAudit_sku(t *testing.T) {
	t.Parallel()
	of := func(subject string, skus ...string) []check.Violation {
		return []check.Violation{{Invariant: 5, Subject: subject, SKUs: skus, Text: "planted"}}
	}
	ledger := []check.SKU{{SKU: "A", Inbound: 5, Available: 4, LinesReserved: 1}, {SKU: "NAIVE"}}
	for _, tt := range []struct {
		name   string
		report check.Report
		code   int
	}{
		{"clean", check.Report{}, 0},
		{"a leak: units held without an order", check.Report{Violations: of("o1", "A")}, 1},
		{"an order that is not settled", check.Report{Unsettled: of("o1", "A")}, 1},
		{"a violation of another order", check.Report{Violations: of("o2", "B", "A")}, 1},
		{"a message without a known order", check.Report{Violations: of("dead letters")}, 1},
		{"the product itself", check.Report{Violations: of("A", "A")}, 1},
		{"another product", check.Report{Violations: of("NAIVE", "NAIVE")}, 0},
		{"orders of another product", check.Report{Violations: of("o3", "NAIVE"), Unsettled: of("o4", "NAIVE")}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.report.SKUs = slices.Clone(ledger)
			url, _ := gateway(t, &tt.report)
			var out bytes.Buffer
			err := run(t.Context(), []string{"--url", url, "audit", "--sku", "A", "--wait", "1ms"}, &out)
			if got := code(err); got != tt.code {
				t.Errorf("exit code %d (%v), want %d\n%s", got, err, tt.code, out.String())
			}
		})
	}
}

// TestAudit_skuWaits: the audit does not wait for findings of other products.
func TestAudit_skuWaits(t *testing.T) {
	t.Parallel()
	ledger := []check.SKU{{SKU: "A", Inbound: 5, Available: 5}}
	url, audits := gateway(t,
		&check.Report{SKUs: ledger, Unsettled: []check.Violation{{Subject: "o1", SKUs: []string{"A"}}, {Subject: "o2", SKUs: []string{"B"}}}},
		&check.Report{SKUs: ledger, Unsettled: []check.Violation{{Subject: "o2", SKUs: []string{"B"}}}})
	if err := run(t.Context(), []string{"--url", url, "audit", "--sku", "A", "--wait", "1m"}, &bytes.Buffer{}); err != nil {
		t.Error(err)
	}
	if n := audits.Load(); n != 2 {
		t.Errorf("%d audits, want 2", n)
	}
}

// TestAudit_skuViolation: a violation is final, so the audit of one product does not wait for the findings beside it.
func TestAudit_skuViolation(t *testing.T) {
	t.Parallel()
	found := []check.Violation{{Subject: "A", SKUs: []string{"A"}}}
	url, audits := gateway(t, &check.Report{SKUs: []check.SKU{{SKU: "A", Inbound: 5}}, Violations: found, Unsettled: found})
	err := run(t.Context(), []string{"--url", url, "audit", "--sku", "A", "--wait", "2s"}, &bytes.Buffer{})
	if got := code(err); got != 1 {
		t.Errorf("exit code %d (%v), want 1", got, err)
	}
	if n := audits.Load(); n != 1 {
		t.Errorf("%d audits, want 1", n)
	}
}

func TestAudit_noGateway(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), []string{"--url", "http://127.0.0.1:1", "audit"}, &bytes.Buffer{}); code(err) != 2 {
		t.Errorf("exit code %d (%v), want 2", code(err), err)
	}
}

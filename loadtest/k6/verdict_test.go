// Package k6_test tests the verdict of the k6 scripts with Node.js, without k6.
package k6_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"holdfast/order-srv/check"
)

// findings runs verdict.js on a report and returns the numbers of violations and unsettled findings.
func findings(t *testing.T, r check.Report, sku string) (violations, unsettled int) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node")
	}
	script, err := os.ReadFile("verdict.js")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "verdict.mjs")
	more := `
import { readFileSync } from 'node:fs';
const { violations, unsettled } = findings(JSON.parse(readFileSync(0)), process.argv[2]);
console.log(JSON.stringify([violations.length, unsettled.length]));
`
	if err := os.WriteFile(file, append(script, more...), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, file, sku)
	cmd.Stdin = bytes.NewReader(in)
	answer, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var counts [2]int
	if err := json.Unmarshal(answer, &counts); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	return counts[0], counts[1]
}

// TestFindings checks which findings make a load test fail.
func TestFindings(t *testing.T) {
	t.Parallel()
	of := func(subject string, skus ...string) []check.Violation {
		return []check.Violation{{Invariant: 5, Subject: subject, SKUs: skus, Text: "planted"}}
	}
	for _, tt := range []struct {
		name                  string
		report                check.Report
		violations, unsettled int
	}{
		{"clean", check.Report{}, 0, 0},
		{"a leak: units held without an order", check.Report{Violations: of("o1", "A")}, 1, 0},
		{"an order that is not settled", check.Report{Unsettled: of("o1", "A")}, 0, 1},
		{"a violation of another order", check.Report{Violations: of("o2", "A", "B")}, 1, 0},
		{"a message without a known order", check.Report{Violations: of("dead letters")}, 1, 0},
		{"another product and its orders", check.Report{Violations: of("NAIVE", "NAIVE"), Unsettled: of("o3", "NAIVE")}, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if v, u := findings(t, tt.report, "A"); v != tt.violations || u != tt.unsettled {
				t.Errorf("%d violations and %d unsettled, want %d and %d", v, u, tt.violations, tt.unsettled)
			}
		})
	}
}

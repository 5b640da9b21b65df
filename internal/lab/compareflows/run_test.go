package compareflows_test

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/internal/dev/stack"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/lab/compareflows"
	"holdfast/order-srv/orderlab"
)

// TestRun measures all flows for moments, in a shop of its own on real servers. Every flow must have placed orders, an
// outage must have left orders in doubt, and the audits must have run and found nothing.
func TestRun(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "MySQL, Redis and the services")
	r, err := compareflows.Run(t.Context(), compareflows.Options{
		Dir: t.TempDir(), Bin: build(t), Broker: stack.BrokerDev, // RocketMQ would take half of the test's time
		Progress: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Preset: compareflows.Preset{
			Name: "test", Connections: 4, Repetitions: 1, Warm: 100 * time.Millisecond, Time: 300 * time.Millisecond,
			Rate: 20, Outage: 1500 * time.Millisecond,
			Settings: map[string]string{
				"REQUEST_TIMEOUT": "2s", "PENDING_GRACE": "2100ms", "SWEEP_AFTER": "2200ms", "SETTLE_AFTER": "500ms", "RECONCILE_AFTER": "3s",
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Flows(), orderlab.Flows(); !slices.Equal(got, want) {
		t.Errorf("measured the flows %v, want %v", got, want)
	}
	for _, c := range r.Cells {
		if c.Orders == 0 || c.Throughput <= 0 || c.FirstP50 <= 0 || c.KnownP50 < c.FirstP50 || c.KnownP99 < c.KnownP50 {
			t.Errorf("the load is not measured: %+v", c)
		}
		if c.Statements < 3 || c.Commits < 1 { // an order, its reservation and its outcome are three statements at least
			t.Errorf("an order of %s has cost %.1f statements and %.1f commits", c.Flow, c.Statements, c.Commits)
		}
	}
	if len(r.Outages) != len(r.Cells) {
		t.Fatalf("%d outages, want %d", len(r.Outages), len(r.Cells))
	}
	for _, o := range r.Outages {
		ended := 0
		for _, n := range o.Ended {
			ended += n
		}
		if o.Sent != 30 || o.Placed+o.Refused+ended != o.Sent {
			t.Errorf("orders are missing: %+v", o)
		}
		// Orders that arrive early in the outage are in doubt at its end, as no flow can decide them without inventory.
		if o.MostInDoubt < 8 || o.MostInDoubt > o.Sent || o.Settled < o.Known {
			t.Errorf("the outage is not measured: %+v", o)
		}
	}
	if !r.Audit.Ran || r.Audit.Orders["PLACED"] == 0 || r.Audit.Orders["PAID"] < len(r.Cells) || r.Audit.Orders["CANCELLED"] < len(r.Cells) {
		t.Errorf("the audit at the end: %+v", r.Audit)
	}
	if broken := r.Broken(); broken != nil {
		t.Errorf("the audits have findings: %q", broken)
	}
	if r.Machine.Database == "" || !strings.HasPrefix(r.Broker, "development broker") {
		t.Errorf("the set-up: %+v, %q", r.Machine, r.Broker)
	}
	written(t, r)
}

// written checks the files of a report.
func written(t *testing.T, r compareflows.Report) {
	t.Helper()
	dir := t.TempDir()
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	again, err := compareflows.Read(filepath.Join(dir, "compare-flows.json"))
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := r.Table(&first); err != nil {
		t.Fatal(err)
	}
	if err := again.Table(&second); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Errorf("the report that was read differs:\n%s\n%s", &first, &second)
	}
	page, err := os.ReadFile(filepath.Join(dir, "compare-flows.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, flow := range r.Flows() {
		if !strings.Contains(string(page), "<td>"+flow+"</td>") || strings.Count(first.String(), "| "+flow+" |") != 2 {
			t.Errorf("%s is not in both tables:\n%s", flow, &first)
		}
	}
}

// build compiles the programs of the shop.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	// Without debug information the linker takes half the time.
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-w", "-o", dir+"/",
		"holdfast/api-gateway", "holdfast/order-srv", "holdfast/inventory-srv", "holdfast/cmd/holdfast")
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the services: %v\n%s", err, out)
	}
	t.Logf("built the services in %.1f s", time.Since(begin).Seconds())
	return dir
}

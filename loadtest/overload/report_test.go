package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFigures_read(t *testing.T) {
	t.Parallel()
	var f figures
	err := f.read(strings.NewReader(`# HELP go_goroutines n
go_goroutines 12
mq_checks_total{answer="rollback",group="order-tx"} 3
mq_checks_total{answer="unknown",group="order-tx"} 4
process_resident_memory_bytes 2.5e+07
`))
	if want := (figures{2.5e7, 12, 7}); err != nil || f != want {
		t.Errorf("got %+v, %v; want %+v", f, err, want)
	}
}

// ideal returns a report that meets every bar.
func ideal() *report {
	small := map[string]figures{"api-gateway": {Memory: 9e7}, "order-srv": {Memory: 5e7}, "inventory-srv": {Memory: 5e7}}
	return &report{
		Capacity: 700, After: small, Started: time.Now(), Deadline: 3 * time.Second,
		Rows: []row{
			{Load: "closed", Goodput: 700, Placed: 7000, Peak: small},
			{Load: "open, 10 times", Factor: 10, Connections: 1000, Offered: 7000, Goodput: 600, Sent: 70000, Placed: 6000, Refused: 64000, Peak: small},
		},
	}
}

func TestReport_judge(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*report)
		missed string
	}{
		"all well":            {func(*report) {}, ""},
		"nothing placed":      {func(r *report) { r.Capacity = 0 }, "closed loop"},
		"collapse":            {func(r *report) { r.Rows[1].Goodput = 500 }, "goodput"},
		"the generator lags":  {func(r *report) { r.Rows[1].Unsent = 60000 }, "offered"},
		"abandoned":           {func(r *report) { r.Abandoned = 131 }, "abandoned"},
		"memory at the peak":  {func(r *report) { r.Rows[1].Peak = map[string]figures{"order-srv": {Memory: 1.1e8}} }, "order-srv"},
		"memory stays":        {func(r *report) { r.After = map[string]figures{"api-gateway": {Memory: 1.1e8}} }, "api-gateway"},
		"check-backs go on":   {func(r *report) { r.LateChecks = 1 }, "check-backs"},
		"a violation":         {func(r *report) { r.Violations = 1 }, "audit"},
		"an order is pending": {func(r *report) { r.Unsettled = 1 }, "audit"},
	} {
		r := ideal()
		tt.change(r)
		r.judge()
		var missed []string
		for _, b := range r.Bars {
			if !b.Met {
				missed = append(missed, b.Name)
			}
		}
		switch {
		case tt.missed == "" && r.missed() != 0:
			t.Errorf("%s: missed %q", name, missed)
		case tt.missed != "" && (len(missed) != 1 || !strings.Contains(missed[0], tt.missed)):
			t.Errorf("%s: missed %q, want the one about %s", name, missed, tt.missed)
		}
	}
}

func TestReport_write(t *testing.T) {
	t.Parallel()
	r := ideal()
	r.Findings = []string{`invariant 5: <b>`}
	r.judge()
	dir := filepath.Join(t.TempDir(), "out")
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(dir, "overload.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"700 orders a second", "open, 10 times", "<polyline points=\"600.0,", "invariant 5: &lt;b&gt;", "api-gateway MB"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, never := range []string{"http://", "https://", "ZgotmplZ"} {
		if strings.Contains(string(page), never) {
			t.Errorf("the page has %q", never)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "overload.json"))
	if err != nil {
		t.Fatal(err)
	}
	var again report
	if err := json.Unmarshal(b, &again); err != nil || again.Capacity != 700 || len(again.Rows) != 2 || len(again.Bars) != len(r.Bars) {
		t.Errorf("read back: %+v, %v", again, err)
	}
	var table bytes.Buffer
	if err := r.print(&table); err != nil || !strings.Contains(table.String(), "MISSED") && r.missed() > 0 {
		t.Errorf("table: %v\n%s", err, table.String())
	}
}

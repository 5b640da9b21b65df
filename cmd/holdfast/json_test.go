package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/dev/doctor"
	"holdfast/internal/dev/stack/stacktest"
	"holdfast/internal/lab/compare"
	"holdfast/internal/lab/lesson"
	"holdfast/order-srv/check"
)

// decode decodes the only document on standard output. Each field must be known and present.
func decode[T any](t *testing.T, stdout io.Reader) T {
	t.Helper()
	var document T
	dec := json.NewDecoder(stdout)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&document); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(io.MultiReader(dec.Buffered(), stdout)); err != nil || strings.TrimSpace(string(rest)) != "" {
		t.Errorf("after the document: %q, error %v", rest, err)
	}
	return document
}

// wireAudit repeats the names of audit --json: they must not change.
type wireAudit struct {
	Clean bool  `json:"clean"`
	Sales int64 `json:"sales"`
	SKUs  []struct {
		SKU       string `json:"sku"`
		Inbound   int64  `json:"inbound"`
		Available int64  `json:"available"`
		Reserved  int64  `json:"reserved"`
		Sold      int64  `json:"sold"`
		LinesR    int64  `json:"lines_reserved"`
		LinesC    int64  `json:"lines_confirmed"`
		Oversold  int64  `json:"oversold_units"`
		Missing   int64  `json:"missing_units"`
	} `json:"skus"`
	Orders     map[string]int `json:"orders"`
	Messages   wireMessages   `json:"messages"`
	Violations []struct {
		Invariant int      `json:"invariant"`
		Subject   string   `json:"subject"`
		SKUs      []string `json:"skus"`
		Text      string   `json:"text"`
	} `json:"violations"`
	Unsettled []struct{} `json:"unsettled"`
	Lost      []struct{} `json:"lost"`
	Losses    []struct{} `json:"losses"`
	InDoubt   []struct {
		State  string  `json:"state"`
		Orders int     `json:"orders"`
		Oldest float64 `json:"oldest_seconds"`
	} `json:"in_doubt"`
	Branches []wireBranch `json:"branches"`
	Healed   []struct {
		OrderNo string    `json:"order_no"`
		Healer  string    `json:"healer"`
		Action  string    `json:"action"`
		At      time.Time `json:"at"`
	} `json:"healed"`
}

type wireBranch struct {
	OrderNo string   `json:"order_no"`
	Side    string   `json:"side"`
	State   string   `json:"state"`
	Age     float64  `json:"age_seconds"`
	Locks   []string `json:"locks"`
}

type wireMessages struct {
	Undecided       int     `json:"undecided"`
	OldestUndecided float64 `json:"oldest_undecided_seconds"`
	LateAfter       float64 `json:"late_after_seconds"`
	Late            bool    `json:"late"`
	Unsent          int     `json:"unsent"`
	OldestUnsent    float64 `json:"oldest_unsent_seconds"`
}

type wireStatus struct {
	Up    bool `json:"up"`
	Parts []struct {
		Name     string `json:"name"`
		State    string `json:"state"`
		PID      int    `json:"pid"`
		MemoryMB int    `json:"memory_mb"`
		What     string `json:"what"`
		Log      string `json:"log"`
	} `json:"parts"`
	Orders   map[string]int `json:"orders"`
	Messages *wireMessages  `json:"messages"`
	Notified *struct {
		Pending int     `json:"pending"`
		Failing int     `json:"failing"`
		Oldest  float64 `json:"oldest_seconds"`
		GivenUp int     `json:"given_up"`
	} `json:"notifications"`
	InDoubt []struct {
		State  string  `json:"state"`
		Orders int     `json:"orders"`
		Oldest float64 `json:"oldest_seconds"`
	} `json:"in_doubt"`
	Branches []wireBranch `json:"branches"`
	Rates    *struct {
		ChecksPerSecond float64 `json:"checks_per_second"`
		Undecided       float64 `json:"undecided"`
		ReleaseRepeats  float64 `json:"release_repeats"`
	} `json:"check_back"`
}

func TestAudit_json(t *testing.T) {
	t.Parallel()
	url, _ := gateway(t, &check.Report{
		SKUs:       []check.SKU{{SKU: "A", Inbound: 5, Available: 3, Reserved: 1, Sold: 1, LinesReserved: 1, LinesConfirmed: 1}},
		Orders:     map[string]int{"PAID": 1, "PLACED": 1},
		Messages:   check.Messages{Undecided: 3, OldestUndecided: 90 * time.Second, LateAfter: 22 * time.Second, OldestUnsent: 1500 * time.Millisecond},
		Violations: []check.Violation{{Invariant: 3, Subject: "A", SKUs: []string{"A"}, Text: "oversold"}},
		InDoubt:    []check.InDoubt{{State: "confirming", Orders: 2, Oldest: 1500 * time.Millisecond}},
		Branches:   []check.Branch{{OrderNo: "o2", Side: "inventory", State: "preparing", Age: 1500 * time.Millisecond, Locks: []string{"stock A"}}},
		Healed:     []check.Healing{{OrderNo: "o1", Healer: "sweeper", Action: "abandoned", At: time.Unix(0, 0).UTC()}},
	})
	var out bytes.Buffer
	if got := code(run(t.Context(), []string{"--url", url, "--dir", t.TempDir(), "audit", "--json"}, &out)); got != 1 {
		t.Errorf("exit status %d, want 1 as without --json", got)
	}
	got := decode[wireAudit](t, &out)
	if got.Clean || got.Sales != 2 || got.SKUs[0].Sold != 1 || got.Violations[0].Text != "oversold" || got.Healed[0].Healer != "sweeper" || got.InDoubt[0].Oldest != 1.5 {
		t.Errorf("%+v", got)
	}
	branches := []wireBranch{{OrderNo: "o2", Side: "inventory", State: "preparing", Age: 1.5, Locks: []string{"stock A"}}}
	if diff := cmp.Diff(branches, got.Branches); diff != "" {
		t.Errorf("branches: want (-), got (+):\n%s", diff)
	}
	want := wireMessages{Undecided: 3, OldestUndecided: 90, LateAfter: 22, Late: true, OldestUnsent: 1.5}
	if diff := cmp.Diff(want, got.Messages); diff != "" {
		t.Errorf("messages: want (-), got (+):\n%s", diff)
	}
}

// TestAudit_jsonClean: lists are empty and not null, and a shop that does not answer gives no document.
func TestAudit_jsonClean(t *testing.T) {
	t.Parallel()
	url, _ := gateway(t, &check.Report{SKUs: []check.SKU{{SKU: "A"}}, Orders: map[string]int{}})
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--url", url, "--dir", t.TempDir(), "audit", "--json", "--expect-sales"}, &out); code(err) != 3 {
		t.Errorf("exit status %d, want 3 as without --json", code(err))
	}
	if strings.Contains(out.String(), "null") {
		t.Errorf("null in\n%s", out.String())
	}
	if got := decode[wireAudit](t, &out); !got.Clean || got.Sales != 0 {
		t.Errorf("%+v", got)
	}
	out.Reset()
	if err := run(t.Context(), []string{"--url", "http://127.0.0.1:1", "audit", "--json"}, &out); code(err) != 2 || out.Len() > 0 {
		t.Errorf("without a shop: exit status %d, output %q", code(err), out.String())
	}
}

func TestStatus_json(t *testing.T) {
	t.Parallel()
	url, _ := gateway(t, &check.Report{
		Orders: map[string]int{"PAID": 2}, Unnotified: check.Notifications{Pending: 3, Failing: 2, Oldest: 1500 * time.Millisecond, GivenUp: 4},
	})
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--url", url, "--dir", t.TempDir(), "status", "--json"}, &out); err != nil {
		t.Fatal(err)
	}
	if got := decode[wireStatus](t, &out); !got.Up || got.Orders["PAID"] != 2 || got.Messages == nil {
		t.Errorf("under compose: %+v", got)
	} else if n := got.Notified; n == nil || n.Pending != 3 || n.Failing != 2 || n.Oldest != 1.5 || n.GivenUp != 4 {
		t.Errorf("notifications: %+v", n)
	}
	if err := run(t.Context(), []string{"--url", url, "--dir", stackDir(t, ""), "status", "--json"}, &out); code(err) != 1 {
		t.Errorf("exit status %d, want 1 as without --json", code(err))
	}
	got := decode[wireStatus](t, &out)
	if got.Up || len(got.Parts) != 1 || got.Parts[0].Name != "order-srv" || got.Parts[0].State != "gone" {
		t.Errorf("with a missing part: %+v", got)
	}
}

func TestDoctor_json(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := run(t.Context(), []string{"--dir", t.TempDir(), "doctor", "--json", "--way", "native"}, &out)
	got := decode[struct {
		Way      string `json:"way"`
		Problems int    `json:"problems"`
		Warnings int    `json:"warnings"`
		Findings []struct {
			Check  string `json:"check"`
			Level  string `json:"level"`
			Found  string `json:"found"`
			Advice string `json:"advice"`
			Way    string `json:"way"`
		} `json:"findings"`
	}](t, &out)
	if got.Way != "native" || len(got.Findings) < 10 || code(err) != min(got.Problems, 1) {
		t.Errorf("exit status %d, %+v", code(err), got)
	}
}

func TestLesson_json(t *testing.T) {
	t.Parallel()
	stacktest.SkipIfShort(t, "MySQL")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"--dir", t.TempDir(), "lesson", "naive", "--json"}, &out); err != nil {
		t.Fatal(err)
	}
	got := decode[struct {
		Name   string `json:"name"`
		Title  string `json:"title"`
		Holds  bool   `json:"holds"`
		Claims []struct {
			Text    string    `json:"text"`
			Holds   bool      `json:"holds"`
			Figures []float64 `json:"figures"`
		} `json:"claims"`
		Tables []struct {
			Columns []string `json:"columns"`
			Rows    [][]any  `json:"rows"`
		} `json:"tables"`
		Seconds float64 `json:"seconds"`
	}](t, &out)
	if got.Name != "naive" || !got.Holds || got.Seconds <= 0 || len(got.Claims) != 4 || len(got.Claims[1].Figures) != 1 || len(got.Tables) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestLesson_jsonList(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"lesson", "--list", "--json"}, &out); err != nil {
		t.Fatal(err)
	}
	if got := decode[[]listed](t, &out); len(got) != len(lesson.All()) || got[0].Name != "naive" {
		t.Errorf("%+v", got)
	}
}

// TestLesson_printResults: --all gives an array, also of a single lesson.
func TestLesson_printResults(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	results := []lesson.Result{{Name: "x"}}
	if err := (&lessonCmd{All: true, JSON: true}).printResults(&out, results); err != nil {
		t.Fatal(err)
	}
	if got := decode[[]lesson.Result](t, &out); len(got) != 1 || got[0].Name != "x" {
		t.Errorf("%+v", got)
	}
}

func TestCompare_json(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "compare.json")
	want := compare.Report{
		Preset: "quick", Took: 2.5, Period: 0.6, Strategies: []compare.Strategy{{Name: "naive", Safe: false}},
		Cells: []compare.Cell{{Strategy: "naive", Repetition: 1, Orders: 10, P99: 1.5, Oversold: 3}},
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"compare", "--table", file, "--json"}, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, decode[compare.Report](t, &out)); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// TestRunning_documentsFields: both pages name each field of each document.
func TestRunning_documentsFields(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, document := range []any{auditResult{}, statusResult{}, doctor.Report{}, lesson.Result{}, courseResult{}, compare.Report{}} {
		fields(reflect.TypeOf(document), names)
	}
	for page, heading := range map[string]string{"running.md": "## Output for programs", "running.zh.md": "## 供程序读取的输出"} {
		text, err := os.ReadFile(filepath.Join("../../docs", page))
		if err != nil {
			t.Fatal(err)
		}
		_, section, ok := strings.Cut(string(text), "\n"+heading+"\n")
		if !ok {
			t.Errorf("%s has no %q", page, heading)
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for name := range names {
			if !strings.Contains(section, "`"+name+"`") {
				t.Errorf("%s, %s: no `%s`", page, heading, name)
			}
		}
	}
}

// fields adds the JSON names of a type and of the types of its fields.
func fields(of reflect.Type, names map[string]bool) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice:
		fields(of.Elem(), names)
	case reflect.Struct:
		for i := range of.NumField() {
			f := of.Field(i)
			if !f.IsExported() {
				continue
			}
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
				names[name] = true
			}
			fields(f.Type, names)
		}
	}
}

package trial_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"holdfast/exercises/internal/explore"
	"holdfast/exercises/internal/trial"
	"holdfast/internal/lab/step"
)

func texts() fstest.MapFS {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	return fstest.MapFS{
		"texts/en.json": text(`{"t": {"check": "One check.", "what": "%d orders, one unit", "why": "A read 1 (step %d)", "do": "lock"}}`),
		"texts/zh.json": text(`{"t": {"check": "一项检查。", "what": "%d 个订单，一件库存", "why": "A 读到 1（第 %d 步）", "do": "加锁"}}`),
	}
}

func finding() *explore.Finding {
	return &explore.Finding{
		ID: "lost-update", What: step.T("t.what", 2), Why: step.T("t.why", 1), Do: step.T("t.do"), More: 3,
		Steps: []explore.Step{
			{Actor: "A", Kind: explore.Read, Does: "SELECT available FROM stock", Result: "available = 1", Rows: []map[string]string{{"available": "1"}}},
			{Actor: "B", Kind: explore.Read, Does: "SELECT available FROM orders", Result: "no row", Began: 1},
			{Actor: "A", Kind: explore.Commit, Does: "COMMIT", Began: 2},
			{Actor: "B", Kind: explore.Write, Does: "UPDATE stock SET available = 0", Result: "1 row changed", Changed: 1, Waited: true, Began: 2},
			{Actor: "B", Kind: explore.Commit, Does: "COMMIT", Died: true, Began: 4},
			{Actor: "A", Kind: explore.Write, Does: "DELETE FROM stock", Waited: true, Unfinished: true, Began: 3},
		},
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"en": `
    A                                                     B
 1  SELECT available FROM stock
    → available = 1
 2                                                        SELECT available FROM orders
                                                          → no row
                                                          UPDATE stock SET available = 0
                                                          (waits)
 3  COMMIT
    DELETE FROM stock
    (waits)
 4                                                        UPDATE stock SET available = 0 (waited until now)
                                                          → rows changed: 1
 5                                                        ✗ killed before: COMMIT
    ... 3 steps more ...

What happened
    2 orders, one unit
Why
    A read 1 (step 1)
The rule
    lock
`,
		"zh": `
    A                                                     B
 1  SELECT available FROM stock
    → available = 1
 2                                                        SELECT available FROM orders
                                                          → 没有记录
                                                          UPDATE stock SET available = 0
                                                          （等待）
 3  COMMIT
    DELETE FROM stock
    （等待）
 4                                                        UPDATE stock SET available = 0（等待结束）
                                                          → 影响行数：1
 5                                                        ✗ 进程在这一步之前被杀：COMMIT
    …… 省略 3 步 ……

发生了什么
    2 个订单，一件库存
原因
    A 读到 1（第 1 步）
规则
    加锁
`,
	}
	for _, lang := range step.Languages() {
		c, err := trial.Catalogue(texts(), lang)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		trial.Render(&b, finding(), c)
		if got := "\n" + b.String(); got != want[lang] {
			t.Errorf("%s:%s\nwant%s", lang, got, want[lang])
		}
	}
}

// No line is wider than a terminal of 112 columns, whatever the language.
func TestRender_width(t *testing.T) {
	t.Parallel()
	c, err := trial.Catalogue(texts(), "en")
	if err != nil {
		t.Fatal(err)
	}
	f := finding()
	c["t.what"] = strings.Repeat("many words ", 40) + "%d"
	c["t.why"] = strings.Repeat("许多汉字，还有 SQL", 20) + "%d"
	f.Steps[1].Does = "UPDATE stock SET " + strings.Repeat("available = available - 1, ", 9)
	for range 60 {
		f.Steps = append(f.Steps, explore.Step{Actor: "C", Does: "COMMIT"})
	}
	var b strings.Builder
	trial.Render(&b, f, c)
	for line := range strings.Lines(b.String()) {
		n := 0
		for _, r := range strings.TrimRight(line, "\n") {
			n++
			if r >= 0x2E80 {
				n++
			}
		}
		if n > 112 {
			t.Errorf("a line has %d columns: %s", n, line)
		}
	}
	if lines := strings.Count(b.String(), "COMMIT"); lines > 50 || !strings.Contains(b.String(), "steps more") {
		t.Errorf("%d lines of a loop, want it to be shortened", lines)
	}
}

// Both languages have the same texts with the same placeholders.
func TestTexts(t *testing.T) {
	t.Parallel()
	en, err := trial.Texts("en")
	if err != nil {
		t.Fatal(err)
	}
	zh, err := trial.Texts("zh")
	if err != nil {
		t.Fatal(err)
	}
	verbs := regexp.MustCompile(`%(?:\[\d\])?[sdq]`)
	for key, text := range en {
		if got, want := len(verbs.FindAllString(zh[key], -1)), len(verbs.FindAllString(text, -1)); got != want {
			t.Errorf("%s: %d placeholders in Chinese, %d in English", key, got, want)
		}
	}
	if len(en) != len(zh) {
		t.Errorf("%d English texts, %d Chinese ones", len(en), len(zh))
	}
	if _, err := trial.Texts("xx"); err == nil {
		t.Error("an unknown language has texts")
	}
}

// asLearner is set in a process that plays a learner's test.
const asLearner = "TRIAL_TEST_OUTCOME"

// TestLearner is no test of its own: TestRun executes it in a process.
func TestLearner(t *testing.T) { //nolint:paralleltest // it is alone in its process
	outcome := os.Getenv(asLearner)
	if outcome == "" {
		t.Skip("TestRun executes it")
	}
	find := func(context.Context, *trial.Servers) (*explore.Finding, error) {
		switch outcome {
		case "finding":
			return finding(), nil
		case "error":
			return nil, errors.New("no table")
		case "ended":
			t.Fatal("the server does not start")
		}
		return nil, nil
	}
	trial.Run(t, trial.Exercise{Number: 7, Checks: []trial.Check{{Name: "t.check", Find: find}}}, texts())
}

func TestRun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		outcome, lang string
		want          trial.Result
		says          string
		passes        bool
	}{
		{"finding", "en_US.UTF-8", trial.Result{Number: 7, Check: "t.check", Finding: finding()}, "2 orders, one unit", false},
		{"finding", "zh_CN.UTF-8", trial.Result{Number: 7, Check: "t.check", Finding: finding()}, "2 个订单，一件库存", false},
		{"error", "", trial.Result{Number: 7, Check: "t.check", Error: "no table"}, "no table", false},
		{"ended", "", trial.Result{Number: 7, Error: "the servers did not start; the test's output says why"}, "does not start", false},
		{"nothing", "", trial.Result{Number: 7, Passed: true}, "Passed", true},
	} {
		t.Run(fmt.Sprint(tt.outcome, tt.lang), func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "result.json")
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLearner$", "-test.v")
			cmd.Env = append(os.Environ(), asLearner+"="+tt.outcome, trial.ResultVar+"="+file, "LANG="+tt.lang)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); (err == nil) != tt.passes {
				t.Errorf("the process ended with %v:\n%s", err, out.String())
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("the output lacks %q:\n%s", tt.says, out.String())
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got trial.Result
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if f := tt.want.Finding; f != nil { // numbers of texts are int64 after the way through JSON
				f.What.Args, f.Why.Args = []any{int64(2)}, []any{int64(1)}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the result (-want +got):\n%s", diff)
			}
		})
	}
}

package step_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"holdfast/internal/lab/step"
)

// TestCatalogue_Say: an argument that is a text is in the catalogue's language, and a key that is missing is visible.
func TestCatalogue_Say(t *testing.T) {
	t.Parallel()
	texts := step.Catalogue{"plain": "100% of it", "who": "buyer %d", "sold": "%s bought %d in %s: %v"}
	for want, text := range map[string]step.Text{
		"100% of it":                           step.T("plain"), // no argument: the text is no format
		"buyer 7 bought 2 in 1.5s: no":         step.T("sold", step.T("who", 7), int64(2), 1500*time.Millisecond, errors.New("no")),
		"%!missing(other)":                     step.T("other", 1),
		"%!missing(other) bought 1 in x: true": step.T("sold", step.T("other"), 1, "x", true),
	} {
		if got := texts.Say(text); got != want {
			t.Errorf("%+v: %q, want %q", text, got, want)
		}
	}
}

// TestText_Figures: numbers are figures, also those in text form are not, and a duration is none: its text has a unit.
func TestText_Figures(t *testing.T) {
	t.Parallel()
	text := step.T("x", 7, "8", int64(9), 2.5, time.Second, step.T("y", 10), int32(11))
	if diff := cmp.Diff([]float64{7, 9, 2.5}, text.Figures()); diff != "" {
		t.Errorf("figures, want (-), got (+):\n%s", diff)
	}
	none, err := json.Marshal(step.T("x", "8").Figures())
	if err != nil || string(none) != "[]" {
		t.Errorf("a text without figures: %s, error %v; want []", none, err)
	}
}

func TestParseCatalogue(t *testing.T) {
	t.Parallel()
	got, err := step.ParseCatalogue([]byte(`{"naive": {"title": "a", "hand.read": "b"}, "step": {"title": "c"}, "empty": {}}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(step.Catalogue{"naive.title": "a", "naive.hand.read": "b", "step.title": "c"}, got); diff != "" {
		t.Errorf("catalogue, want (-), got (+):\n%s", diff)
	}
	for _, damaged := range []string{"", "{", "[]", `{"naive": "title"}`, `{"naive": {"title": 1}}`, `{"naive": {"a": {"b": "c"}}}`} {
		if c, err := step.ParseCatalogue([]byte(damaged)); err == nil || c != nil || !strings.HasPrefix(err.Error(), "parse catalogue: ") {
			t.Errorf("%q: %v, error %v; want an error that says what failed", damaged, c, err)
		}
	}
}

// TestText_json: the arguments of a text have the same types after it was sent.
func TestText_json(t *testing.T) {
	t.Parallel()
	const million = 1_000_000_000_000_000_001 // more digits than a float64 has
	want := step.T("x", int64(million), 2.5, "3", time.Minute, step.T("y", int64(4), step.T("z")), true, "")
	sent, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got step.Text
	if err := json.Unmarshal(sent, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: want (-), got (+):\n%s", sent, diff)
	}
}

// TestTable_json: a cell has the same type after its table was sent, and a row may be shorter than the header.
func TestTable_json(t *testing.T) {
	t.Parallel()
	want := step.NewTable([]any{"", step.T("sold")}, []any{step.T("who", int64(1)), int64(60)}, []any{"optimistic"}, []any{40 * time.Millisecond, 2.5})
	sent, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got := step.NewTable([]any{"of an earlier table"}, []any{1})
	if err := json.Unmarshal(sent, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: want (-), got (+):\n%s", sent, diff)
	}
	columns, rows := got.In(step.Catalogue{"sold": "卖出", "who": "买家 %d"})
	if diff := cmp.Diff([]string{"", "卖出"}, columns); diff != "" {
		t.Errorf("columns, want (-), got (+):\n%s", diff)
	}
	if diff := cmp.Diff([][]any{{"买家 1", 60.0}, {"optimistic"}, {"40ms", 2.5}}, rows); diff != "" {
		t.Errorf("rows, want (-), got (+):\n%s", diff)
	}
}

// TestEvent_damaged: what is no event is an error, and no panic, wherever the damage is.
func TestEvent_damaged(t *testing.T) {
	t.Parallel()
	for _, damaged := range []string{
		`{"kind": 1}`,
		`{"text": "x"}`,
		`{"text": {"key": 1}}`,
		`{"text": {"key": "x", "args": 1}}`,
		`{"text": {"key": "x", "args": [{"key": 1}]}}`,
		`{"table": {"columns": "x"}}`,
		`{"table": {"columns": ["x"], "rows": ["x"]}}`,
		`{"table": {"columns": [{"key": []}]}}`,
		`{"table": {"columns": ["x"], "rows": [["x", {"key": "y", "args": [{"args": 1}]}]]}}`,
		`{"ask": {"args": {}}}`,
		`{"choices": [{"key": "x", "args": [{"key": {}}]}]}`,
		`{"views": [{"rows": [1]}]}`,
	} {
		var e step.Event
		if err := json.Unmarshal([]byte(damaged), &e); err == nil {
			t.Errorf("%s was read as %+v", damaged, e)
		}
	}
}
